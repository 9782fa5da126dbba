"""`up`, `down`, `status`: what the command line and the flows ask of the group on this machine."""

import os
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from flows.services import ports, processes
from flows.services.access import PASSWORD, Access, chosen_access, tell_clients
from flows.services.addresses import (
    Servers,
    client_environment,
    given_address,
    given_addresses,
    servers_of,
)
from flows.services.launching import Launch, LostPortError, launch, wait_until_well
from flows.services.recipes import LOCAL, MLFLOW, PARTS, PREFECT, RECIPES, WORKER, Recipe
from flows.services.records import ServerRecord, locked, read_records, write_records
from flows.services.supervising import SUPERVISOR, dismiss, employ, enlist, log_file, say, supervise
from storage.errors import InputError

STAY = "--stay"

Wanted = Mapping[str, int | None]
"""Port the user asked for, by server name; None leaves the choice to chipcyte."""


@dataclass(frozen=True, slots=True)
class PartStatus:
    """How one part of the group is.

    Attributes
    ----------
    name
        `prefect`, `mlflow`, `worker` or `supervisor`.
    state
        `running`, `silent` (its process lives but does not answer), `stopped`, or `given` by the user.
    url
        Its page, or the address the user gave; empty if stopped, and for the supervisor.
    pid
        Its first process; 0 if there is none.
    resident_bytes
        Memory of its processes that lies in RAM.
    log
        The file with its output.
    since_s
        When its first process was created, in seconds since 1970; 0 if there is none.
    restarts
        How often the supervisor has started it again.
    """

    name: str
    state: str
    url: str
    pid: int
    resident_bytes: int
    log: Path
    since_s: float = 0.0
    restarts: int = 0


def up(
    home: Path, prefect_port: int | None = None, mlflow_port: int | None = None, host: str | None = None
) -> Servers:
    """Make sure that both servers run and are supervised, and start what is not.

    A server of this home answers and runs in this Python environment: it is reused. Otherwise what is left of
    it is ended and a new one started, at the same port if that is free. `PREFECT_API_URL` and
    `MLFLOW_TRACKING_URI`, set by the user, name servers that are used instead.

    Parameters
    ----------
    home
        Folder of databases, logs and state; made if missing.
    prefect_port, mlflow_port
        Ports; None takes those before, or 4200 and 5000, or the next free ones.
    host
        Address that new servers listen on; None takes that of those that ran, or 127.0.0.1. On any other than
        127.0.0.1 a password is asked for, and on that too if `CHIPCYTE_PASSWORD` is set.

    Raises
    ------
    InputError
        If a port was asked for and cannot be had, or a password is wanted and not there.
    ChipcyteError
        If a server does not come up within five minutes; with the end of its log.
    """
    home.mkdir(parents=True, exist_ok=True)
    home = home.resolve()
    wanted = {PREFECT.name: prefect_port, MLFLOW.name: mlflow_port}
    own = [recipe for recipe in RECIPES if given_address(recipe) is None]
    with locked(home):
        records = read_records(home)
        before = dict(records)
        access = _access(host, [records[one.name] for one in own if one.name in records])
        missing = [one for one in own if not _reusable(one, records.get(one.name), wanted[one.name], access)]
        notes = _start_once_more_if_unlucky(missing, home, wanted, records, access)
        if any(_moved(before.get(one.name), records[one.name]) for one in missing):
            # it is started again, and asks the new ones
            processes.stop(home, WORKER.name, records.get(WORKER.name))
        if own:
            tell_clients(access)
            employ(home, records, anew=bool(missing))
    return servers_of(records, started={recipe.name for recipe in missing}, notes=tuple(notes))


def start_worker(home: Path) -> bool:
    """Make sure that a worker runs, asks the servers of `up` for work, and is supervised.

    Returns
    -------
    bool
        Whether this call started it.

    Raises
    ------
    ChipcyteError
        If it does not come up within five minutes; with the end of its log.
    """
    home = home.resolve()
    with locked(home):
        records = read_records(home)
        if _reusable(WORKER, records.get(WORKER.name), None, LOCAL):
            return False
        clients = client_environment(servers_of(records), os.environ.get(PASSWORD, ""))
        _start([WORKER], home, {WORKER.name: None}, records, LOCAL, {**os.environ, **clients})
        employ(home, records, anew=True)
    return True


def down(home: Path) -> list[str]:
    """Stop the group of this home: the supervisor first, the servers last.

    Returns
    -------
    list of str
        Names of the servers and the worker that ran.
    """
    if not home.is_dir():
        return []
    home = home.resolve()
    dismiss(home, read_records(home))  # it may hold the lock while it waits for a server
    with locked(home):
        records = read_records(home)
        if SUPERVISOR in records and processes.leader(records[SUPERVISOR]):  # `up` was quicker
            dismiss(home, records)
        # Runs say that they were stopped while there is somebody to hear it.
        ran = {one.name for one in reversed(PARTS) if processes.stop(home, one.name, records.get(one.name))}
        write_records(home, {})
    return [one.name for one in PARTS if one.name in ran]


def become_supervisor(home: Path) -> NoReturn:
    """Go on as a small process that does `stay`: this one has all libraries in its memory."""
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-m", "flows.services", str(home), STAY])


def stay(home: Path) -> None:
    """Supervise the group from this process until it is told to end, or `down` is called; then stop it."""
    home = home.resolve()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with locked(home):
            records = read_records(home)
            dismiss(home, records)
            enlist(home, records, os.getpid())
        supervise(home)
    except KeyboardInterrupt:
        say("told to end")
    finally:
        down(home)


def status(home: Path) -> list[PartStatus]:
    """How both servers are, and the worker and the supervisor where there should be one; changes nothing."""
    home = home.resolve()
    records = read_records(home)
    parts = [_status(one, home, records.get(one.name)) for one in RECIPES]
    if WORKER.name in records:
        parts.append(_status(WORKER, home, records[WORKER.name]))
    if SUPERVISOR in records:
        record = records[SUPERVISOR]
        state = "running" if processes.leader(record) else "stopped"
        parts.append(_running(record, state, log_file(home)))
    return parts


def log_files(home: Path) -> dict[str, Path]:
    """Return the log of every part by its name."""
    return {**{one.name: one.log(home) for one in PARTS}, SUPERVISOR: log_file(home)}


def _moved(before: ServerRecord | None, after: ServerRecord) -> bool:
    """Whether clients that knew a server as it was do not find it any more."""
    return before is not None and (before.url, before.protected) != (after.url, after.protected)


def _access(host: str | None, records: list[ServerRecord]) -> Access:
    """Return where new servers listen and what they ask for: as those before, unless told otherwise."""
    before = records[0] if records else None
    if before is not None and before.protected and not os.environ.get(PASSWORD):
        raise InputError(
            f"the servers of this home ask for a password; expected it in the variable {PASSWORD}, found "
            "nothing there (or stop them with `chipcyte down`)"
        )
    return chosen_access(host or (before.host if before else ports.HOST))


def _reusable(recipe: Recipe, record: ServerRecord | None, wanted_port: int | None, access: Access) -> bool:
    if record is None or (record.prefix, record.version) != (sys.prefix, recipe.version):
        return False
    if record.protected != bool(access.password):
        return False
    if not processes.answers(record, record.url + recipe.health_path):
        return False
    if access.host != record.host:
        raise InputError(
            f"expected the {recipe.name} server on {access.host}, found it running on {record.host}; "
            "stop it first (chipcyte down) or leave the host out"
        )
    if wanted_port not in (None, record.port):
        raise InputError(
            f"expected the {recipe.name} server on port {wanted_port}, found it running at {record.url}; "
            "stop it first (chipcyte down) or leave the port out"
        )
    return True


def _start_once_more_if_unlucky(
    recipes: list[Recipe], home: Path, wanted: Wanted, records: dict[str, ServerRecord], access: Access
) -> list[str]:
    """Start servers; two homes that start at one moment choose the same free port, and one of them loses."""
    try:
        return _start(recipes, home, wanted, records, access, os.environ)
    except LostPortError:
        return _start(recipes, home, wanted, records, access, os.environ)


def _start(
    recipes: list[Recipe],
    home: Path,
    wanted: Wanted,
    records: dict[str, ServerRecord],
    access: Access,
    user: Mapping[str, str],
) -> list[str]:
    """Start parts, write their records into `records` and the state file, and return notes."""
    usual = {one.name: one.default_port for one in recipes}
    for recipe in recipes:
        record = records.pop(recipe.name, None)
        processes.stop(home, recipe.name, record)
        usual[recipe.name] = record.port if record else recipe.default_port
    chosen, notes = ports.choose(usual, wanted, access.host)
    launches: list[Launch] = []
    try:
        for recipe in recipes:
            launches.append(launch(recipe, home, chosen[recipe.name], access, user))
            records[recipe.name] = launches[-1].record
            write_records(home, records)
        wait_until_well(launches, home)
    except BaseException:  # also when the user interrupts: half a server helps nobody
        for one in launches:
            processes.stop(home, one.recipe.name, records.pop(one.recipe.name, None))
        write_records(home, records)
        raise
    return notes


def _status(recipe: Recipe, home: Path, record: ServerRecord | None) -> PartStatus:
    log = recipe.log(home)
    if address := given_addresses().get(recipe.name):
        return PartStatus(recipe.name, "given", address, 0, 0, log)
    if record is None or processes.leader(record) is None:
        return PartStatus(recipe.name, "stopped", "", 0, 0, log, restarts=record.restarts if record else 0)
    well = processes.answers(record, record.url + recipe.health_path)
    return _running(record, "running" if well else "silent", log)


def _running(record: ServerRecord, state: str, log: Path) -> PartStatus:
    memory_bytes = processes.resident_bytes(record)
    return PartStatus(
        record.name, state, record.url, record.pid, memory_bytes, log, record.created_s, record.restarts
    )
