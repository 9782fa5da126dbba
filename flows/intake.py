"""Taking what has arrived in an inbox: into the store, or on the quarantine list with the reason."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path
from threading import Lock

from flows.events import SETTLED, Arrival, Event
from storage import quarantine
from storage.arrivals import check_last_plane
from storage.errors import BusyError, ChipcyteError, InputError, MissingInputError, StoreError
from storage.inbox import FileState, Inbox, Snapshot, Unit
from storage.known import Known
from storage.objects import Objects
from storage.quarantine import Refusal
from storage.samples import Sample, Samples, read_samples
from storage.sources.base import Acquisition, content_digest
from storage.sources.discovery import find_acquisitions
from tasks.samples import Statements, attach_sample
from tasks.settings import IngestSettings
from tasks.stage import Handle


@dataclass
class Intake:
    """Takes the units of one look; several threads may.

    Attributes
    ----------
    states, restless
        All recordings of the look, and those that have not been still.
    standing
        The answers of marks that are raw images in the store.
    ingest
        Copies an acquisition into the store.
    announce
        Hears of each acquisition that this inbox's marks did not know.
    """

    inbox: Inbox
    objects: Objects
    settings: IngestSettings
    known: Known
    states: Snapshot
    restless: frozenset[str]
    standing: set[str]
    ingest: Callable[[Acquisition], Handle]
    announce: Callable[[Handle], None]
    _claimed: set[tuple[Path, int | str | None]] = field(default_factory=set)
    _announced: set[str] = field(default_factory=set)
    _refusals: dict[str, Refusal] | None = None
    _table: Callable[[Path], Samples] = field(default_factory=lambda: lru_cache(maxsize=8)(read_samples))
    _lock: Lock = field(default_factory=Lock)

    def __post_init__(self) -> None:
        self._said = Statements(self.objects)

    def take(self, unit: Unit) -> list[Event]:
        """Take the acquisitions of a unit, and mark its files when all of them are settled.

        Raises
        ------
        StoreError
            The store or the inbox fails; no file is to blame.
        """
        try:
            with self.inbox.fetched(unit) as root:
                return self._take_in(unit, root)
        except BusyError as error:
            return [Event("waiting", unit.place, reason=str(error))]

    def _take_in(self, unit: Unit, root: Path) -> list[Event]:
        try:
            found = self._find(unit.place, root)
        except MissingInputError as error:
            return self._nothing(unit, str(error))
        except Exception as error:  # noqa: BLE001 - whatever is wrong with a file, it stops no other
            return self._one_by_one(unit, root, error)
        return self._settle_all(unit, found)

    def _one_by_one(self, unit: Unit, root: Path, error: Exception) -> list[Event]:
        """Take a folder's files each by itself, where one of them keeps the folder from being understood."""
        if unit.place in unit.files or unit.place.lower().endswith(".zarr"):
            return self._settle_all(
                unit, [], [(unit.files, self._unknown(unit.place, unit.files, root, error))]
            )
        found, refused = [], []
        for path, state in unit.files.items():
            try:
                found += self._find(path, root)
            except Exception as reason:  # noqa: BLE001
                refused.append(({path: state}, self._unknown(path, {path: state}, root, reason)))
        return self._settle_all(unit, found, refused)

    def _unknown(self, place: str, files: Snapshot, root: Path, error: Exception) -> Event:
        """Refuse files of which nobody can say what acquisition they are."""
        nobody = Acquisition(place, root / place, tuple(root / path for path in files), "tiff")
        return self._blame(Arrival(nobody, root, place, files), error)

    def _settle_all(
        self, unit: Unit, found: list[Arrival], refused: list[tuple[Snapshot, Event]] | None = None
    ) -> list[Event]:
        settled = [(one.states, self._settle(one)) for one in found if self._is_new(one, unit)]
        settled += refused or []
        self._mark(unit, settled)
        return [event for _, event in settled]

    def _find(self, place: str, root: Path) -> list[Arrival]:
        ours = self.settings
        folder = (root / place).is_dir()
        found = find_acquisitions(
            [root / place],
            folder_is=ours.folder_is if place else "planes",
            pages_are=ours.pages_are,
            pattern=ours.pattern if folder else None,
            known=partial(self._is_taken, root),
        )
        return [self._arrival(one, root) for one in found]

    def _is_taken(self, root: Path, path: Path) -> bool:
        """Return whether a file led to raw images alone; a refused one may lack those beside it."""
        place = path.relative_to(root).as_posix()
        state = self.states.get(place)
        answers = None if state is None else self.known.answers(place, state)
        return bool(answers) and self.standing.issuperset(answers or ())

    def _arrival(self, acquisition: Acquisition, root: Path) -> Arrival:
        paths = [path.relative_to(root).as_posix() for path in acquisition.files]
        place = acquisition.location.relative_to(root).as_posix()
        scene = "" if acquisition.scene is None else f"#{acquisition.scene}"
        gone = FileState(-1, -1)  # no file is in this state: it came after the look
        return Arrival(acquisition, root, f"{place}{scene}", {p: self.states.get(p, gone) for p in paths})

    def _is_new(self, arrival: Arrival, unit: Unit) -> bool:
        """Return whether something of it is pending and no other unit has taken it."""
        identity = (arrival.acquisition.location.resolve(), arrival.acquisition.scene)
        with self._lock:
            fresh = identity not in self._claimed and not unit.pending.isdisjoint(arrival.states)
            self._claimed.add(identity)
        return fresh

    def _nothing(self, unit: Unit, reason: str) -> list[Event]:
        if not self.inbox.unchanged(unit.files):
            return [Event("waiting", unit.place, reason="it changed while it was looked at")]
        self._mark(unit, [])
        return [Event("ignored", unit.place, reason=reason)]

    def _mark(self, unit: Unit, settled: list[tuple[Snapshot, Event]]) -> None:
        """Note what each pending file led to, unless something of the unit waits."""
        if any(event.what not in SETTLED for _, event in settled):
            return
        files = {path: self.states[path] for path in unit.pending}
        for states, _ in settled:
            files.update(states)
        marks = []
        for path, state in files.items():
            answers = tuple(event.answer for states, event in settled if path in states)
            if path in unit.pending or self.known.answers(path, state) is None:
                marks.append((path, state, answers))
        self.known.note(marks)

    def _settle(self, arrival: Arrival) -> Event:
        if not self.restless.isdisjoint(arrival.states) or not self.inbox.unchanged(arrival.states):
            return Event("waiting", arrival.place, reason="its files are still being written")
        try:
            sample = self._sample(arrival)
        except InputError as error:
            return Event("waiting", arrival.place, reason=str(error))
        try:
            return self._refused_before(arrival) or self._taken(arrival, sample)
        except BusyError as error:
            return Event("waiting", arrival.place, reason=str(error))
        except StoreError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever is wrong with a file, it stops no other
            return self._blame(arrival, error)

    def _blame(self, arrival: Arrival, error: Exception) -> Event:
        """Refuse a file for an error, unless it is the file system's or the file still changes."""
        if not self.inbox.unchanged(arrival.states):
            return Event("waiting", arrival.place, reason="its files changed while they were read")
        passing = isinstance(error, OSError) and not isinstance(error, ChipcyteError | PermissionError)
        if passing:
            return Event("waiting", arrival.place, reason=f"it cannot be read at present: {error}")
        text = str(error) if isinstance(error, ChipcyteError) else f"{type(error).__name__}: {error}"
        refusal = quarantine.refuse(
            self.objects,
            inbox=self.inbox.url,
            place=arrival.place,
            reason=text,
            files=arrival.states,
            digest=_digest(arrival.acquisition),
        )
        with self._lock:
            self._forget(arrival.place, keep=refusal.key)
            self._standing_refusals()[refusal.key] = refusal
        return Event("quarantined", arrival.place, refusal.key, text)

    def _refused_before(self, arrival: Arrival) -> Event | None:
        """Return that these bytes are in quarantine; None if they are not. Sizes are compared first."""
        size = sum(state.size_bytes for state in arrival.states.values())
        with self._lock:
            alike = {k: one for k, one in self._standing_refusals().items() if one.size_bytes == size}
        if not alike:
            return None
        refusal = alike.get(quarantine.refusal_key(_digest(arrival.acquisition), arrival.states))
        if refusal is None:
            return None
        reason = f"the same bytes were refused before and are not tried again: {refusal.reason}"
        return Event("quarantined", arrival.place, refusal.key, reason)

    def _taken(self, arrival: Arrival, sample: Sample | None) -> Event:
        check_last_plane(arrival.acquisition)
        raw = self.ingest(arrival.acquisition)
        self._state_sample(raw, sample or Sample(file=arrival.acquisition.name), stated=sample is not None)
        with self._lock:
            fresh = raw.key not in self._announced and not self.known.has_answer(f"raw/{raw.key}")
            self._announced.add(raw.key)
            self._forget(arrival.place)
        if fresh:
            self.announce(raw)
        if not raw.reused:
            return Event("ingested", arrival.place, raw.key, self._superseded(arrival, raw.key))
        return Event("known", arrival.place, raw.key, "its content is in the store already")

    def _superseded(self, arrival: Arrival, key: str) -> str:
        """Say which raw images were made of fewer of the same files, as when planes come slowly."""
        earlier = {
            answer.removeprefix("raw/")
            for path, state in arrival.states.items()
            for answer in self.known.answers(path, state) or ()
            if answer in self.standing
        } - {key}
        if not earlier or arrival.acquisition.reader != "planes":
            return ""
        keys = " ".join(sorted(earlier))
        return f"it has more files than when it was taken before; `chipcyte gc {keys}` removes what was taken"

    def _state_sample(self, raw: Handle, sample: Sample, *, stated: bool) -> None:
        """Attach the sample; a copy of which no table says anything does not undo what was said before."""
        standing = self._said.about(raw)
        if stated or standing is None:
            attach_sample(self.objects, raw, sample, standing)

    def _sample(self, arrival: Arrival) -> Sample | None:
        """Return the row of the nearest samples.csv at or above the acquisition; None if there is none."""
        location = arrival.acquisition.location
        inside = len(location.relative_to(arrival.root).parts)
        for folder in [location, *location.parents][: inside + 1]:
            if (folder / "samples.csv").is_file():
                name = arrival.acquisition.name
                sample = self._table(folder / "samples.csv").of(name)
                return None if sample == Sample(file=name) else sample
        return None

    def _standing_refusals(self) -> dict[str, Refusal]:
        if self._refusals is None:
            self._refusals = {one.key: one for one in quarantine.listing(self.objects)}
        return self._refusals

    def _forget(self, place: str, keep: str = "") -> None:
        """Clear what an earlier state of the same files was refused for."""
        ours = [
            key
            for key, one in self._standing_refusals().items()
            if (one.inbox, one.place) == (self.inbox.url, place) and key != keep
        ]
        for key in ours:
            quarantine.clear(self.objects, key)
            del self._standing_refusals()[key]


def _digest(acquisition: Acquisition) -> str:
    """Return the content's digest; "" if it cannot be read."""
    try:
        return content_digest(acquisition)
    except (OSError, ValueError):
        return ""
