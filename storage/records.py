"""Commit records: an artifact exists if and only if its record does. Written last, once, never changed."""

import json
import posixpath
import re
from collections.abc import Iterable, Mapping, Sequence, Set
from datetime import UTC, datetime
from functools import lru_cache
from heapq import nlargest
from importlib.metadata import version
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError

from storage import layout
from storage.arrays import Digests, digest
from storage.errors import DamagedStoreError, InputError, MissingInputError
from storage.keys import KEY_LENGTH, canonical_json, digest_text
from storage.listings import Entry
from storage.names import is_plain
from storage.objects import Objects

KINDS = (
    "raw",
    "sample",
    "truth",
    "illumination",
    "clean",
    "labels",
    "annotation",
    "segmenter",
    "patches",
    "model",
    "embedding",
    "clusters",
    "sweep",
    "report",
    "reproduction",
)
SELF_CONTAINED = ("annotation", "segmenter")  # hold all they need: what they were made from may be gone
_QUOTED_KEY = re.compile(rb'"([0-9a-f]{%d})"' % KEY_LENGTH)
_WHOLE_KEY = re.compile(rf"[0-9a-f]{{{KEY_LENGTH}}}")
NOTHING_WRITTEN = digest_text("{}")  # the digest of an artifact that is its record alone, such as a sample


def _plain(text: str) -> str:
    """Return a part of a path; a record that came from elsewhere must not lead out of its store."""
    if text and not is_plain(text):
        raise ValueError(f"{text!r} leads out of the store")
    return text


Plain = Annotated[str, AfterValidator(_plain)]


class Reference(BaseModel):
    """The name of an artifact."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Plain
    key: Plain


class Record(BaseModel):
    """What is known about a finished artifact.

    `path` is relative to the store; `digest` is the BLAKE3 of the manifest, which lists the size and
    BLAKE3 of each of the artifact's objects.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Plain
    key: Plain
    name: str
    path: Plain
    parents: tuple[Reference, ...] = ()
    settings: dict[str, Any] = {}
    algorithm: int = 1
    versions: dict[str, str] = {}
    created: str = ""
    digest: str = ""
    counts: dict[str, int] = {}
    metrics: dict[str, Any] = {}
    details: dict[str, Any] = {}

    @property
    def reference(self) -> Reference:
        """The record's name."""
        return Reference(kind=self.kind, key=self.key)


@lru_cache(maxsize=1)
def software_versions() -> tuple[tuple[str, str], ...]:
    """Return the versions of the packages whose arithmetic reaches the results."""
    packages = ("chipcyte", "numpy", "scipy", "scikit-image", "scikit-learn", "torch", "zarr", "cellpose")
    return tuple((package, version(package)) for package in packages)


def now() -> str:
    """Return the present moment, UTC, ISO 8601 to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def readable(moment: str) -> str:
    """Return what `now` gave as people read it, such as ``2026-11-27 03:26:27 UTC``."""
    return moment.replace("T", " ").replace("+00:00", " UTC")


def counted(counts: Mapping[str, int]) -> str:
    """Return counts as people read them, such as ``3 frames, 1,248 cells``."""
    return ", ".join(f"{count:,} {name}" for name, count in counts.items())


def commit(objects: Objects, record: Record, written: Mapping[str, tuple[int, str]]) -> Record:
    """Write the manifest, then the record; return the record that stands, ours or an earlier one.

    Parameters
    ----------
    written
        Size and BLAKE3 of every object of the artifact, by store-relative path.

    Raises
    ------
    DamagedStoreError
        An object that was written is not there any more, or not whole; nothing is committed.
    """
    check_written(objects, record.kind, record.key, written)
    manifest = canonical_json({path: list(entry) for path, entry in sorted(written.items())})
    digest = digest_text(manifest)
    if written:
        objects.put(layout.manifest_path(record.kind, record.key, digest), manifest.encode())
    full = record.model_copy(
        update={"digest": digest, "created": now(), "versions": dict(software_versions())}
    )
    text = json.dumps(full.model_dump(mode="json"), indent=1, sort_keys=True)
    if objects.create(layout.record_path(record.kind, record.key), text.encode()):
        return full
    standing = read(objects, record.kind, record.key)
    if standing.digest != digest:
        objects.delete([layout.manifest_path(record.kind, record.key, digest)])
    return standing


def check_written(objects: Objects, kind: str, key: str, written: Mapping[str, tuple[int, str]]) -> None:
    """Raise DamagedStoreError unless all objects are there with the sizes they were written with."""
    missing = missing_objects(objects, written)
    if missing:
        raise DamagedStoreError(
            f"{kind} {key} cannot be finished: {len(missing)} of its {len(written)} objects are missing or "
            f"not whole in {objects.url}, {missing[0]} first; run the same command again"
        )


def missing_objects(objects: Objects, written: Mapping[str, tuple[int, str]]) -> list[str]:
    """Return which objects are not there with the sizes they were written with; reads no object."""
    places: dict[str, list[str]] = {}  # labels lie in two artifacts' folders; what is between is not listed
    for path in written:
        places.setdefault("/".join(path.split("/")[:3]), []).append(posixpath.dirname(path))
    found: dict[str, int] = {}
    for folders in places.values():
        found.update(objects.sizes(posixpath.commonpath(folders)))
    return sorted(path for path, (size, _) in written.items() if found.get(path) != size)


def read_manifest(objects: Objects, record: Record) -> Digests:
    """Return size and BLAKE3 of an artifact's objects; DamagedStoreError if the manifest was changed."""
    if record.digest == NOTHING_WRITTEN:
        return {}
    try:
        text = objects.get(layout.manifest_path(record.kind, record.key, record.digest)).decode()
    except (MissingInputError, UnicodeDecodeError) as error:
        raise DamagedStoreError(
            f"the manifest of {record.kind} {record.key} is missing or damaged"
        ) from error
    if digest_text(text) != record.digest:
        raise DamagedStoreError(f"the manifest of {record.kind} {record.key} does not match its record")
    listed = {path: (int(size), str(digest)) for path, (size, digest) in json.loads(text).items()}
    if strange := [path for path in listed if not is_plain(path)]:
        raise DamagedStoreError(
            f"the manifest of {record.kind} {record.key} names {strange[0]!r}, which leads out of the store"
        )
    return listed


def checked_bytes(objects: Objects, name: str, wanted: tuple[int, str]) -> bytes:
    """Return an object that is to be copied.

    Raises
    ------
    DamagedStoreError
        Its size or digest is not the one that its manifest names.
    """
    content = objects.get(name)
    if digest(content) != tuple(wanted):
        raise DamagedStoreError(
            f"the bytes of {name} in {objects.url} are not those that were written; nothing was copied; "
            "`chipcyte check` says more"
        )
    return content


def find(objects: Objects, kind: str, key: str) -> Record | None:
    """Return a record, or None if the artifact does not exist (yet)."""
    try:
        return read(objects, kind, key)
    except MissingInputError:
        return None


def read(objects: Objects, kind: str, key: str) -> Record:
    """Return a record; MissingInputError if the artifact does not exist."""
    path = layout.record_path(kind, key)
    return _parsed(objects, path, objects.get(path))


def _parsed(objects: Objects, path: str, content: bytes) -> Record:
    try:
        return Record.model_validate_json(content)
    except ValidationError as error:
        raise DamagedStoreError(
            f"the record {objects.uri(path)} is damaged: {error.errors()[0]['msg']}"
        ) from error


def listing(objects: Objects, kind: str | None = None, naming: Set[str] | None = None) -> list[Record]:
    """Return all records, or those of one kind, the oldest first.

    Parameters
    ----------
    naming
        Keys of which a record must name one, as its parent or its own: then only these are looked into.
    """
    return _read_all(objects, [entry.name for entry in _entries(objects, kind)], naming)


def newest(objects: Objects, kind: str | None, most: int) -> tuple[list[Record], int]:
    """Return the records that came last into a store, the oldest of them first, and how many there are.

    No more than `most` are read: when a record came, its listing says. In a store that was restored from a
    backup that is when it was restored.
    """
    entries = _entries(objects, kind)
    last = nlargest(most, entries, key=lambda entry: (entry.modified, entry.name))
    return _read_all(objects, [entry.name for entry in last]), len(entries)


def _entries(objects: Objects, kind: str | None) -> list[Entry]:
    prefix = f"{layout.RECORDS}/{kind}" if kind else layout.RECORDS
    return [entry for entry in objects.entries(prefix) if entry.name.endswith(".json")]


def _read_all(objects: Objects, names: Sequence[str], naming: Set[str] | None = None) -> list[Record]:
    texts: Iterable[tuple[str, bytes]] = zip(names, objects.get_all(names), strict=True)
    if naming is not None:
        wanted = {key.encode() for key in naming}
        texts = ((name, text) for name, text in texts if not wanted.isdisjoint(_QUOTED_KEY.findall(text)))
    found = [_parsed(objects, name, text) for name, text in texts]
    return sorted(found, key=lambda record: (record.created, KINDS.index(record.kind), record.key))


def resolve(objects: Objects, start_of_key: str) -> Record:
    """Return the one record whose key begins so; InputError if none or several do.

    A whole key is looked up, one of fewer digits searched for among all.
    """
    kinds = KINDS if _WHOLE_KEY.fullmatch(start_of_key) else ()
    whole = [record for kind in kinds if (record := find(objects, kind, start_of_key))]
    if len(whole) == 1:
        return whole[0]
    paths = [
        name for name in objects.names(layout.RECORDS) if name.rsplit("/", 1)[1].startswith(start_of_key)
    ]
    if len(paths) == 1:
        kind, key = paths[0].removesuffix(".json").split("/")[-2:]
        return read(objects, kind, key)
    if not paths:
        raise MissingInputError(
            f"no artifact's key begins with {start_of_key!r}; `chipcyte list KIND` shows them"
        )
    found = ", ".join(path.removeprefix(f"{layout.RECORDS}/").removesuffix(".json") for path in paths[:5])
    raise InputError(f"{len(paths)} keys begin with {start_of_key!r} ({found}); give more digits")


def lineage(objects: Objects, record: Record) -> list[Record]:
    """Return the record and everything it was made from, each once, the nearest first.

    What is `SELF_CONTAINED` may have outlived its parents: these are left out.
    """
    chain, seen = [record], {record.reference}
    for current in chain:
        look = find if current.kind in SELF_CONTAINED else read
        fresh = [parent for parent in current.parents if parent not in seen]
        seen.update(fresh)
        found = [look(objects, parent.kind, parent.key) for parent in fresh]
        chain.extend(one for one in found if one is not None)
    return chain
