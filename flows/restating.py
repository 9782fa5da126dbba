"""A samples.csv that comes or is edited after its recordings: what it says of them is stated anew."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from flows.events import Event
from storage import records
from storage.errors import BusyError, InputError
from storage.inbox import SAMPLES, Inbox, Snapshot, Unit
from storage.known import Known
from storage.objects import Objects
from storage.records import Record
from storage.samples import Sample, Samples, read_samples
from tasks.samples import attach_sample, standing_samples
from tasks.stage import handle


@dataclass
class Restating:
    """Applies the tables of one look to the recordings that were taken before.

    Attributes
    ----------
    states
        All recordings of the look.
    tables
        Every samples.csv of the look.
    """

    inbox: Inbox
    objects: Objects
    known: Known
    states: Snapshot
    tables: Snapshot
    _standing: dict[str, Record] = field(default_factory=dict)

    def apply(self, changed: Snapshot) -> Iterator[Event]:
        """Yield what new or edited tables change; each is noted, so that it is read once.

        A row that is gone, or says nothing, unsays nothing. A wrong table waits until it is right.
        """
        if changed:
            self._standing = standing_samples(self.objects)
        for place, state in changed.items():
            try:
                yield from self._apply(place, self._rows(place))
            except (InputError, BusyError) as error:
                yield Event("waiting", place, reason=str(error))
                continue
            self.known.note([(place, state, ())])

    def _rows(self, place: str) -> Samples:
        folder = place.rpartition("/")[0]
        with self.inbox.fetched(Unit(folder, {place: self.tables[place]}, frozenset())) as root:
            return read_samples(root / place)

    def _apply(self, place: str, rows: Samples) -> list[Event]:
        events = []
        for key, paths in self._taken_under(place).items():
            raw = records.find(self.objects, "raw", key)
            sample = None if raw is None else _said(raw.name, paths, rows)
            if raw is None or sample is None or self._stands(key, sample):
                continue
            attach_sample(self.objects, handle(self.objects, raw), sample, self._standing.get(key))
            events.append(Event("known", paths[0], key, f"{place} says now: condition {sample.condition}"))
        return events

    def _taken_under(self, table: str) -> dict[str, list[str]]:
        """Return the raw images whose files this table is the nearest of, with these files."""
        found: dict[str, list[str]] = {}
        for path, state in self.states.items():
            if self._nearest(path) == table:
                for answer in self.known.answers(path, state) or ():
                    if answer.startswith("raw/"):
                        found.setdefault(answer.removeprefix("raw/"), []).append(path)
        return found

    def _nearest(self, path: str) -> str | None:
        folder = path
        while folder:
            folder = folder.rpartition("/")[0]
            table = f"{folder}/{SAMPLES}" if folder else SAMPLES
            if table in self.tables:
                return table
        return None

    def _stands(self, key: str, sample: Sample) -> bool:
        """Return whether this was said last; the name of a copy is no matter."""
        standing = self._standing.get(key)
        said = {} if standing is None else {**standing.settings, "file": ""}
        return said == {**sample.model_dump(), "file": ""}


def _said(name: str, paths: list[str], rows: Samples) -> Sample | None:
    """Return what the table says of an acquisition, by its name or by what its file is called now."""
    scene = name[name.index("#") :] if "#" in name else ""
    for called in (name, *(path.rpartition("/")[2] + scene for path in paths)):
        sample = rows.of(called)
        if sample != Sample(file=called):
            return sample
    return None
