"""The commands backup and restore, with databases that are open; test_real_backup.py has servers."""

import json
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from flows.cli.app import app
from storage import backup, layout
from storage.objects import Objects, open_store
from tests.support import Carried, contents, dies_at

Experiment = tuple[Objects, list[Carried]]


def call(*words: object) -> Result:
    return CliRunner().invoke(app, [*map(str, words)])


def parsed(result: Result) -> dict[str, Any]:
    assert result.exit_code == 0, result.stderr
    found: dict[str, Any] = json.loads(result.stdout)
    assert {"key", "uri", "counts", "metrics", "reused"} <= set(found)
    return found


def tree(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A home whose Prefect database is open and has rows that only its write-ahead log holds."""
    home = tmp_path / "home"
    monkeypatch.setenv("CHIPCYTE_HOME", str(home))
    for name in ("prefect", "mlflow"):
        (home / name).mkdir(parents=True)
    artifact = home / "mlflow" / "artifacts" / "1" / "models" / "m-1" / "MLmodel"
    artifact.parent.mkdir(parents=True)
    artifact.write_text("a network")
    with closing(sqlite3.connect(home / "mlflow" / "mlflow.db")) as rows, rows:
        rows.execute("CREATE TABLE runs (name TEXT)")
        rows.execute("INSERT INTO runs VALUES ('champion')")
    with closing(sqlite3.connect(home / "prefect" / "prefect.db")) as rows:
        rows.execute("PRAGMA journal_mode = WAL")
        rows.execute("CREATE TABLE flows (name TEXT)")
        rows.execute("INSERT INTO flows VALUES ('watch')")
        rows.commit()
        yield home


@pytest.fixture
def backed_up(carried: Experiment, home: Path, tmp_path: Path) -> Path:
    parsed(call("backup", tmp_path / "backup", "--store", carried[0].url, "--json"))
    return tmp_path / "backup"


def empty_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """Return a home and a store that are not there yet."""
    monkeypatch.setenv("CHIPCYTE_HOME", str(tmp_path / "new" / "home"))
    return tmp_path / "new" / "home", tmp_path / "new" / "store"


def names_in(database: Path, table: str) -> list[str]:
    with closing(sqlite3.connect(database)) as rows:
        return [name for (name,) in rows.execute(f"SELECT name FROM {table}")]


def test_a_backup_comes_back_whole_in_an_empty_place(
    carried: Experiment, backed_up: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    objects, _ = carried
    home, store = empty_place(tmp_path, monkeypatch)
    found = parsed(call("restore", backed_up, "--store", store, "--json"))
    assert found["databases"] == ["mlflow/mlflow.db", "prefect/prefect.db"]
    assert found["counts"]["artifacts"] == 4 * 6
    assert contents(open_store(str(store))) == contents(objects)
    assert parsed(call("check", "--older-than", 0, "--store", store, "--json"))["problems"] == []
    before, after = (parsed(call("list", "--store", place, "--json")) for place in (objects.url, store))
    assert [one["key"] for one in after["artifacts"]] == [one["key"] for one in before["artifacts"]]
    assert names_in(home / "prefect" / "prefect.db", "flows") == ["watch"]
    assert names_in(home / "mlflow" / "mlflow.db", "runs") == ["champion"]
    assert (home / "mlflow/artifacts/1/models/m-1/MLmodel").read_text() == "a network"
    assert tree(tmp_path / "new")[0] == "home"  # and nothing unfinished beside it
    assert [path.name for path in (tmp_path / "new").iterdir() if "unfinished" in path.name] == []


def test_a_backup_is_for_its_owner_alone_and_says_what_it_holds(backed_up: Path) -> None:
    assert backed_up.stat().st_mode & 0o077 == 0
    listed = backup.read_contents(backed_up)
    files = {path.relative_to(backed_up).as_posix() for path in backed_up.rglob("*") if path.is_file()}
    assert set(listed.files) | {"backup.json"} == files


def test_what_is_being_made_is_left_out_and_what_watchers_know_is_kept(
    carried: Experiment, home: Path, tmp_path: Path
) -> None:
    shutil.copytree(carried[0].url, tmp_path / "store")
    busy = open_store(str(tmp_path / "store"))
    clean = carried[1][0].clean.key
    busy.put(f"{layout.labels_path(clean, 'half')}/zarr.json", b"{}")
    busy.put(f"{layout.progress_folder('labels', 'half')}/lease.json", b"{}")
    busy.put(f"{layout.known_folder('dd')}/a.json", b"{}")
    found = parsed(call("backup", tmp_path / "backup", "--store", busy.url, "--json"))
    assert found["counts"]["artifacts"] == 4 * 6
    kept = contents(open_store(str(tmp_path / "backup" / "store")))
    assert kept == contents(carried[0]) | {f"{layout.known_folder('dd')}/a.json": b"{}"}


def test_a_home_without_databases_is_said(carried: Experiment, tmp_path: Path, monkeypatch) -> None:
    home, _ = empty_place(tmp_path, monkeypatch)
    found = parsed(call("backup", tmp_path / "backup", "--store", carried[0].url, "--json"))
    assert found["databases"] == []
    assert [str(home) in note for note in found["notes"]] == [True, True]


def test_a_damaged_store_gives_no_backup(carried: Experiment, home: Path, tmp_path: Path) -> None:
    shutil.copytree(carried[0].url, tmp_path / "store")
    shard = next(path for path in (tmp_path / "store" / "acquisitions").rglob("c/**/0") if path.is_file())
    shard.write_bytes(b"x" + shard.read_bytes()[1:])
    result = call("backup", tmp_path / "out" / "backup", "--store", tmp_path / "store")
    assert result.exit_code == 1
    assert "not those that were written" in result.stderr
    assert tree(tmp_path / "out") == []


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("place", "harm"),
    [
        ("store/records/*/*.json", flip),
        ("prefect/prefect.db", flip),
        ("mlflow/artifacts/1/models/m-1/MLmodel", flip),
        ("mlflow/mlflow.db", Path.unlink),
        ("store/acquisitions/*/image.ome.zarr/zarr.json", Path.unlink),
    ],
)
def test_a_damaged_backup_restores_nothing(
    backed_up: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, harm: Any
) -> None:
    harm(next(backed_up.glob(place)))
    empty_place(tmp_path, monkeypatch)
    result = call("restore", backed_up, "--store", tmp_path / "new" / "store")
    assert result.exit_code == 1
    assert "Traceback" not in result.stderr
    assert [path for path in (tmp_path / "new").rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("k", [1, 7])
def test_one_that_is_interrupted_leaves_nothing(
    carried: Experiment, backed_up: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, k: int
) -> None:
    empty_place(tmp_path, monkeypatch)
    dies_at(monkeypatch, "storage.backup._copy", k)
    assert call("restore", backed_up, "--store", tmp_path / "new" / "store").exit_code == 1
    assert [path for path in (tmp_path / "new").rglob("*") if path.is_file()] == []
    dies_at(monkeypatch, "storage.backup._copy", k)
    assert call("backup", tmp_path / "out" / "again", "--store", carried[0].url).exit_code == 1
    assert tree(tmp_path / "out") == []


def test_nothing_is_ever_replaced(carried: Experiment, backed_up: Path, home: Path, tmp_path: Path) -> None:
    before = tree(tmp_path)
    for words in (
        ["backup", backed_up, "--store", carried[0].url],
        ["backup", Path(carried[0].url) / "inside", "--store", carried[0].url],
        ["restore", backed_up, "--store", carried[0].url],  # a store is there
        ["restore", backed_up, "--store", tmp_path / "new"],  # and here the home's databases
        ["restore", tmp_path / "none", "--store", tmp_path / "new"],
    ):
        result = call(*words)
        assert result.exit_code == 2, result.stderr
    assert tree(tmp_path) == before


def files_in(folder: Path) -> list[Path]:
    """All files below a folder; every command makes the home, which is empty at first."""
    return [one for one in folder.rglob("*") if not one.is_dir()]


@pytest.mark.parametrize(
    "name", ["../../evil", "/evil", "store/../../evil", "mlflow/artifacts/../../../evil"]
)
def test_a_forged_list_leads_nowhere(
    backed_up: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    path = backed_up / backup.CONTENTS
    listed = json.loads(path.read_text())
    listed["files"][name] = next(iter(listed["files"].values()))
    path.write_text(json.dumps(listed))
    empty_place(tmp_path, monkeypatch)
    result = call("restore", backed_up, "--store", tmp_path / "new" / "store")
    assert result.exit_code == 2
    assert "may lead elsewhere" in result.stderr
    assert not files_in(tmp_path / "new")
    assert not list(tmp_path.rglob("evil"))


def test_a_backup_of_another_database_system_is_refused(
    backed_up: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    empty_place(tmp_path, monkeypatch)
    monkeypatch.setenv("PREFECT_API_DATABASE_CONNECTION_URL", "postgresql+asyncpg://lab:secret@db/prefect")
    result = call("restore", backed_up, "--store", tmp_path / "new" / "store")
    assert result.exit_code == 2
    assert "secret" not in result.stderr
    assert "SQLite, as it was before" in result.stderr
    assert not files_in(tmp_path / "new")
