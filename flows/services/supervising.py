"""The supervisor: one process a home, which starts again whatever part of its group has died.

What is to run is what the state file says: `up` adds to it, `down` empties it. So a supervisor that is killed
takes nothing with it, and the next one needs to be told nothing. It has the environment of the command that
started the last part, so that what it starts again is what was started then.
"""

import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path

import psutil

from flows.services import logs, ports, processes
from flows.services.access import PASSWORD, access_of
from flows.services.addresses import client_environment, servers_of
from flows.services.launching import launch, wait_until_well
from flows.services.recipes import PARTS, Recipe
from flows.services.records import ServerRecord, locked, read_records, write_records
from storage.errors import ChipcyteError

SUPERVISOR = "supervisor"
LOOK_EVERY_S = 1.0
ASK_EVERY_S = 20.0
SILENT_TOO_LONG_S = 180.0
"""A server that writes to a slow disk may say nothing for a while."""
LARGEST_BYTES = 2 * 2**30
"""A server that holds more is started again: Prefect's remembers half an hour of events, far below that."""
LONGEST_PAUSE_S = 300.0
STEADY_AFTER_S = 600.0
"""Whoever lived this long starts without a pause when it dies."""


def log_file(home: Path) -> Path:
    """Return the file in which the supervisor says what it does."""
    return home / "logs" / f"{SUPERVISOR}.log"


def employ(home: Path, records: dict[str, ServerRecord], *, anew: bool) -> None:
    """See that one supervisor watches the group; the caller holds the lock.

    Parameters
    ----------
    anew
        Whether parts were started just now, whose environment the supervisor must have.
    """
    record = records.get(SUPERVISOR)
    mine = record is not None and (record.prefix, record.version) == (sys.prefix, version("chipcyte"))
    if not anew and record is not None and mine and processes.leader(record) is not None:
        return
    dismiss(home, records)
    process = processes.spawn(
        [sys.executable, "-m", "flows.services", str(home)],
        environment={**os.environ, processes.MARK: processes.mark(home, SUPERVISOR)},
        folder=home,
        log=log_file(home),
    )
    enlist(home, records, process.pid)


def enlist(home: Path, records: dict[str, ServerRecord], pid: int) -> None:
    """Write down who the supervisor is; the caller holds the lock."""
    records[SUPERVISOR] = ServerRecord(
        name=SUPERVISOR,
        pid=pid,
        created_s=psutil.Process(pid).create_time(),
        port=0,
        url="",
        prefix=sys.prefix,
        version=version("chipcyte"),
        network=processes.network_number(),
    )
    write_records(home, records)


def dismiss(home: Path, records: dict[str, ServerRecord]) -> None:
    """End the supervisor, whether it is written down or not; never the process that asks."""
    record = records.pop(SUPERVISOR, None)
    if record is None or record.pid != os.getpid():
        processes.stop(home, SUPERVISOR, record)


@dataclass
class Watched:
    """What the supervisor remembers of a part: how often it died in a row, and when it was well."""

    deaths: int = 0
    begin_s: float = field(default_factory=time.monotonic)
    not_before_s: float = 0.0
    asked_s: float = field(default_factory=time.monotonic)
    heard_s: float = field(default_factory=time.monotonic)


def say(text: str) -> None:
    """Write a line with the time of day into the supervisor's log."""
    sys.stdout.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}\n")
    sys.stdout.flush()


@dataclass
class Supervisor:
    """Looks at the parts of a home's group again and again."""

    home: Path
    parts: tuple[Recipe, ...] = PARTS
    tell: Callable[[str], None] = say
    watched: dict[str, Watched] = field(default_factory=dict)

    def look(self) -> bool:
        """Look at every part once, and start again what has died.

        Returns
        -------
        bool
            Whether this process is still the one to do so.
        """
        if not self.home.is_dir():
            return False
        with locked(self.home):
            records = read_records(self.home)
            if SUPERVISOR not in records or records[SUPERVISOR].pid != os.getpid():
                return False
            for recipe in self.parts:
                logs.bound(recipe.log(self.home))
                if recipe.name in records:
                    self._care(recipe, records)
            logs.bound(log_file(self.home))
        return True

    def _care(self, recipe: Recipe, records: dict[str, ServerRecord]) -> None:
        record, known = records[recipe.name], self.watched.setdefault(recipe.name, Watched())
        if time.monotonic() < known.not_before_s:
            return
        if trouble := self._trouble(recipe, record, known):
            self._start_again(recipe, record, records, trouble)

    def _trouble(self, recipe: Recipe, record: ServerRecord, known: Watched) -> str:
        """Say what is wrong with a part; empty if nothing is."""
        if processes.leader(record) is None:
            return f"has ended (process {record.pid})"
        moment = time.monotonic()
        if moment - known.asked_s >= ASK_EVERY_S:
            known.asked_s = moment
            if processes.answers(record, record.url + recipe.health_path):
                known.heard_s = moment
            held_bytes = 0 if recipe.is_client else processes.resident_bytes(record)
            if held_bytes > LARGEST_BYTES:
                return f"holds {held_bytes / 2**20:,.0f} MiB"
        silent_s = known.asked_s - known.heard_s
        return f"has not answered for {silent_s:.0f} s" if silent_s >= SILENT_TOO_LONG_S else ""

    def _start_again(
        self, recipe: Recipe, record: ServerRecord, records: dict[str, ServerRecord], trouble: str
    ) -> None:
        known = self.watched[recipe.name]
        steady = time.monotonic() - known.begin_s >= STEADY_AFTER_S
        deaths = 0 if steady else known.deaths
        self.tell(f"{recipe.name} {trouble}; starting it again")
        try:
            again = self._launch(recipe, record, records)
            self.tell(f"{recipe.name} runs again: process {again.pid}, {again.url}")
        except ChipcyteError as error:
            self.tell(f"{recipe.name} did not come up: {error}")
        pause_s = min(2.0**deaths, LONGEST_PAUSE_S)
        self.watched[recipe.name] = Watched(deaths + 1, not_before_s=time.monotonic() + pause_s)

    def _launch(self, recipe: Recipe, record: ServerRecord, records: dict[str, ServerRecord]) -> ServerRecord:
        """Start a part at the port that others know, and wait until it is well.

        Raises
        ------
        ChipcyteError
            Somebody else has the port now, or the part does not answer.
        """
        processes.stop(self.home, recipe.name, record)
        ports.demand(record.port, recipe.name, record.host)
        user = dict(os.environ)
        if recipe.is_client:
            user |= client_environment(servers_of(records), os.environ.get(PASSWORD, ""))
        access = access_of(host=record.host, protected=record.protected)
        made = launch(recipe, self.home, record.port, access, user)
        records[recipe.name] = replace(made.record, restarts=record.restarts + 1)
        write_records(self.home, records)
        wait_until_well([made], self.home)
        return records[recipe.name]


def supervise(home: Path) -> None:
    """Supervise a home's group until `down`, or until another process does."""
    say(f"supervising {home} as process {os.getpid()}")
    supervisor, goes_on = Supervisor(home), True
    while goes_on:
        try:
            goes_on = supervisor.look()
        except Exception as error:  # noqa: BLE001 - a full disk, a lock that is held: it must outlive them all
            say(f"could not look after the group: {type(error).__name__}: {error}")
        time.sleep(LOOK_EVERY_S)
    say("nothing is left to supervise here")
