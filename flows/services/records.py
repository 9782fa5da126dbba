"""What is remembered about the running servers, and the lock that lets one command at a time change it."""

import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from flows.services.ports import HOST
from storage.errors import ChipcyteError

if sys.platform == "win32":
    import msvcrt

    def _take(descriptor: int) -> None:
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
else:
    import fcntl

    def _take(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


LOCK_TIMEOUT_S = 900.0
"""Longer than the slowest start, so a second command waits for the first and then reuses its servers."""


@dataclass(frozen=True, slots=True)
class ServerRecord:
    """One started part of the group: a server, the worker or the supervisor.

    Attributes
    ----------
    name
        `prefect`, `mlflow`, `worker` or `supervisor`.
    pid, created_s
        The first process, and when the system says it was created (seconds since 1970): a process id alone
        is given again to strangers.
    port
        TCP port on `host`; 0 for the supervisor, which has none.
    url
        Where a browser finds the server's page; for the worker, where it says that it is well.
    prefix, version
        The Python environment that runs it (`sys.prefix`) and the version of prefect, mlflow or chipcyte.
    network
        Number of the network namespace it listens in; 0 where the system has none.
    host
        Address it listens on.
    protected
        Whether it asks for a password.
    restarts
        How often the supervisor has started it again.
    """

    name: str
    pid: int
    created_s: float
    port: int
    url: str
    prefix: str
    version: str
    network: int
    host: str = HOST
    protected: bool = False
    restarts: int = 0


def state_file(home: Path) -> Path:
    """The file that holds the records."""
    return home / "servers.json"


def read_records(home: Path) -> dict[str, ServerRecord]:
    """Records by server name.

    A file that is missing, damaged or of another version counts as no record: the processes themselves are
    found by the mark in their environment.
    """
    try:
        entries = json.loads(state_file(home).read_text(encoding="utf-8"))
        return {name: ServerRecord(**entry) for name, entry in entries.items()}
    except (FileNotFoundError, ValueError, TypeError, AttributeError):
        return {}


def write_records(home: Path, records: dict[str, ServerRecord]) -> None:
    """Replace the file in one step, so that a reader never sees half of it."""
    fresh = state_file(home).with_suffix(f".{os.getpid()}.new")
    fresh.write_text(json.dumps({name: asdict(record) for name, record in records.items()}, indent=2))
    fresh.replace(state_file(home))


@contextmanager
def locked(home: Path, timeout_s: float = LOCK_TIMEOUT_S) -> Iterator[None]:
    """Hold the home's lock; the system frees it when the process ends, however it ends.

    Raises
    ------
    ChipcyteError
        If another process holds it for longer than `timeout_s`.
    """
    path = home / "servers.lock"
    with path.open("a+b") as handle:
        give_up_s = time.monotonic() + timeout_s
        while True:
            try:
                _take(handle.fileno())
                break
            except OSError as error:
                if time.monotonic() > give_up_s:
                    raise ChipcyteError(_busy(path, timeout_s)) from error
                time.sleep(0.1)
        yield


def _busy(path: Path, timeout_s: float) -> str:
    return (
        f"expected the lock {path} within {timeout_s:.0f} s, found it held by another command that starts or "
        "stops the servers; wait for that command or end it"
    )
