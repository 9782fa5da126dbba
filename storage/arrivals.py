"""Arrivals: which files of an inbox are judged together, and which have been still for long enough.

A file that was looked at once has not been still; two looks of one watcher, by its own clock, say for how
long it has. So the clock of the file server does not matter.
"""

import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from storage.errors import FormatError, InputError
from storage.inbox import FileState, Snapshot, Unit, is_plate_part
from storage.sources.base import Acquisition
from storage.sources.discovery import open_acquisition


def unit_place(path: str, *, depth: int, root_is_unit: bool) -> str:
    """Return the place of the unit that a file belongs to.

    Parameters
    ----------
    depth
        Folders that the pattern of the planes' names spells.
    root_is_unit
        The files right in the inbox are judged together, not each alone.
    """
    folders = path.split("/")[:-1]
    for count, name in enumerate(folders):
        if name.lower().endswith(".zarr"):
            return "/".join(folders[: count + 1])
        if is_plate_part(name):
            return "/".join(folders[:count])
    above = folders[: max(0, len(folders) - depth)]
    return "/".join(above) if above or root_is_unit else path


def pending_units(
    snapshot: Snapshot,
    pending: Collection[str],
    place_of: Callable[[str], str],
    pattern: str | None = None,
) -> list[Unit]:
    """Return the units in which something is pending, of those with a file that matches the pattern."""
    fresh = frozenset(pending)
    places = {place_of(path) for path in fresh}
    inside: dict[str, Snapshot] = {place: {} for place in sorted(places)}
    for path, state in snapshot.items():
        place = place_of(path)
        if place in inside:
            inside[place][path] = state
    return [
        Unit(place, files, frozenset(path for path in files if path in fresh))
        for place, files in inside.items()
        if pattern is None or any(fnmatchcase(path, pattern) for path in files)
    ]


@dataclass
class Stillness:
    """For how long files have not changed, by the watcher's own looks and monotonic clock."""

    quiet_period_s: float
    clock: Callable[[], float] = time.monotonic
    seen: dict[str, tuple[FileState, float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.quiet_period_s < 0:
            raise InputError(f"expected a quiet period of 0 s or more, found {self.quiet_period_s}")

    def observe(self, states: Mapping[str, FileState]) -> frozenset[str]:
        """Note how files are now; return those that have not been still for the quiet period."""
        moment = self.clock()
        before, self.seen = self.seen, {}
        for path, state in states.items():
            known, since = before.get(path, (state, moment))
            self.seen[path] = (state, since if known == state else moment)
        return frozenset(p for p, (_, since) in self.seen.items() if moment - since < self.quiet_period_s)


def check_last_plane(acquisition: Acquisition) -> None:
    """Open an acquisition with its reader and read its last plane; FormatError if that fails."""
    source = open_acquisition(acquisition)
    try:
        t, c, z = source.shape[:3]
        if source.read_plane(t - 1, c - 1, z - 1).shape != tuple(source.shape[-2:]):
            raise FormatError(f"{acquisition.location}: its last plane is not of the shape of the others")
    finally:
        source.close()
