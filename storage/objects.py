"""The bytes of a store: one small set of operations on a folder or an S3 bucket, both through obstore."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, NotFoundError
from obstore.store import LocalStore, S3Store

from storage.errors import InputError, MissingInputError, StoreError

MARKER = "chipcyte.json"
MARKER_TEXT = b'{"format":"chipcyte store","version":1}\n'


@dataclass(frozen=True)
class Objects:
    """The named byte objects below one URL.

    Names are relative, separated by "/". A put is atomic: a reader sees the whole object or none.
    """

    url: str
    backend: Any

    def get(self, name: str) -> bytes:
        """Return the bytes of one object; MissingInputError if there is none of this name."""
        try:
            return bytes(obstore.get(self.backend, name).bytes())
        except (NotFoundError, FileNotFoundError) as error:
            raise MissingInputError(f"expected {name} in {self.url}, found nothing of that name") from error
        except BaseError as error:
            raise self._unreachable("read", name, error) from error

    def put(self, name: str, content: bytes) -> None:
        """Write one object whole, replacing one of the same name."""
        try:
            obstore.put(self.backend, name, content)
        except (BaseError, OSError) as error:
            raise self._unreachable("write", name, error) from error

    def create(self, name: str, content: bytes) -> bool:
        """Write one object only if the name is free; return whether it was written by this call."""
        try:
            obstore.put(self.backend, name, content, mode="create", use_multipart=False)
        except (AlreadyExistsError, FileExistsError):
            return False
        except (BaseError, OSError) as error:
            raise self._unreachable("write", name, error) from error
        return True

    def exists(self, name: str) -> bool:
        """Return whether there is an object of this name."""
        try:
            obstore.head(self.backend, name)
        except (NotFoundError, FileNotFoundError):
            return False
        except BaseError as error:
            raise self._unreachable("look up", name, error) from error
        return True

    def names(self, prefix: str) -> Iterator[str]:
        """Yield the names of all objects below a folder `prefix`, in sorted order."""
        for name, _ in self.sizes(prefix):
            yield name

    def sizes(self, prefix: str) -> list[tuple[str, int]]:
        """Return (name, size in bytes) of all objects below a folder `prefix`, sorted by name."""
        try:
            found = [
                (entry["path"], int(entry["size"]))
                for batch in obstore.list(self.backend, prefix or None)
                for entry in batch
            ]
        except (NotFoundError, FileNotFoundError):
            return []
        except BaseError as error:
            raise self._unreachable("list", prefix, error) from error
        return sorted(found)

    def delete(self, names: list[str]) -> None:
        """Remove objects; names that are already gone are no error."""
        for name in names:
            try:
                obstore.delete(self.backend, name)
            except (NotFoundError, FileNotFoundError):
                continue
            except BaseError as error:
                raise self._unreachable("delete", name, error) from error

    def below(self, folder: str) -> Any:
        """Return the obstore backend of a folder of this store, for libraries that want their own root."""
        return _backend(f"{self.url}/{folder}")

    def uri(self, name: str) -> str:
        """Return the full address of a name in this store."""
        return f"{self.url}/{name}" if name else self.url

    def _unreachable(self, verb: str, name: str, error: Exception) -> StoreError:
        reason = str(error).strip().splitlines()[0]
        return StoreError(f"could not {verb} {name!r} in the store {self.url}: {reason}")


def normal_url(location: str) -> str:
    """Return the one spelling of a store's location: an absolute folder path, or s3://bucket/prefix."""
    if re.match(r"^s3a?://", location):
        return location.rstrip("/")
    if location.startswith("file://"):
        location = unquote(urlsplit(location).path)
    if "://" in location:
        raise InputError(f"expected a folder or s3://bucket/prefix as the store, found {location!r}")
    return str(Path(location).expanduser().absolute())


@lru_cache(maxsize=256)
def _backend(url: str) -> Any:
    if url.startswith("s3"):
        return S3Store.from_url(url)
    return LocalStore(url, mkdir=True)


def open_store(location: str, *, create: bool = False) -> Objects:
    """Open the chipcyte store at a folder or S3 URL.

    Parameters
    ----------
    location
        A folder, or `s3://bucket/prefix` (credentials and endpoint from the usual AWS_* variables).
    create
        Make an empty or missing place into a store.

    Raises
    ------
    InputError
        The place holds something that is not a chipcyte store.
    MissingInputError
        There is no store and `create` is off.
    """
    url = normal_url(location)
    _check_folder(url, create=create)
    objects = Objects(url, _backend(url))
    if objects.exists(MARKER):
        return objects
    if any(True for _ in objects.names("")):
        raise InputError(
            f"{url} is not a chipcyte store: expected {MARKER} or an empty folder, found other files; "
            "name another place with --store"
        )
    if not create:
        raise MissingInputError(f"there is no store at {url}; ingest or run something into it first")
    objects.create(MARKER, MARKER_TEXT)
    return objects


def _check_folder(url: str, *, create: bool) -> None:
    """Say clearly what is wrong with a local folder before obstore makes it."""
    if url.startswith("s3"):
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
