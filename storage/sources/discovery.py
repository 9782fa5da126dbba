"""From the paths a user gives to the acquisitions they mean, and to the readers that open them."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock

from storage.errors import FormatError, InputError, MissingInputError
from storage.sources.base import Acquisition, Axis, Reader, Source, Stamp, file_states
from storage.sources.bioio_formats import BioioSource
from storage.sources.companion import CompanionSource
from storage.sources.folders import FolderMeaning, from_file, from_folder
from storage.sources.nd2 import Nd2Source
from storage.sources.ome_zarr import OmeZarrSource
from storage.sources.patterns import pattern_acquisitions
from storage.sources.planes import PlanesSource
from storage.sources.tiff import TiffSource

READERS: Mapping[Reader, Callable[[Acquisition], Source]] = {
    "tiff": TiffSource,
    "planes": PlanesSource,
    "companion": CompanionSource,
    "nd2": Nd2Source,
    "ome_zarr": OmeZarrSource,
    "bioio": BioioSource,
}
HELD_OPEN: tuple[Reader, ...] = ("tiff", "nd2", "bioio")  # the others open a file for each plane
MOST_IDLE = 8


def find_acquisitions(
    inputs: Sequence[str | Path],
    *,
    folder_is: FolderMeaning = "auto",
    pages_are: Axis = "t",
    pattern: str | None = None,
    known: Callable[[Path], bool] = lambda _path: False,
) -> list[Acquisition]:
    """Return the acquisitions that files and folders stand for, in order, each once.

    Parameters
    ----------
    folder_is
        What the TIFFs of a folder are: `files`, each an acquisition; `planes`, together one; `auto`:
        planes if all are single planes of one shape whose names differ only in numbers and the folder
        has no samples.csv, else files.
    pages_are
        The axis of pages that nothing names.
    pattern
        How the planes in the given folders are named, such as {position}_{t}_{c}_{z}.tif; None: `folder_is`.
    known
        Which recording files in the given folders are dealt with and not to be opened again.

    Raises
    ------
    MissingInputError
        A path does not exist, or a folder holds nothing that can be ingested.
    FormatError
        A file is of no known kind.
    InputError
        The pattern is wrong.
    """
    found = [
        acquisition
        for given in inputs
        for acquisition in _from_path(Path(given).expanduser(), folder_is, pages_are, pattern, known)
    ]
    unique = {(acquisition.location.resolve(), acquisition.scene): acquisition for acquisition in found}
    if not unique:
        raise InputError("expected at least one file or folder to ingest, found none")
    return list(unique.values())


def _from_path(
    path: Path,
    folder_is: FolderMeaning,
    pages_are: Axis,
    pattern: str | None,
    known: Callable[[Path], bool],
) -> list[Acquisition]:
    if path.is_dir():
        try:
            if pattern:
                return pattern_acquisitions(path, pattern)
            return from_folder(path, folder_is, pages_are, known)
        except PermissionError as error:
            raise InputError(f"{error.filename}: expected a folder that can be listed: {error}") from error
    if not path.is_file():
        raise MissingInputError(f"expected a file or folder to ingest, found nothing at {path}")
    return from_file(path, pages_are)


def open_acquisition(acquisition: Acquisition) -> Source:
    """Open an acquisition with the reader that understands it."""
    return READERS[acquisition.reader](acquisition)


@dataclass
class _Idle:
    """Open sources that nobody reads just now, the longest unused first."""

    sources: list[tuple[Acquisition, Stamp, Source]] = field(default_factory=list)
    lock: Lock = field(default_factory=Lock)

    def take(self, acquisition: Acquisition, stamp: Stamp) -> Source | None:
        """Return an idle source of the acquisition as it is now, closing those of its earlier states."""
        with self.lock:
            mine = [one for one in self.sources if one[0] == acquisition]
            fresh = [one for one in mine if one[1] == stamp]
            taken = fresh[-1:]
            stale = [one for one in mine if one[1] != stamp]
            self.sources = [one for one in self.sources if all(one is not gone for gone in taken + stale)]
        for _, _, source in stale:
            source.close()
        return taken[0][2] if taken else None

    def put(self, acquisition: Acquisition, stamp: Stamp, source: Source) -> None:
        """Keep a source for the next reader; the longest unused ones are closed."""
        with self.lock:
            self.sources.append((acquisition, stamp, source))
            surplus, self.sources = self.sources[:-MOST_IDLE], self.sources[-MOST_IDLE:]
        for _, _, one in surplus:
            one.close()


_idle = _Idle()


@contextmanager
def opened(acquisition: Acquisition) -> Iterator[Source]:
    """Lend an open source of an acquisition, kept open in this process for the next to ask.

    A source is lent to one reader at a time, so its file position is nobody else's. A file whose size or
    time has changed is opened anew.

    Raises
    ------
    FormatError
        A file has vanished since the acquisition was found, or cannot be read.
    """
    stamp = _stamp(acquisition)
    source = _idle.take(acquisition, stamp) or open_acquisition(acquisition)
    try:
        yield source
    except BaseException:
        source.close()
        raise
    _idle.put(acquisition, stamp, source)


def _stamp(acquisition: Acquisition) -> Stamp:
    """Return size and time of the files that the reader holds open."""
    states = file_states(acquisition) if acquisition.reader in HELD_OPEN else ()
    for path, state in zip(acquisition.files, states, strict=False):
        if state == (0, 0):
            raise FormatError(f"{path}: the file vanished while it was read; put it back")
    return states
