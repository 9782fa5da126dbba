"""Start servers side by side and wait until they answer."""

import os
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

from flows.services import logs, ports, processes
from flows.services.access import Access, write_users
from flows.services.recipes import LOCAL, MLFLOW, Recipe
from flows.services.records import ServerRecord
from storage.errors import ChipcyteError

START_TIMEOUT_S = 300.0
"""A server that starts beside runs that take all cores needs minutes."""
POLL_S = 0.2
SHOWN_LOG_LINES = 15


class LostPortError(ChipcyteError, OSError):
    """Between choosing a port and listening on it another program was quicker."""


@dataclass(slots=True)
class Launch:
    """A server that was started and may not answer yet."""

    recipe: Recipe
    record: ServerRecord
    process: "subprocess.Popen[bytes]"

    @property
    def health_url(self) -> str:
        """Address that answers 200 once the server is well."""
        return self.record.url + self.recipe.health_path


def launch(
    recipe: Recipe,
    home: Path,
    port: int,
    access: Access = LOCAL,
    user: Mapping[str, str] | None = None,
) -> Launch:
    """Start one part, in the environment `user` or that of this process; returns at once."""
    recipe.folder(home).mkdir(parents=True, exist_ok=True)
    if recipe.name == MLFLOW.name:
        write_users(access, recipe.folder(home))
    environment = recipe.full_environment(home, port, os.environ if user is None else user, access)
    process = processes.spawn(
        recipe.full_command(home, port, access),
        environment={**environment, processes.MARK: processes.mark(home, recipe.name)},
        folder=recipe.folder(home),
        log=recipe.log(home),
    )
    record = ServerRecord(
        name=recipe.name,
        pid=process.pid,
        created_s=psutil.Process(process.pid).create_time(),
        port=port,
        url=recipe.url(port, access),
        prefix=sys.prefix,
        version=recipe.version,
        network=processes.network_number(),
        host=access.host,
        protected=bool(access.password),
    )
    return Launch(recipe, record, process)


def wait_until_well(launches: list[Launch], home: Path, timeout_s: float = START_TIMEOUT_S) -> None:
    """Wait for all; the servers start at the same time, so the slowest one alone counts.

    Raises
    ------
    LostPortError
        If a server ended because somebody else took its port in the meantime.
    ChipcyteError
        If a server ends or does not answer in time; with the last lines of its log.
    """
    give_up_s = time.monotonic() + timeout_s
    pending = launches
    while pending := [one for one in pending if not processes.answers(one.record, one.health_url)]:
        for one in pending:
            _check_hope(one, home, late=time.monotonic() > give_up_s, timeout_s=timeout_s)
        time.sleep(POLL_S)


def _check_hope(one: Launch, home: Path, *, late: bool, timeout_s: float) -> None:
    code = one.process.poll()
    if code is not None and not ports.is_free(one.record.port, one.record.host):
        owner = ports.holder(one.record.port)
        raise LostPortError(_failure(one, home, f"port {one.record.port} taken by another program{owner}"))
    if code is not None:
        raise ChipcyteError(_failure(one, home, f"its process ended with code {code}"))
    if late:
        raise ChipcyteError(_failure(one, home, f"no answer after {timeout_s:.0f} s"))


def _failure(one: Launch, home: Path, found: str) -> str:
    log = one.recipe.log(home)
    return (
        f"expected the {one.recipe.name} server at {one.health_url}, found {found}; "
        f"read its log {log}, which ends with\n{last_lines(log)}"
    )


def last_lines(log: Path, count: int = SHOWN_LOG_LINES) -> str:
    """The end of a log, indented; says so if it is empty."""
    return "\n".join(f"    {line}" for line in logs.last_lines(log, count)) or "    (nothing)"
