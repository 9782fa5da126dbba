"""The commands check and gc as people and scripts call them."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from flows.cli.app import app
from storage import layout, records
from storage.objects import Objects, open_store
from tests.support import Carried, carry, contents, found_in


@pytest.fixture
def copied(carried: tuple[Objects, list[Carried]], tmp_path: Path) -> Objects:
    """Give a copy of the tiny experiment's store, to be changed at will."""
    shutil.copytree(carried[0].url, tmp_path / "store")
    return open_store(str(tmp_path / "store"))


def call(objects: Objects, *words: str, answer: str | None = None) -> Result:
    return CliRunner().invoke(app, [*words, "--store", objects.url], input=answer)


def parsed(result: Result) -> dict[str, Any]:
    """The one JSON object on standard output."""
    found = json.loads(result.stdout)
    assert {"key", "uri", "counts", "metrics", "reused"} <= set(found)
    return found


def test_a_whole_store_passes(copied: Objects) -> None:
    result = call(copied, "check")
    assert result.exit_code == 0
    assert "0 problems" in result.stdout
    found = parsed(call(copied, "check", "--json"))
    assert found["problems"] == []
    assert found["counts"]["records"] == 4 * 6


def test_a_damaged_store_fails_and_says_where(copied: Objects) -> None:
    clean = records.listing(copied, "clean")[0]
    shard = f"{clean.path}/0/c/0/0/0/0/0"
    copied.put(shard, copied.get(shard)[:-3])
    result = call(copied, "check", "--repair", "--older-than", "0")
    assert result.exit_code == 1
    assert f"{shard}" in result.stdout
    found = call(copied, "check", "--json")
    assert found.exit_code == 1
    (problem,) = parsed(found)["problems"]
    assert problem["what"] == "changed object"
    assert problem["path"] == shard
    assert problem["artifact"] == ["clean", clean.key]
    assert problem["repaired"] is problem["can_be_repaired"] is False


def test_leftovers_are_shown_first_and_then_repaired(copied: Objects) -> None:
    before = contents(copied)
    copied.put("acquisitions/dead/image.ome.zarr/zarr.json", b"{}")
    (Path(copied.url) / "acquisitions" / "dead" / "x#1").write_bytes(b"half")
    young = call(copied, "check")
    assert young.exit_code == 0
    assert "1 in progress" in young.stdout
    shown = call(copied, "check", "--older-than", "0")
    assert shown.exit_code == 1
    assert "check --repair" in shown.stdout
    mended = parsed(call(copied, "check", "--older-than", "0", "--repair", "--json"))
    assert mended["counts"]["repaired"] == 1
    assert mended["counts"]["left"] == 0
    assert contents(copied) == before
    assert not (Path(copied.url) / "acquisitions" / "dead").exists()


def test_gc_asks_and_takes_no_for_an_answer(copied: Objects) -> None:
    before = contents(copied)
    refused = call(copied, "gc", "--older-than", "0", answer="n\n")
    assert refused.exit_code == 0
    assert "MiB)?" in refused.stderr
    assert "0 of 12 artifacts removed" in refused.stdout
    assert contents(copied) == before


def test_gc_without_consent_in_json_removes_nothing(copied: Objects) -> None:
    before = contents(copied)
    found = parsed(call(copied, "gc", "--older-than", "0", "--json"))
    assert found["counts"]["artifacts"] == 12
    assert found["counts"]["removed"] == 0
    assert found["counts"]["bytes"] > 100_000
    assert {one["kind"] for one in found["artifacts"]} == {"clean", "labels", "patches"}
    assert contents(copied) == before


def test_gc_keeps_what_is_younger(copied: Objects) -> None:
    result = call(copied, "gc", "--older-than", "1", "--yes")
    assert result.exit_code == 0
    assert "Nothing to remove." in result.stdout


@pytest.mark.parametrize("words", [["--yes"], ["--yes", "--json"], []])
def test_gc_with_consent_leaves_a_whole_store(copied: Objects, words: list[str]) -> None:
    result = call(copied, "gc", "--older-than", "0", *words, answer="y\n")
    assert result.exit_code == 0
    assert {record.kind for record in records.listing(copied)} == {"raw", "sample", "truth"}
    after = parsed(call(copied, "check", "--older-than", "0", "--json"))
    assert after["problems"] == []
    assert not (Path(copied.url) / "artifacts" / "clean").exists()


def test_gc_spares_what_something_young_was_made_from(copied: Objects) -> None:
    """Only the patches are made to look old: they go, and nothing they were made from does."""
    patches = records.listing(copied, "patches")[0]
    path = Path(copied.url) / layout.record_path("patches", patches.key)
    path.write_text(path.read_text().replace(patches.created, "2020-01-01T00:00:00+00:00"))
    for name in copied.names(layout.artifact_folder("patches", patches.key)):
        os.utime(Path(copied.url) / name, (0, 0))
    found = parsed(call(copied, "gc", "--older-than", "30", "--yes", "--json"))
    assert found["key"] == [patches.key]
    assert len(records.listing(copied)) == 4 * 6 - 1


@pytest.mark.parametrize("kind", ["raw", "labels"])
def test_gc_of_what_check_names_and_the_same_run_repair_a_damaged_store(
    copied: Objects, experiment: Path, kind: str
) -> None:
    """One bit of one shard flips; the way back is the one that `check` prints."""
    before = contents(copied)
    damaged = next(
        one for one in records.listing(copied, kind) if one.name == found_in(experiment)[0].sample.file
    )
    shard = next(name for name in copied.names(damaged.path) if "/c/" in name)
    flipped = bytearray(copied.get(shard))
    flipped[len(flipped) // 2] ^= 1
    copied.put(shard, bytes(flipped))
    found = parsed(call(copied, "check", "--json"))
    assert found["remedy"] == f"chipcyte gc {damaged.key} --store {copied.url}"
    assert f"chipcyte gc {damaged.key}" in call(copied, "check").stdout
    asked = call(copied, "gc", damaged.key, answer="n\n")
    assert "0 of" in asked.stdout
    gone = parsed(call(copied, "gc", damaged.key, "--yes", "--json"))
    assert damaged.key in gone["key"]
    assert gone["counts"]["removed"] == gone["counts"]["artifacts"] >= 1
    carry(copied, found_in(experiment)[0])
    assert parsed(call(copied, "check", "--older-than", "0", "--json"))["problems"] == []
    assert contents(copied) == before


@pytest.mark.parametrize("words", [["gc"], ["gc", "3f", "--older-than", "1"], ["gc", "nobody"]])
def test_gc_wants_keys_or_an_age(copied: Objects, words: list[str]) -> None:
    before = contents(copied)
    assert call(copied, *words, "--yes").exit_code == 2
    assert contents(copied) == before


@pytest.mark.parametrize("words", [["gc", "--older-than", "-1"], ["check", "--older-than", "soon"]])
def test_wrong_usage_is_exit_2(copied: Objects, words: list[str]) -> None:
    assert call(copied, *words).exit_code == 2


def test_a_place_without_a_store_is_exit_2(tmp_path: Path) -> None:
    for words in (["check"], ["gc", "--older-than", "1"]):
        result = CliRunner().invoke(app, [*words, "--store", str(tmp_path / "none")])
        assert result.exit_code == 2
        assert "there is no store at" in result.stderr
