"""A PostgreSQL of the tests' own, as Debian installs it; it trusts whoever reaches it on loopback."""

import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

USER = "lab"


def missing() -> str:
    """Return why there can be no PostgreSQL here; "" if there can."""
    if _programs() is None or shutil.which("pg_dump") is None:
        return "this system has no PostgreSQL"
    if os.getuid() == 0 and shutil.which("runuser") is None:
        return "PostgreSQL does not run as root, and there is no runuser"
    return ""


def _programs() -> Path | None:
    return max(Path("/usr/lib/postgresql").glob("*/bin"), default=None, key=lambda one: one.parent.name)


@dataclass(frozen=True)
class Postgres:
    """One server. `within` are words before each of its commands, such as those that enter a namespace."""

    folder: Path
    port: int
    within: Sequence[str] = ()

    @property
    def address(self) -> str:
        return f"{USER}@127.0.0.1:{self.port}"

    @property
    def variables(self) -> dict[str, str]:
        """What tells Prefect and MLflow of their databases in it."""
        return {
            "PREFECT_SERVER_DATABASE_CONNECTION_URL": f"postgresql+asyncpg://{self.address}/prefect",
            "MLFLOW_BACKEND_STORE_URI": f"postgresql+psycopg2://{self.address}/mlflow",
        }

    def start(self) -> None:
        where = f"-h 127.0.0.1 -p {self.port} -k {self.folder} -F"
        self._ctl("-l", str(self.folder / "log"), "-o", where, "-w", "start")

    def stop(self, mode: str = "fast") -> None:
        self._ctl("-m", mode, "-w", "stop")

    def make(self) -> None:
        """Make the files of an empty server."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if os.getuid() == 0:
            shutil.chown(self.folder, "postgres")
        data = ["-D", str(self.folder / "data")]
        self._run("initdb", *data, "--auth=trust", f"--username={USER}", "--no-sync")

    def create(self, name: str) -> None:
        """Make a database."""
        self._run("createdb", "-h", "127.0.0.1", "-p", str(self.port), "-U", USER, name)

    def _ctl(self, *words: str) -> None:
        self._run("pg_ctl", "-D", str(self.folder / "data"), *words)

    def _run(self, name: str, *words: str) -> None:
        programs = _programs()
        assert programs is not None
        user = []
        if os.getuid() == 0:
            user = ["runuser", "-u", "postgres", "--"]
            for above in self.folder.parents:  # pytest shuts its folders to others whenever a session begins
                above.chmod(above.stat().st_mode | 0o111)
        command = [*self.within, *user, str(programs / name), *words]
        # The server inherits what it is started with: a pipe would never be closed.
        with (self.folder / "commands.log").open("ab") as log:
            subprocess.run(command, check=True, stdout=log, stderr=log, cwd=self.folder)


@contextmanager
def running(
    folder: Path, port: int, databases: Sequence[str], within: Sequence[str] = ()
) -> Iterator[Postgres]:
    """Run a server with empty databases."""
    server = Postgres(folder, port, within)
    server.make()
    server.start()
    try:
        for name in databases:
            server.create(name)
        yield server
    finally:
        server.stop("immediate")
