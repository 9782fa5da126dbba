"""An inbox: what lies in a folder or below an S3 prefix. Names, sizes and times come from listings alone."""

import logging
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import obstore

from storage.backends import FAULTS, backend, reason
from storage.errors import BusyError, MissingInputError, StoreError
from storage.names import inside, is_plain
from storage.objects import MARKER, normal_url
from storage.sources.folders import FILE_NAMES
from storage.sources.plates import TIME_FOLDER, Z_FOLDER

log = logging.getLogger("chipcyte")
RECORDINGS = (*FILE_NAMES, ".png")
SAMPLES = "samples.csv"
ASIDES = (SAMPLES, ".htd")  # what readers look for beside recordings


class FileState(NamedTuple):
    """What a listing says of a file."""

    size_bytes: int
    mtime_ns: int


Snapshot = dict[str, FileState]  # by path inside the inbox, separated by "/"


@dataclass(frozen=True)
class Unit:
    """What is judged together: a file of the inbox itself, or a folder inside it.

    Attributes
    ----------
    place
        Path inside the inbox.
    files
        All its recordings.
    pending
        Those that nothing is known of.
    """

    place: str
    files: Snapshot
    pending: frozenset[str]


class Inbox(Protocol):
    """A place where recordings arrive."""

    @property
    def url(self) -> str:
        """Its one spelling."""
        ...

    def snapshot(self, *, recursive: bool) -> Snapshot:
        """Return all recordings and samples tables; StoreError if the inbox cannot be listed."""
        ...

    def fetched(self, unit: Unit) -> Any:
        """Give the local folder in which a unit lies under its place, as a context."""
        ...

    def unchanged(self, states: Mapping[str, FileState]) -> bool:
        """Return whether what is read under these paths is still what was listed."""
        ...


def open_inbox(location: str) -> Inbox:
    """Return the inbox at a folder or `s3://bucket/prefix`; MissingInputError if the folder is not there."""
    url = normal_url(location)
    if url.startswith("s3://"):
        return PrefixInbox(url)
    if not Path(url).is_dir():
        raise MissingInputError(f"expected a folder to watch, found none at {url}; make it or name another")
    return FolderInbox(url)


@dataclass(frozen=True)
class FolderInbox:
    """A local folder. Its files are read where they lie."""

    url: str
    strays: set[str] = field(default_factory=set, compare=False)

    def snapshot(self, *, recursive: bool) -> Snapshot:
        """Walk the folder, each real folder once; hidden names, stores and links out of it are left out."""
        if not Path(self.url).is_dir():
            raise StoreError(f"the inbox {self.url} has gone; bring the disk or folder back")
        found: Snapshot = {}
        seen: set[tuple[int, int]] = set()
        waiting = [""]
        while waiting:
            place = waiting.pop()
            waiting += [one for one in self._folder(place, found, seen) if recursive or _near(one)]
        return found

    def _folder(self, place: str, found: Snapshot, seen: set[tuple[int, int]]) -> list[str]:
        """Note the recordings of one folder and return the folders in it."""
        folder = Path(self.url, place)
        try:
            facts = folder.stat()
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError as error:
            if place:
                return []  # taken away, a link that leads nowhere, or not ours to read
            raise StoreError(f"could not list the inbox {self.url}: {error.strerror}") from error
        if (facts.st_dev, facts.st_ino) in seen or any(entry.name == MARKER for entry in entries):
            return []
        seen.add((facts.st_dev, facts.st_ino))
        folders = []
        for entry in entries:
            path = f"{place}/{entry.name}" if place else entry.name
            if not _visible(path) or (entry.is_symlink() and self._leads_out(path)):
                continue
            try:
                if entry.is_dir():
                    folders.append(path)
                elif (_is_recording(path) or is_table(path)) and entry.is_file():
                    stat = entry.stat()
                    found[path] = FileState(stat.st_size, stat.st_mtime_ns)
            except OSError:
                continue  # a link to itself, or gone since the folder was listed
        return folders

    def _leads_out(self, path: str) -> bool:
        """Return whether a link ends outside the inbox: whoever may drop files could have anything read."""
        end = Path(os.path.realpath(Path(self.url, path)))
        leads_out = not end.is_relative_to(os.path.realpath(self.url))
        if leads_out and path not in self.strays:
            self.strays.add(path)
            log.warning("%s leads out of the inbox and is left out; `chipcyte ingest` takes it by name", path)
        return leads_out

    @contextmanager
    def fetched(self, unit: Unit) -> Iterator[Path]:  # noqa: ARG002 - all is here already
        """Give the inbox itself."""
        yield Path(self.url)

    def unchanged(self, states: Mapping[str, FileState]) -> bool:
        """Ask the file system for each file."""
        return all(self._state(path) == state for path, state in states.items())

    def _state(self, path: str) -> FileState | None:
        try:
            stat = Path(self.url, path).stat()
        except OSError:
            return None
        return FileState(stat.st_size, stat.st_mtime_ns)


@dataclass(frozen=True)
class PrefixInbox:
    """An S3 prefix.

    Readers need files, so a unit is downloaded into a temporary folder (TMPDIR) before it is taken, which is
    removed afterwards. An OME-TIFF set of several files must therefore lie in a folder of its own.
    """

    url: str
    asides: list[str] = field(default_factory=list)

    def snapshot(self, *, recursive: bool) -> Snapshot:
        """List the prefix."""
        found: Snapshot = {}
        asides: list[str] = []
        try:
            entries = [one for batch in obstore.list(backend(self.url)) for one in batch]
        except FAULTS as error:
            raise StoreError(f"could not list the inbox {self.url}: {reason(error)}") from error
        stores = [one["path"].removesuffix(MARKER) for one in entries if one["path"].endswith(f"/{MARKER}")]
        for one in entries:
            path = one["path"]
            if path.startswith(tuple(stores)) or not is_plain(path) or not _visible(path):
                continue
            if path.lower().endswith(ASIDES):
                asides.append(path)
            listed = _is_recording(path) or is_table(path)
            if listed and (recursive or _near(path.rpartition("/")[0])):
                found[path] = FileState(int(one["size"]), _nanoseconds(one))
        self.asides[:] = asides
        return found

    @contextmanager
    def fetched(self, unit: Unit) -> Iterator[Path]:
        """Download a unit; BusyError if one of its objects is not the listed one any more."""
        with tempfile.TemporaryDirectory(prefix="chipcyte-inbox-") as folder:
            for path, state in unit.files.items():
                if self._download(path, Path(folder)) != state:
                    raise BusyError(f"{self.url}/{path} changed after it was listed")
            for path in self.asides:
                if path.rpartition("/")[0] in ("", unit.place):
                    self._download(path, Path(folder))
            yield Path(folder)

    def unchanged(self, states: Mapping[str, FileState]) -> bool:  # noqa: ARG002
        """Return true: what is read are copies."""
        return True

    def _download(self, path: str, folder: Path) -> FileState | None:
        target = inside(folder, path)
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            answer = obstore.get(backend(self.url), path)
            with target.open("wb") as stream:
                stream.writelines(memoryview(part) for part in answer)
        except FileNotFoundError:
            return None
        except FAULTS as error:
            raise StoreError(f"could not download {self.url}/{path}: {reason(error)}") from error
        return FileState(int(answer.meta["size"]), _nanoseconds(answer.meta))


def _nanoseconds(facts: Any) -> int:
    return int(facts["last_modified"].timestamp() * 1_000_000) * 1000


def _parts(path: str) -> list[str]:
    return path.lower().split("/")


def _in_zarr(path: str) -> bool:
    return any(part.endswith(".zarr") for part in _parts(path)[:-1])


def _visible(path: str) -> bool:
    """Return whether a name is not hidden; inside a zarr hidden names are its metadata."""
    return _in_zarr(path) or not path.rpartition("/")[2].startswith(".")


def _is_recording(path: str) -> bool:
    return _in_zarr(path) or path.lower().endswith(RECORDINGS)


def is_table(path: str) -> bool:
    """Return whether a file is a samples.csv, which says things about recordings."""
    return path.rpartition("/")[2] == SAMPLES and not _in_zarr(path)


def is_plate_part(name: str) -> bool:
    """Return whether a folder of this name is a time point or z step of a plate."""
    return bool(TIME_FOLDER.fullmatch(name) or Z_FOLDER.fullmatch(name))


def _near(folder: str) -> bool:
    """Return whether a folder is the inbox, right in it, or a part of a recording that is a folder."""
    parts = _parts(folder)
    return len(parts) < 2 or any(part.endswith(".zarr") or is_plate_part(part) for part in parts)
