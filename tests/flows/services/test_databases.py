import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest

from flows.services import databases, recipes
from storage.errors import ChipcyteError, FormatError, InputError

SECRET = "s3cret"
POSTGRES = databases.Database("mlflow", f"postgresql+psycopg2://lab:{SECRET}@db.example:5433/runs")


def test_the_databases_are_those_that_the_servers_get(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for recipe in recipes.RECIPES:
        assert databases.database(recipe, tmp_path).file == tmp_path / recipe.name / f"{recipe.name}.db"
    assert databases.artifacts_folder(tmp_path / "a b") == tmp_path / "a b" / "mlflow" / "artifacts"
    for name in ("PREFECT_API_DATABASE_CONNECTION_URL", "PREFECT_SERVER_DATABASE_CONNECTION_URL"):
        monkeypatch.setenv(name, f"postgresql+asyncpg://lab:{SECRET}@db/{name}")
        found = databases.database(recipes.PREFECT, tmp_path)
        assert found.url.endswith(name)
        assert found.file is None
        assert SECRET not in repr(found) + found.shown


def test_a_copy_is_of_one_moment_while_others_write(tmp_path: Path) -> None:
    """Each transaction adds a row to two tables: a copy of one moment has as many in both."""
    source, enough = tmp_path / "busy.db", threading.Event()
    with closing(sqlite3.connect(source)) as rows, rows:
        rows.executescript("PRAGMA journal_mode = WAL; CREATE TABLE a (x); CREATE TABLE b (x);")

    def write() -> None:
        with closing(sqlite3.connect(source, timeout=60)) as rows:
            while not enough.is_set():
                with rows:
                    rows.execute("INSERT INTO a VALUES (randomblob(2000))")
                    rows.execute("INSERT INTO b VALUES (randomblob(2000))")

    writer = threading.Thread(target=write)
    writer.start()
    try:
        one = databases.Database("busy", f"sqlite:///{source}")
        counts = []
        for number in range(5):
            (tmp_path / str(number)).mkdir()
            with closing(sqlite3.connect(databases.dump(one, tmp_path / str(number)))) as copy:
                counts.append([copy.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for name in "ab"])
    finally:
        enough.set()
        writer.join()
    assert all(a == b for a, b in counts)
    assert counts[-1][0] > counts[0][0]


def test_a_database_that_was_never_made_and_one_that_is_none(tmp_path: Path) -> None:
    one = databases.Database("prefect", f"sqlite+aiosqlite:///{tmp_path / 'prefect.db'}")
    assert databases.dump(one, tmp_path) is None
    (tmp_path / "prefect.db").write_text("a shopping list, and a long one at that" * 100)
    (tmp_path / "out").mkdir()
    with pytest.raises(ChipcyteError, match="could not copy"):
        databases.dump(one, tmp_path / "out")
    with pytest.raises(FormatError, match="expected a whole database"):
        databases.check_sqlite(tmp_path / "prefect.db")


def test_deleted_rows_give_their_room_back_while_a_server_has_the_database_open(tmp_path: Path) -> None:
    one = databases.Database("busy", f"sqlite:///{tmp_path / 'busy.db'}")
    assert databases.compact(one) == 0  # there is none yet
    with closing(sqlite3.connect(one.file)) as server:
        server.executescript("PRAGMA journal_mode = WAL; CREATE TABLE a (x);")
        with server:
            server.executemany("INSERT INTO a VALUES (randomblob(1000))", [()] * 2000)
        server.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        size = one.file.stat().st_size
        assert databases.compact(one) == 0  # nothing was deleted
        with server:
            server.execute("DELETE FROM a WHERE rowid > 200")
        assert databases.compact(one) > size // 2
        assert one.file.stat().st_size < size // 2
        assert server.execute("SELECT count(*) FROM a").fetchone()[0] == 200
    assert databases.compact(POSTGRES) == 0


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand-ins for PostgreSQL's programs that note how they were called."""
    for name, code in (("pg_dump", 0), ("pg_restore", 1)):
        path = tmp_path / "bin" / name
        path.parent.mkdir(exist_ok=True)
        notes = f'echo "$@" > {tmp_path}/{name}; echo "$PGPASSWORD" > {tmp_path}/password'
        path.write_text(f"#!/bin/sh\n{notes}\necho relation exists >&2\nexit {code}\n")
        path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    return tmp_path


def test_postgres_gets_the_password_where_no_list_of_processes_shows_it(programs: Path) -> None:
    target = databases.dump(POSTGRES, programs)
    assert target == programs / "mlflow.dump"
    words = (programs / "pg_dump").read_text()
    assert "--dbname=postgresql://lab@db.example:5433/runs" in words
    assert SECRET not in words
    assert (programs / "password").read_text().strip() == SECRET


def test_a_failed_restore_says_why_and_not_the_password(programs: Path) -> None:
    with pytest.raises(ChipcyteError, match="relation exists") as failure:
        databases.load_postgres(POSTGRES, programs / "mlflow.dump")
    assert SECRET not in str(failure.value)
    assert "--single-transaction" in (programs / "pg_restore").read_text()


def test_without_the_programs_or_with_another_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match="pg_dump on the PATH"):
        databases.dump(POSTGRES, tmp_path)
    with pytest.raises(InputError, match="SQLite or PostgreSQL") as failure:
        databases.dump(databases.Database("mlflow", f"mysql://lab:{SECRET}@db/x"), tmp_path)
    assert SECRET not in str(failure.value)
