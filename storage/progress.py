"""Done-markers: which units of an unfinished artifact are complete, and what each of them gave."""

import json
from dataclasses import dataclass
from typing import Any

from storage import layout
from storage.arrays import Digests
from storage.keys import canonical_json
from storage.objects import Objects


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

    def done(self) -> dict[str, Done]:
        """Return the complete units by name."""
        names = list(self.objects.names(self.folder))
        return {name.rsplit("/", 1)[1].removesuffix(".json"): self._read(name) for name in names}

    def _read(self, name: str) -> Done:
        content = json.loads(self.objects.get(name))
        written = {path: (size, digest) for path, (size, digest) in content["written"].items()}
        return Done(content["result"], written)


def clear(objects: Objects, kind: str, key: str) -> None:
    """Remove the markers and scratch arrays of an artifact that is committed."""
    objects.delete(list(objects.names(layout.progress_folder(kind, key))))
