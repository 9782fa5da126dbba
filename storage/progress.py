"""Done-markers: which units of an unfinished artifact are complete, and what each of them gave."""

import json
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from storage import layout
from storage.arrays import Digests
from storage.keys import canonical_json
from storage.objects import Objects
from storage.records import missing_objects


@dataclass(frozen=True)
class Done:
    """One complete unit: its result (plain JSON) and the digests of the objects it wrote."""

    result: Any
    written: Digests


@dataclass(frozen=True)
class Ledger:
    """The markers of one step of one artifact.

    They lie beside the artifact, under its key, which holds the settings: other settings, other markers.
    A marker is put after the unit's bytes are, in one atomic put.
    """

    objects: Objects
    kind: str
    key: str
    step: str

    @property
    def folder(self) -> str:
        """Where the markers lie."""
        return f"{layout.progress_folder(self.kind, self.key)}/{self.step}"

    def mark(self, unit: str, done: Done) -> None:
        """Note that a unit is complete."""
        written = {name: list(entry) for name, entry in done.written.items()}
        content = {"result": done.result, "written": written}
        self.objects.put(f"{self.folder}/{unit}.json", canonical_json(content).encode())

    def done(self, wanted: Collection[str] | None = None) -> dict[str, Done]:
        """Return the complete units by name: those of `wanted`, None: all.

        A unit whose marker is torn, or whose objects are not there with their sizes, is not complete.
        """
        names = [name for name in self.objects.names(self.folder) if wanted is None or _unit(name) in wanted]
        markers = {name: self._read(name) for name in names}
        found = {_unit(name): done for name, done in markers.items() if done is not None}
        every = {path: entry for done in found.values() for path, entry in done.written.items()}
        missing = set(missing_objects(self.objects, every))
        return {unit: done for unit, done in found.items() if missing.isdisjoint(done.written)}

    def _read(self, name: str) -> Done | None:
        try:
            content = json.loads(self.objects.get(name))
            written = {path: (size, digest) for path, (size, digest) in content["written"].items()}
            return Done(content["result"], written)
        except (ValueError, KeyError, TypeError, AttributeError):
            return None  # torn by a power cut: the unit is worked on again


def _unit(marker: str) -> str:
    return marker.rsplit("/", 1)[1].removesuffix(".json")


def clear(objects: Objects, kind: str, key: str) -> None:
    """Remove the markers and scratch arrays of an artifact that is committed."""
    folder = layout.progress_folder(kind, key)
    objects.delete(list(objects.names(folder)))
    sweep(objects, folder)
    objects.prune(folder)


def sweep(objects: Objects, folder: str) -> None:
    """Remove what killed processes left half-written in a folder that nobody writes into any more."""
    objects.delete([entry.name for entry in objects.leftovers(folder)])
