"""The spool: entries that a lost MLflow could not take wait in the store and are delivered once."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from storage import layout, leases
from storage.errors import BusyError
from storage.objects import Objects
from tasks.tracking.entries import Entry, find_run, open_run, tell
from tasks.tracking.server import LostServerError, TrackingError, explained, is_reachable, make_client

log = logging.getLogger("chipcyte")
LEASE = "delivery"


@dataclass(frozen=True)
class Spool:
    """What waits of one run, named by its id or, where MLflow has given it none, its ticket."""

    objects: Objects
    run_id: str

    def add(self, entry: Entry) -> None:
        """Let an entry wait behind those of the same run that wait already."""
        number = max((_number(name) for name in self.names()), default=-1) + 1
        while not self.objects.create(self._name(number), entry.packed()):
            number += 1  # another process had the same thought

    def names(self) -> list[str]:
        """Return where the entries lie, the first first."""
        return list(self.objects.names(layout.delivery_folder(self.run_id)))

    def gone(self, name: str) -> None:
        """Let go of an entry that MLflow has taken."""
        self.objects.delete([name])

    def _name(self, number: int) -> str:
        return f"{layout.delivery_folder(self.run_id)}/{number:08d}.zip"


def _number(name: str) -> int:
    return int(name.rsplit("/", 1)[1].removesuffix(".zip"))


@dataclass
class Delivered:
    """What came of a delivery.

    Attributes
    ----------
    entries
        Entries that MLflow took.
    runs
        Runs that have nothing waiting any more.
    waiting
        Entries that still wait.
    problems
        Why, a sentence each.
    """

    entries: int = 0
    runs: list[str] = field(default_factory=list)
    waiting: int = 0
    problems: list[str] = field(default_factory=list)


def waiting_runs(objects: Objects) -> list[str]:
    """Return the runs of which something waits, the one that began to wait first in front."""
    oldest: dict[str, Any] = {}
    for entry in objects.entries(layout.DELIVERIES):
        run_id = entry.name.split("/")[1]
        oldest[run_id] = min(oldest.get(run_id, entry.modified), entry.modified)
    return sorted(oldest, key=lambda run_id: oldest[run_id])


def deliver(objects: Objects, tracking_uri: str) -> Delivered:
    """Tell MLflow what waits in a store; each entry leaves the spool when MLflow has taken it.

    A run that MLflow refuses keeps what waits of it; the others are not held up.

    Returns
    -------
    Delivered
        Its `problems` name what could not be delivered.
    """
    done, runs = Delivered(), waiting_runs(objects)
    if runs and not is_reachable(tracking_uri):
        done.problems.append(f"MLflow at {tracking_uri} does not answer (chipcyte status)")
    elif runs:
        _deliver_runs(objects, tracking_uri, runs, done)
    done.waiting = sum(len(Spool(objects, run_id).names()) for run_id in runs)
    return done


def _deliver_runs(objects: Objects, tracking_uri: str, runs: list[str], done: Delivered) -> None:
    for run_id in runs:
        try:
            with leases.held(objects, LEASE, run_id), explained(tracking_uri):
                for _ in _taken(make_client(tracking_uri), Spool(objects, run_id)):
                    done.entries += 1
            for place in (layout.delivery_folder(run_id), layout.progress_folder(LEASE, run_id)):
                objects.prune(place)
            done.runs.append(run_id)
        except LostServerError as error:
            done.problems.append(str(error))
            return
        except (BusyError, TrackingError) as error:
            done.problems.append(str(error))


def _taken(client: Any, spool: Spool) -> Iterator[str]:
    """Yield the name of each entry that MLflow took, until none waits."""
    target = find_run(client, spool.run_id)
    while names := spool.names():
        for name in names:
            entry = Entry.unpacked(spool.objects.get(name))
            if entry.does == "open":
                target = target or open_run(client, entry)
            elif target is None:
                raise TrackingError(
                    f"expected run {spool.run_id} in MLflow at {client.tracking_uri}, found none; name the "
                    "server it was begun on by MLFLOW_TRACKING_URI"
                )
            else:
                tell(client, target, entry)
            spool.gone(name)
            yield name


def deliver_if_any(objects: Objects, tracking_uri: str) -> None:
    """Deliver what waits before other work begins; what cannot be delivered is said and goes on waiting."""
    done = deliver(objects, tracking_uri)
    if done.entries:
        log.info(f"MLflow took {done.entries} entries of {len(done.runs)} runs that waited for it")
    for problem in done.problems:
        log.warning(f"{done.waiting} entries wait for MLflow: {problem}")
