"""A copy of a store and of files beside it, each object checked against its digest, and the way back.

A backup holds the store as its records say it was at one moment: every finished artifact, none that was being
made. It is a store itself, beside the servers' databases, with a list of all digests that is written last.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Literal

from blake3 import blake3
from pydantic import BaseModel, ConfigDict, ValidationError

from storage import images, layout, names, records
from storage.arrays import Digests, digest
from storage.backends import backend
from storage.errors import DamagedStoreError, FormatError, InputError, MissingInputError
from storage.objects import MARKER, MARKER_TEXT, Objects, normal_url, open_store
from storage.records import Record
from storage.staging import check_space, staged

CONTENTS = "backup.json"
STORE = "store"
COPIED_AT_ONCE = 4  # objects in memory at a time; the largest is a shard
READ_BYTES = 2**20
Listener = Callable[[int, int], None]


class Contents(BaseModel):
    """What a backup holds: size and BLAKE3 of each of its files, by path in the backup."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal["chipcyte backup"] = "chipcyte backup"
    version: Literal[1] = 1
    created: str
    versions: dict[str, str]
    store: str
    files: dict[str, tuple[int, str]]

    def below(self, folder: str) -> Digests:
        """Return the files of one folder of the backup, by path in it."""
        start = f"{folder}/"
        return {path.removeprefix(start): one for path, one in self.files.items() if path.startswith(start)}


def write_contents(backup: Path, store: str, files: Mapping[str, tuple[int, str]]) -> Contents:
    """Write the list that makes a folder a backup."""
    versions = dict(records.software_versions())
    contents = Contents(created=records.now(), versions=versions, store=store, files=dict(files))
    (backup / CONTENTS).write_text(contents.model_dump_json(indent=1), encoding="utf-8")
    return contents


def read_contents(backup: Path) -> Contents:
    """Read what a backup holds.

    Raises
    ------
    MissingInputError
        There is no backup.
    FormatError
        The list cannot be read, or names files outside the backup.
    """
    path = backup / CONTENTS
    if not path.is_file():
        raise MissingInputError(f"expected a backup at {backup}, found no {CONTENTS} in it")
    try:
        contents = Contents.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise FormatError(f"{path}: expected a backup's list, found {error.errors()[0]['msg']}") from error
    for name in contents.files:
        names.inside(backup, name)
    return contents


def copy_store(objects: Objects, folder: Path, listener: Listener | None = None) -> Digests:
    """Copy a store into a folder, while others may write to it; return what was copied.

    What watchers know goes first: it may name no recording that the copy lacks. Then the records are listed,
    and all they name is there until someone removes it.

    Raises
    ------
    DamagedStoreError
        An object is lost or changed.
    """
    wanted: dict[str, tuple[int, str] | None] = {}
    copy = open_store(str(folder), create=True)
    for area in (layout.INBOXES, layout.QUARANTINE, layout.DELIVERIES):
        wanted |= dict.fromkeys(objects.names(area))
    copied = _copy_all(objects, copy, wanted, None)
    standing = _standing(objects)
    wanted = {}
    for record in standing:
        wanted[layout.record_path(record.kind, record.key)] = None
        manifest = records.read_manifest(objects, record)
        if manifest:
            wanted[layout.manifest_path(record.kind, record.key, record.digest)] = None
        wanted |= manifest
    check_space(folder, sum(one[0] for one in wanted.values() if one))
    copied |= _copy_all(objects, copy, wanted, listener)
    derived = [MARKER, *_list_labels(copy, standing)]
    return copied | {name: digest(copy.get(name)) for name in derived}


def _standing(objects: Objects) -> list[Record]:
    """Return all records and, should a listing have missed one that was being written, their parents."""
    found = {record.reference: record for record in records.listing(objects)}
    waiting = [parent for record in found.values() for parent in record.parents]
    while waiting:
        name = waiting.pop()
        if name not in found:
            record = records.find(objects, name.kind, name.key)
            if record is None:
                raise DamagedStoreError(
                    f"{name.kind} {name.key}, from which others were made, is not in {objects.url}; "
                    "`chipcyte check` says more, unless it was being removed: then run the same command again"
                )
            found[name] = record
            waiting += record.parents
    return list(found.values())


def _list_labels(copy: Objects, standing: Iterable[Record]) -> list[str]:
    """Write the lists of the label images that were copied; return their names."""
    listed: dict[str, list[str]] = {}
    for record in standing:
        for parent in record.parents if record.kind == "labels" else ():
            if parent.kind == "clean":
                listed.setdefault(parent.key, []).append(record.key)
    for clean, labels in listed.items():
        images.list_labels(copy, clean, labels)
    return [f"{layout.labels_group_path(clean)}/zarr.json" for clean in listed]


def _copy_all(
    source: Objects,
    target: Objects,
    wanted: Mapping[str, tuple[int, str] | None],
    listener: Listener | None,
) -> Digests:
    """Copy objects; those with a digest must have it."""
    copied: Digests = {}
    with ThreadPoolExecutor(COPIED_AT_ONCE) as pool:
        made = pool.map(partial(_copy, source, target), wanted, wanted.values())
        for number, (name, one) in enumerate(zip(wanted, made, strict=True), start=1):
            copied[name] = one
            if listener is not None:
                listener(number, len(wanted))
    return copied


def _copy(source: Objects, target: Objects, name: str, wanted: tuple[int, str] | None) -> tuple[int, str]:
    content = source.get(name) if wanted is None else records.checked_bytes(source, name, wanted)
    target.put(name, content)
    return wanted or digest(content)


def restore_store(backup: Path, contents: Contents, target: Objects, listener: Listener | None) -> None:
    """Copy a backup's store into one that is being made."""
    source = open_store(str(backup / STORE))
    wanted = {name: one for name, one in contents.below(STORE).items() if name != MARKER}
    _copy_all(source, target, wanted, listener)


@contextmanager
def fresh_store(location: str) -> Iterator[Objects]:
    """Lend a place that becomes the store at `location` if the block ends well.

    A folder appears there whole or not at all. A bucket has no such step: there the marker that makes it a
    store comes last.

    Raises
    ------
    InputError
        There is something already.
    """
    url = normal_url(location)
    if not url.startswith("s3://"):
        with staged(None, Path(url), is_folder=True) as staging:
            yield open_store(str(staging), create=True)
        return
    objects = Objects(url, backend(url))
    if objects.entries(""):
        raise InputError(f"expected nothing at {url}, found objects; name another place with --store")
    yield objects
    objects.create(MARKER, MARKER_TEXT)


def copy_file(source: Path, target: Path, wanted: tuple[int, str] | None = None) -> tuple[int, str]:
    """Copy one file; return its size in bytes and its BLAKE3.

    Raises
    ------
    DamagedStoreError
        They are not the `wanted` ones.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    running, size_bytes = blake3(), 0
    with source.open("rb") as reading, target.open("xb") as writing:
        while part := reading.read(READ_BYTES):
            running.update(part)
            size_bytes += writing.write(part)
    found = size_bytes, running.hexdigest()
    if wanted is not None and found != tuple(wanted):
        raise DamagedStoreError(
            f"the bytes of {source} are not those that were written; nothing was copied: take another backup"
        )
    return found


def digest_file(path: Path) -> tuple[int, str]:
    """Return the size in bytes and the BLAKE3 of a file."""
    return path.stat().st_size, blake3().update_mmap(path).hexdigest()


def copy_folder(source: Path, target: Path) -> Digests:
    """Copy a folder's plain files; links are left out. Return what was copied, by path in the folder."""
    files = sorted(path for path in source.rglob("*") if path.is_file() and not path.is_symlink())
    plain = [path.relative_to(source).as_posix() for path in files]
    return {name: copy_file(source / name, target / name) for name in plain}
