"""The bytes of a store: one small set of operations on a folder or an S3 bucket, both through obstore."""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import obstore
from obstore.exceptions import AlreadyExistsError

from storage.backends import FAULTS, backend, persist, reason
from storage.errors import InputError, MissingInputError, StoreError
from storage.listings import STAGING, Entry, entry_of, small_file, walk

MARKER = "chipcyte.json"
MARKER_TEXT = b'{"format":"chipcyte store","version":1}\n'
AT_ONCE = 8

_opened: set[str] = set()  # found to be stores by this process: a worker opens its store for every unit


@dataclass(frozen=True)
class Objects:
    """The named byte objects below one URL.

    Names are relative, separated by "/". A put is atomic: a reader sees the whole object or none.
    A name that is not there raises MissingInputError, anything else that goes wrong StoreError.
    """

    url: str
    backend: Any

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel as the URL alone: credentials stay in each machine's own environment."""
        return _objects, (self.url,)

    @property
    def folder(self) -> Path | None:
        """The local folder; None on S3."""
        return None if self.url.startswith("s3://") else Path(self.url)

    def get(self, name: str) -> bytes:
        """Return the bytes of one object; MissingInputError if there is none of this name."""
        try:
            return bytes(obstore.get(self.backend, name).bytes())
        except FileNotFoundError as error:
            self.check_present()
            raise MissingInputError(f"expected {name} in {self.url}, found nothing of that name") from error
        except FAULTS as error:
            raise self._failed("read", name, error) from error

    def get_all(self, names: Sequence[str]) -> list[bytes]:
        """Return the bytes of many small objects, asking for several at once."""
        size = max(1, min(64, len(names) // AT_ONCE))  # what is near answers sooner than a thread is woken
        parts = [names[start : start + size] for start in range(0, len(names), size)]
        with ThreadPoolExecutor(AT_ONCE) as pool:
            return [content for found in pool.map(self._get_each, parts) for content in found]

    def _get_each(self, names: Sequence[str]) -> list[bytes]:
        near = self.folder
        contents = (small_file(near, name) if near else None for name in names)
        return [
            self.get(name) if content is None else content
            for name, content in zip(names, contents, strict=True)
        ]

    def put_all(self, contents: Mapping[str, bytes]) -> None:
        """Write many small objects, several at once."""
        with ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(self.put, contents, contents.values()))

    def put(self, name: str, content: bytes) -> None:
        """Write one object whole, replacing one of the same name."""
        self.check_present()
        with self._clear("write", name):
            obstore.put(self.backend, name, content)

    def create(self, name: str, content: bytes) -> bool:
        """Write one object only if the name is free; return whether it was written by this call.

        On S3, False may also mean that our own write came through but its answer was lost: read the object
        to learn whose it is.
        """
        self.check_present()
        return self._create(name, content)

    def exists(self, name: str) -> bool:
        """Return whether there is an object of this name."""
        found = self._exists(name)
        if not found:
            self.check_present()
        return found

    def names(self, prefix: str) -> Iterator[str]:
        """Yield the names of all objects below a folder `prefix`, in sorted order."""
        if self.folder is None:
            yield from (entry.name for entry in self.entries(prefix))
            return
        with self._clear("list", prefix):
            found = sorted(name for name, _ in walk(self.folder, prefix))
        if not found:
            self.check_present()
        yield from found

    def sizes(self, prefix: str) -> list[tuple[str, int]]:
        """Return (name, size in bytes) of all objects below a folder `prefix`, sorted by name."""
        return [(entry.name, entry.size_bytes) for entry in self.entries(prefix)]

    def entries(self, prefix: str) -> list[Entry]:
        """Return all objects below a folder `prefix`, sorted by name; none if there is no such folder."""
        found = self._entries(prefix)
        if not found:
            self.check_present()
        return found

    def _entries(self, prefix: str) -> list[Entry]:
        with self._clear("list", prefix):
            if self.folder is not None:
                found = [one for name, file in walk(self.folder, prefix) if (one := entry_of(name, file))]
            else:
                every = (one for batch in obstore.list(self.backend, prefix or None) for one in batch)
                found = [Entry(one["path"], int(one["size"]), one["last_modified"]) for one in every]
        return sorted(found, key=lambda entry: entry.name)

    def leftovers(self, prefix: str = "") -> list[Entry]:
        """Return the half-written files that killed processes left below `prefix`, which no listing shows."""
        if self.folder is None:
            return []
        with self._clear("list", ""):
            torn = walk(self.folder, prefix, torn=True)
            found = [one for name, file in torn if (one := entry_of(name, file))]
        return sorted(found, key=lambda entry: entry.name)

    def delete(self, names: list[str]) -> None:
        """Remove objects; names that are already gone are no error."""
        for name in names:
            with self._clear("delete", name):
                try:
                    self._remove(name)
                except FileNotFoundError:
                    continue

    def prune(self, folder: str) -> None:
        """Remove the empty folders at and below `folder`; S3 has none."""
        if self.folder is None:
            return
        for root, _, _ in os.walk(self.folder / folder, topdown=False):
            with suppress(OSError):  # not empty, or gone
                Path(root).rmdir()

    def below(self, folder: str) -> Any:
        """Return the obstore backend of a folder of this store, for libraries that want their own root."""
        self.check_present()
        with self._clear("open", folder):
            return backend(f"{self.url}/{folder}")

    def uri(self, name: str) -> str:
        """Return the full address of a name in this store."""
        return f"{self.url}/{name}" if name else self.url

    def check_present(self) -> None:
        """Raise StoreError if the store's folder is gone (a disk taken away, a folder removed).

        Without this a write would make the folder anew, and a read would take all for missing.
        """
        if self.folder is not None and not (self.folder / MARKER).exists():
            raise StoreError(
                f"the store {self.url} has gone: its {MARKER} is not there any more; "
                "bring the disk or folder back and run the same command again"
            )

    def _create(self, name: str, content: bytes) -> bool:
        with self._clear("write", name):
            try:
                persist(lambda: obstore.put(self.backend, name, content, mode="create", use_multipart=False))
            except (AlreadyExistsError, FileExistsError):
                return False
        return True

    def _exists(self, name: str) -> bool:
        with self._clear("look up", name):
            try:
                obstore.head(self.backend, name)
            except FileNotFoundError:
                return False
        return True

    def _remove(self, name: str) -> None:
        if self.folder is not None and STAGING.search(name):
            (self.folder / name).unlink()  # obstore refuses names of this form
            return
        persist(lambda: obstore.delete(self.backend, name))

    @contextmanager
    def _clear(self, verb: str, name: str) -> Iterator[None]:
        try:
            yield
        except FAULTS as error:
            raise self._failed(verb, name, error) from error

    def _failed(self, verb: str, name: str, error: BaseException) -> StoreError:
        if isinstance(error, StoreError):
            return error
        what = f"{name!r} in the store" if name else "the store"
        return StoreError(f"could not {verb} {what} {self.url}: {reason(error)}")


def normal_url(location: str) -> str:
    """Return the one spelling of a store's location: an absolute folder path, or s3://bucket/prefix."""
    if re.match(r"^s3a?://", location):
        bucket, _, prefix = location.partition("://")[2].partition("/")
        if not bucket:
            raise InputError(f"expected s3://bucket/prefix as the store, found {location!r}")
        return f"s3://{bucket}/{prefix}".rstrip("/")
    if location.startswith("file://"):
        location = unquote(urlsplit(location).path)
    if "://" in location or not location:
        raise InputError(f"expected a folder or s3://bucket/prefix as the store, found {location!r}")
    return str(Path(location).expanduser().absolute())


def _objects(url: str) -> Objects:
    return Objects(url, backend(url))


def open_store(location: str, *, create: bool = False) -> Objects:
    """Open the chipcyte store at a folder or S3 URL.

    Parameters
    ----------
    location
        A folder, or `s3://bucket/prefix` (credentials, region and endpoint from the usual AWS_* variables).
    create
        Make an empty or missing place into a store.

    Raises
    ------
    InputError
        The place holds something that is not a chipcyte store.
    MissingInputError
        There is no store and `create` is off.
    StoreError
        The place cannot be reached, read or written.
    """
    url = normal_url(location)
    if url in _opened:
        objects = _objects(url)
        objects.check_present()
        return objects
    _check_folder(url, create=create)
    try:
        objects = _objects(url)
    except FAULTS as error:
        raise StoreError(f"could not open the store {url}: {reason(error)}") from error
    # Another process may make the store between two looks; its marker is the first thing in it.
    found = objects._exists(MARKER) or (bool(objects._entries("")) and _marked_or_strange(objects))
    if not found and not create:
        raise MissingInputError(f"there is no store at {url}; ingest or run something into it first")
    if not found:
        objects._create(MARKER, MARKER_TEXT)
    _opened.add(url)
    return objects


def _marked_or_strange(objects: Objects) -> bool:
    if not objects._exists(MARKER):
        raise InputError(
            f"{objects.url} is not a chipcyte store: expected {MARKER} or an empty folder, "
            "found other files; name another place with --store"
        )
    return True


def _check_folder(url: str, *, create: bool) -> None:
    """Say clearly what is wrong with a local folder before obstore makes it."""
    if url.startswith("s3://"):
        return
    folder = Path(url)
    if folder.exists() and not folder.is_dir():
        raise InputError(f"expected a folder as the store, found the file {url}")
    if not folder.exists() and not create:
        raise MissingInputError(f"there is no store at {url}; ingest or run something into it first")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"could not make the store's folder {url}: {error.strerror}") from error
