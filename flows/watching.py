"""The watcher: looks into an inbox again and again and takes what is complete.

An inbox is a folder or an S3 prefix. A file right in it is judged alone, a folder in it as a whole: when all
of it has been still for the quiet period it is taken, as one acquisition or several.

Whether planes that come slower than the quiet period are all there, only some instruments say: a set whose
OME-XML or companion file names more planes, and a folder whose names leave gaps, are refused until the rest
is there. Where nothing says it, a folder that goes on growing is taken again with more planes, as an
acquisition of its own, and the event names the key of the shorter one. A longer watch.quiet_period_s avoids
that.
"""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextvars import copy_context
from dataclasses import dataclass
from functools import partial

from prefect import flow
from prefect.events import emit_event

from flows.events import Event
from flows.intake import Intake
from flows.restating import Restating
from storage.arrivals import Stillness, pending_units, unit_place
from storage.errors import StoreError
from storage.inbox import Inbox, Snapshot, Unit, is_table, open_inbox
from storage.known import Known, answers_standing
from storage.objects import Objects, open_store
from storage.sources.base import Acquisition
from tasks.ingest import ingest
from tasks.settings import Settings
from tasks.stage import Handle

LONGEST_PAUSE_S = 300.0
INGESTED = "chipcyte.acquisition.ingested"
Tell = Callable[[Event], None]


@dataclass(frozen=True)
class Look:
    """What one look into the inbox found.

    Attributes
    ----------
    states
        All recordings.
    ready
        Units with something new in them that is complete.
    restless
        New files that have not been still for the quiet period.
    tables
        Every samples.csv.
    changed
        Those of them that are new or edited, and still.
    standing
        The answers of marks that are raw images in the store.
    """

    states: Snapshot
    ready: list[Unit]
    restless: frozenset[str]
    tables: Snapshot
    changed: Snapshot
    standing: set[str]

    @property
    def has_work(self) -> bool:
        """Whether something can be taken or stated."""
        return bool(self.ready or self.changed)


@dataclass
class Watcher:
    """What lasts from one look to the next. `ingest` and `announce` are as in `Intake`."""

    inbox: Inbox
    objects: Objects
    settings: Settings
    known: Known
    stillness: Stillness
    ingest: Callable[[Acquisition], Handle]
    announce: Callable[[Handle], None]
    pause: Callable[[float], None] = time.sleep

    def look(self) -> Look:
        """List the inbox and find what is new and complete. Opens no file of it."""
        listed = self.inbox.snapshot(recursive=self.settings.watch.recursive)
        tables = {path: state for path, state in listed.items() if is_table(path)}
        states = {path: state for path, state in listed.items() if path not in tables}
        self.known.refresh()
        standing = answers_standing(self.objects)
        pending = {}
        for path, state in states.items():
            answers = self.known.answers(path, state)
            if answers is None or not standing.issuperset(answers):
                pending[path] = state
        edited = {path: one for path, one in tables.items() if self.known.answers(path, one) is None}
        restless = self.stillness.observe(pending | edited)
        units = pending_units(states, pending, self._place, self.settings.watch.pattern)
        ready = [unit for unit in units if unit.pending.isdisjoint(restless)]
        changed = {path: state for path, state in edited.items() if path not in restless}
        raws = {answer for answer in standing if answer.startswith("raw/")}
        return Look(states, ready, restless, tables, changed, raws)

    def patient_look(self) -> Look:
        """Look, and if something is new, look again after the quiet period."""
        first = self.look()
        if not first.restless:
            return first
        self.pause(self.settings.watch.quiet_period_s)
        return self.look()

    def take(self, look: Look) -> Iterator[Event]:
        """Take what a look found complete, several units at once.

        Raises
        ------
        StoreError
            The store or the inbox fails; raised when the units that were begun are through.
        """
        intake = Intake(
            inbox=self.inbox,
            objects=self.objects,
            settings=self.settings.ingest,
            known=self.known,
            states=look.states,
            restless=look.restless,
            standing=look.standing,
            ingest=self.ingest,
            announce=self.announce,
        )
        pool = ThreadPoolExecutor(self.settings.resources.acquisitions_at_once)
        try:
            # Prefect keeps the running flow in a context variable, which a thread does not inherit.
            futures = [pool.submit(copy_context().run, intake.take, unit) for unit in look.ready]
            for future in as_completed(futures):
                yield from future.result()
            restating = Restating(self.inbox, self.objects, self.known, look.states, look.tables)
            yield from restating.apply(look.changed)
        finally:
            pool.shutdown(cancel_futures=True)
            self.known.flush()

    def _place(self, path: str) -> str:
        ours = self.settings.ingest
        depth = ours.pattern.count("/") if ours.pattern else 0
        return unit_place(path, depth=depth, root_is_unit=ours.folder_is == "planes" or bool(ours.pattern))


def open_watcher(
    inbox: str,
    store: str,
    settings: Settings,
    *,
    announce: Callable[[Handle], None] | None = None,
    ingesting: Callable[..., Handle] = ingest,
) -> Watcher:
    """Return a watcher of an inbox.

    Parameters
    ----------
    announce
        Hears of each new acquisition; None: a Prefect event.
    ingesting
        The ingest task, or its plain function where no Prefect is wanted.

    Raises
    ------
    InputError
        The inbox is no folder and no S3 prefix, or the store is none.
    """
    place, objects = open_inbox(inbox), open_store(store, create=True)
    return Watcher(
        inbox=place,
        objects=objects,
        settings=settings,
        known=Known(objects, place.url),
        stillness=Stillness(settings.watch.quiet_period_s),
        ingest=partial(_ingest, ingesting, objects.url, settings),
        announce=announce or announce_ingested,
    )


def _ingest(
    ingesting: Callable[..., Handle], store: str, settings: Settings, acquisition: Acquisition
) -> Handle:
    return ingesting(acquisition, store, settings.ingest, settings.resources)


def announce_ingested(raw: Handle) -> None:
    """Emit the Prefect event that an automation may start the further stages by.

    It comes at least once for an acquisition: a watcher that is killed may say it again.
    """
    emit_event(
        event=INGESTED,
        resource={
            "prefect.resource.id": f"chipcyte.acquisition.{raw.key}",
            "prefect.resource.name": raw.name,
        },
        payload={"key": raw.key, "name": raw.name, "uri": raw.uri, "counts": raw.counts},
    )


@flow(name="watch", flow_run_name="watch {inbox}", timeout_seconds=86_400)
def watch_once(*, inbox: str, store: str, settings: Settings) -> list[Event]:
    """Look into an inbox once, wait for the quiet period, and take what is complete then.

    What is still being written is left to the next time. This is the flow to put on a schedule.
    After a day it ends, and the next goes on: a file system that hangs must not stop all looks to come.

    Args:
        inbox: Folder or s3://bucket/prefix in which recordings arrive. Its files are never moved or changed.
        store: Folder or s3:// of the store; made if there is none.
        settings: As in a settings file; those left out keep their defaults.
    """
    return watch_plainly(open_watcher(inbox, store, settings))


def watch_plainly(watcher: Watcher) -> list[Event]:
    """Do what `watch_once` does, with a watcher that is open already."""
    look = watcher.patient_look()
    late = [Event("waiting", path, reason="it is still being written") for path in sorted(look.restless)]
    return [*watcher.take(look), *late]


def watch(watcher: Watcher, tell: Tell) -> list[Event]:
    """Look again and again until interrupted; a Prefect flow run is made only when there is work.

    A store or inbox that fails is told of and asked again at the next look. So is whatever else fails, a
    dead Prefect server above all, after pauses that double up to `LONGEST_PAUSE_S`: a watcher outlives its
    servers.

    Returns
    -------
    list of Event
        What was settled, when the user interrupts.
    """
    settled: list[Event] = []
    said: dict[str, str] = {}
    failures = 0

    def hear(event: Event) -> None:
        if event.what != "waiting":
            settled.append(event)
        if said.get(event.place) != event.line:
            said[event.place] = event.line
            tell(event)

    try:
        while True:
            try:
                look = watcher.look()
                if look.has_work:
                    _take_in_a_run(watcher, look, hear)
                failures = 0
            except StoreError as error:
                hear(Event("waiting", watcher.inbox.url, reason=str(error)))
            except Exception as error:  # noqa: BLE001 - Prefect and httpx raise many kinds
                failures += 1
                reason = f"the run failed and is tried again: {type(error).__name__}: {error}"
                hear(Event("waiting", watcher.inbox.url, reason=reason))
            watcher.pause(_pause_s(watcher.settings.watch.scan_interval_s, failures))
    except KeyboardInterrupt:
        return settled


def _pause_s(interval_s: float, failures: int) -> float:
    return min(interval_s * 2.0 ** min(failures, 20), max(interval_s, LONGEST_PAUSE_S))


def _take_in_a_run(watcher: Watcher, look: Look, hear: Tell) -> None:
    """Take what is ready in a Prefect flow run; what it takes is too much to be its parameters."""

    @flow(name="watch", flow_run_name=f"watch {watcher.inbox.url}")
    def arrivals() -> None:
        for event in watcher.take(look):
            hear(event)

    arrivals()
