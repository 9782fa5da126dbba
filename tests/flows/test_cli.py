import json
import subprocess
import sys

import numpy as np
import pytest
from typer.testing import CliRunner

from flows.cli.app import app
from storage import records
from storage.objects import open_store
from storage.records import Record
from storage.sources.tiff import TiffSource
from tests.support import ROOT, write_tiff

WHOLE_WAY = ("demo", "simulate", "plan", "run")
STAGES = ("ingest", "preprocess", "segment", "extract", "train", "embed", "cluster", "report")
COMMANDS = (*WHOLE_WAY, *STAGES, "list", "show", "up", "down", "status")


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def chipcyte(*words):
    return CliRunner().invoke(app, [str(word) for word in words])


def said(*words, code=2):
    """The one sentence a failing command says."""
    result = chipcyte(*words)
    assert result.exit_code == code, result.output
    assert result.stdout == ""
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("error: ")
    assert "Traceback" not in result.stderr
    return lines[0]


def answer(*words):
    """The one JSON object a command prints."""
    result = chipcyte(*words, "--json")
    assert result.exit_code == 0, result.output
    assert len(result.stdout.splitlines()) == 1
    found = json.loads(result.stdout)
    assert found.keys() >= {"key", "uri", "counts", "metrics", "reused"}
    return found


# --- help and usage


OFFERED = [one.name or one.callback.__name__ for one in app.registered_commands]


@pytest.mark.parametrize("command", OFFERED)
def test_every_command_explains_itself(command):
    result = chipcyte(command, "--help")
    assert result.exit_code == 0
    for option in ("--store", "--config", "--set", "--json", "--debug"):
        assert option in result.output


def test_no_command_is_missing():
    assert set(COMMANDS) <= set(OFFERED)


@pytest.mark.parametrize(
    "words", [["fly"], ["run"], ["plan", "--no-such-option", "x"], ["simulate", "--seed", "x"]]
)
def test_wrong_usage_ends_with_2(words):
    assert chipcyte(*words).exit_code == 2


def test_the_installed_command_starts_quickly_without_the_heavy_libraries():
    code = (
        "import sys; from flows.cli import main; sys.argv = ['chipcyte', '--help']\n"
        "try: main()\nexcept SystemExit: pass\n"
        "print({'torch', 'mlflow', 'prefect', 'zarr', 'distributed'} & set(sys.modules), file=sys.stderr)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert "chipcyte demo" in result.stdout
    assert result.stderr.strip().endswith("set()")


# --- errors: one sentence


@pytest.fixture
def picture(tmp_path):
    return write_tiff(tmp_path / "a.tif", np.zeros((64, 64), np.uint16))


@pytest.mark.parametrize("command", ["plan", "run", "ingest"])
def test_an_unknown_setting(command, picture, tmp_path):
    (tmp_path / "my.toml").write_text("[train]\nepoch = 3\n")
    assert "unknown setting 'train.epoch'; known here: latent" in said(
        command, picture, "--config", "my.toml"
    )
    assert "unknown setting 'train.epoch'" in said(command, picture, "--set", "train.epoch=3")
    assert "SECTION.NAME=VALUE" in said(command, picture, "--set", "epochs")
    assert "no.toml" in said(command, picture, "--config", "no.toml")


@pytest.mark.parametrize("command", ["plan", "run", "ingest"])
def test_a_missing_or_wrong_file(command, tmp_path):
    assert "nothing at gone.tif" in said(command, "gone.tif")
    (tmp_path / "notes.txt").write_text("x")
    assert "expected a recording" in said(command, "notes.txt")
    (tmp_path / "empty").mkdir()
    assert "found none" in said(command, "empty")


@pytest.mark.parametrize("command", ["run", "ingest"])
def test_a_missing_samples_table(command, picture):
    assert "expected a samples table at no.csv" in said(command, picture, "--samples", "no.csv")


def test_a_wrong_dtype(tmp_path):
    write_tiff(tmp_path / "deep.tif", np.zeros((64, 64), np.int32))
    assert "found int32" in said("plan", "deep.tif")


@pytest.mark.parametrize("command", [["list"], ["show", "ab"], ["preprocess"], ["report"]])
def test_a_store_that_is_none(command, tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.png").write_bytes(b"x")
    assert "photos is not a chipcyte store" in said(*command, "--store", "photos")
    assert "there is no store at" in said(*command, "--store", "gone")
    assert "found the file" in said(*command, "--store", "photos/cat.png")
    assert "s3://bucket/prefix" in said(*command, "--store", "ftp://x/y")
    assert not (tmp_path / "gone").exists()


def test_a_run_into_a_folder_of_other_things(picture, tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.png").write_bytes(b"x")
    assert "is not a chipcyte store" in said("run", picture, "--store", "photos")
    assert [path.name for path in (tmp_path / "photos").iterdir()] == ["cat.png"]


def test_an_unknown_key_and_kind(carried):
    store = carried[0].url
    assert "no artifact's key begins with 'zzz'" in said("show", "zzz", "--store", store)
    assert "give more digits" in said("show", "", "--store", store)
    assert "expected a kind of raw, " in said("list", "cats", "--store", store)


def test_an_error_nobody_foresaw_ends_with_1(picture, monkeypatch):
    def breaks(*_):
        raise RuntimeError("out of luck")

    monkeypatch.setattr("flows.planning.plan_run", breaks)
    result = chipcyte("plan", picture)
    assert result.exit_code == 1
    assert "RuntimeError: out of luck" in result.stderr
    assert "--debug" in result.stderr
    assert "Traceback" not in result.stderr
    assert "Traceback" in chipcyte("plan", picture, "--debug").stderr


def test_debug_shows_where_an_error_arose():
    result = chipcyte("plan", "gone.tif", "--debug")
    assert result.exit_code == 2
    assert "Traceback" in result.stderr


def test_an_interrupt_says_that_nothing_is_lost(picture, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("flows.planning.plan_run", interrupted)
    result = chipcyte("plan", picture)
    assert result.exit_code == 1
    assert "goes on where it was" in result.stderr


# --- answers: one JSON object


def test_simulate(tmp_path):
    words = (
        "simulate",
        "out",
        "--seed",
        "4",
        "--chips",
        "1",
        "--positions",
        "1",
        "--time-points",
        "1",
        "--size",
        "96",
    )
    first, second = answer(*words), answer(*words)
    assert first["counts"]["frames"] == 2
    assert (first["reused"], second["reused"]) == (False, True)
    assert (tmp_path / "out" / "samples.csv").is_file()
    assert "another design" in said("simulate", "out", "--seed", "5")
    assert "positions" in said("simulate", "other", "--positions", "0")


def test_plan_computes_and_writes_nothing(experiment, tmp_path, monkeypatch):
    monkeypatch.setattr(TiffSource, "read_plane", lambda *_: pytest.fail("a plane was read"))
    found = answer("plan", experiment, "--store", tmp_path / "store")
    assert found["counts"]["acquisitions"] == 4
    assert found["metrics"]["peak_bytes"] > 0
    assert list(tmp_path.iterdir()) == []


def test_list(carried):
    objects, acquisitions = carried
    found = answer("list", "raw", "--store", objects.url)
    assert set(found["key"]) == {one.raw.key for one in acquisitions}
    last = answer("list", "raw", "--last", "1", "--store", objects.url)
    assert [last["counts"][name] for name in ("artifacts", "listed")] == [found["counts"]["artifacts"], 1]
    every = answer("list", "--store", objects.url)
    assert every["counts"]["artifacts"] == 6 * len(acquisitions)


def test_show_tells_the_lineage(carried):
    objects, (one, *_) = carried
    found = answer("show", one.patches.key[:10], "--store", objects.url)
    assert found["key"] == one.patches.key
    assert {(parent["kind"], parent["key"]) for parent in found["lineage"]} == {
        (made.kind, made.key) for made in (*one.made, one.sample, one.truth)
    }


def test_show_is_for_people_to_read(carried):
    objects, (one, *_) = carried
    shown = chipcyte("show", one.clean.key, "--store", objects.url).stdout
    assert "angle_deg: " in shown
    assert " UTC" in shown
    assert "{'" not in shown


def test_a_name_in_brackets_is_no_markup(tmp_path):
    """Such as `wt[red].tif`: what terminals take for a colour would be lost."""
    objects = open_store(str(tmp_path / "store"), create=True)
    records.commit(objects, Record(kind="sample", key="a1" * 10, name="wt[red].tif", path=""), {})
    for words in (["list"], ["show", "a1a1"]):
        assert "wt[red].tif" in chipcyte(*words, "--store", objects.url).stdout


def test_status(carried):
    found = answer("status", "--store", carried[0].url)
    assert {one["name"] for one in found["servers"]} == {"prefect", "mlflow"}
    assert found["device"]
    assert found["versions"]["zarr"]
    assert found["counts"]["patches"] == 4
    nothing = answer("status", "--store", "gone")
    assert "no store" in nothing["store"]["state"]


def test_down_without_servers():
    assert answer("down")["counts"] == {"stopped": 0}


@pytest.mark.parametrize(
    "words", [["list"], ["list", "labels"], ["status"], ["show", "KEY"], ["plan", "EXPERIMENT"]]
)
def test_people_get_text(words, carried, experiment):
    objects, (one, *_) = carried
    places = {"KEY": one.patches.key, "EXPERIMENT": str(experiment)}
    result = chipcyte(*[places.get(word, word) for word in words], "--store", objects.url)
    assert result.exit_code == 0
    assert result.stdout.strip()
    with pytest.raises(json.JSONDecodeError):
        json.loads(result.stdout)
