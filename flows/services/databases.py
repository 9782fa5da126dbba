"""The servers' databases as files: copied while the servers run, and brought back."""

import os
import shutil
import sqlite3
import subprocess
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from sqlalchemy.engine import URL, make_url

from flows.services.recipes import MLFLOW, Recipe
from storage.errors import ChipcyteError, FormatError, InputError

SQLITE, POSTGRES = ".db", ".dump"
PATIENCE_S = 60.0
WORTH_IT = 4
"""Of how many pages one must be free for a vacuum to pay."""


@dataclass(frozen=True, slots=True)
class Database:
    """The database of one server.

    Attributes
    ----------
    name
        `prefect` or `mlflow`.
    url
        Where it is, as SQLAlchemy spells it. It may hold a password and is never shown.
    """

    name: str
    url: str = field(repr=False)

    @property
    def shown(self) -> str:
        """The address without its password."""
        return make_url(self.url).render_as_string(hide_password=True)

    @property
    def file(self) -> Path | None:
        """The file of a SQLite database; None for any other."""
        url = make_url(self.url)
        return Path(url.database) if url.get_backend_name() == "sqlite" and url.database else None


def database(recipe: Recipe, home: Path) -> Database:
    """Return the database that a server of this home uses, or would use if it were started now."""
    settings = recipe.full_environment(home, 0, os.environ)
    if recipe.name == MLFLOW.name:
        return Database(recipe.name, settings["MLFLOW_BACKEND_STORE_URI"])
    newer = settings.get("PREFECT_SERVER_DATABASE_CONNECTION_URL")
    return Database(recipe.name, newer or settings["PREFECT_API_DATABASE_CONNECTION_URL"])


def artifacts_folder(home: Path) -> Path | None:
    """Return the folder of MLflow's artifacts; None if they lie elsewhere than on this machine."""
    place = urlsplit(MLFLOW.full_environment(home, 0, os.environ)["MLFLOW_ARTIFACTS_DESTINATION"])
    return Path(url2pathname(place.path)) if place.scheme in ("", "file") else None


def dump(one: Database, folder: Path) -> Path | None:
    """Copy a database as it is at one moment, while its server runs.

    Returns
    -------
    Path or None
        The copy, `NAME.db` (SQLite) or `NAME.dump` (PostgreSQL's own format); None if a SQLite database was
        never made.
    """
    if one.file is None:
        target = folder / f"{one.name}{POSTGRES}"
        _postgres(one, "pg_dump", "--format=custom", "--no-owner", "--no-privileges", f"--file={target}")
        return target
    if not one.file.is_file():
        return None
    target = folder / f"{one.name}{SQLITE}"
    _copy_sqlite(one.file, target)
    return target


def _copy_sqlite(source: Path, target: Path) -> None:
    """Copy by SQLite's online backup, in one step: of several, each writer would make it start anew."""
    try:
        reader = sqlite3.connect(f"{source.as_uri()}?mode=ro", uri=True, timeout=PATIENCE_S)
        with closing(reader) as reading, closing(sqlite3.connect(target)) as writing:
            reading.backup(writing)
            writing.execute("PRAGMA journal_mode = DELETE")  # one file; the server sets its own anew
        check_sqlite(target)
    except sqlite3.Error as error:
        raise ChipcyteError(f"could not copy the database {source}: {error}") from error


def compact(one: Database) -> int:
    """Give back the room of deleted rows, if that is a quarter of a SQLite database; writers wait meanwhile.

    PostgreSQL does so by itself.

    Returns
    -------
    int
        By how many bytes the file shrank.
    """
    if one.file is None or not one.file.is_file():
        return 0
    before = one.file.stat().st_size
    with closing(sqlite3.connect(one.file, timeout=PATIENCE_S, isolation_level=None)) as rows:
        pages, free = _number(rows, "page_count"), _number(rows, "freelist_count")
        with suppress(sqlite3.OperationalError):  # others are busy with it: the next time will do
            if free * WORTH_IT >= max(pages, WORTH_IT):
                rows.execute("VACUUM")
                rows.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return max(0, before - one.file.stat().st_size)


def _number(rows: sqlite3.Connection, what: str) -> int:
    found: int = rows.execute(f"PRAGMA {what}").fetchone()[0]
    return found


def check_sqlite(path: Path) -> None:
    """Raise FormatError unless SQLite finds a database whole."""
    try:
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as reading:
            found = reading.execute("PRAGMA integrity_check").fetchone()[0]
    except sqlite3.Error as error:
        found = str(error)
    if found != "ok":
        raise FormatError(f"expected a whole database in {path}, found {found}")


def load_postgres(one: Database, dumped: Path) -> None:
    """Fill an empty PostgreSQL database from a dump: all of it or, if anything fails, nothing."""
    whole = ("--single-transaction", "--exit-on-error", "--no-owner", "--no-privileges", "--no-comments")
    _postgres(one, "pg_restore", *whole, str(dumped))


def check_fits(one: Database, dumped: Path) -> None:
    """Raise InputError if a dump is of another system than the database that is to take it."""
    wanted = POSTGRES if one.file is None else SQLITE
    if dumped.suffix != wanted:
        raise InputError(
            f"expected a database like {one.shown} for {one.name} in the backup, found {dumped.name}; point "
            f"{one.name} at {'PostgreSQL' if dumped.suffix == POSTGRES else 'SQLite'}, as it was before"
        )


def _postgres(one: Database, program: str, *words: str) -> None:
    """Run one of PostgreSQL's programs; the password travels in the environment, where nobody lists it."""
    url = make_url(one.url)
    if url.get_backend_name() != "postgresql":
        raise InputError(f"expected SQLite or PostgreSQL as {one.name}'s database, found {one.shown}")
    if shutil.which(program) is None:
        raise InputError(
            f"expected PostgreSQL's {program} on the PATH, found none; install its client programs"
        )
    open_url = URL.create("postgresql", url.username, None, url.host, url.port, url.database, url.query)
    secret = {"PGPASSWORD": str(url.password)} if url.password else {}
    done = subprocess.run(
        [program, f"--dbname={open_url.render_as_string()}", "--no-password", *words],
        env={**os.environ, **secret},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise ChipcyteError(f"{program} of {one.shown} failed: {done.stderr.strip().splitlines()[-1:]}")
