"""check: whether a store is what its records say. Reads everything, changes nothing unless told to repair."""

import json
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

from storage import images, layout, leases, ome, records
from storage.arrays import Digests, digest
from storage.errors import BusyError, DamagedStoreError, MissingInputError
from storage.listings import Entry
from storage.objects import MARKER, Objects
from storage.records import Record, Reference

READ_AT_ONCE = 4
IMAGE_KINDS = ("raw", "clean", "labels", "annotation")
Owner = tuple[str, str]
What = Literal[
    "damaged record", "missing parent", "damaged manifest", "missing object", "changed object",
    "invalid metadata", "wrong list of labels", "unfinished", "orphan", "stranger",
]  # fmt: skip


@dataclass(frozen=True)
class Problem:
    """Something that contradicts the records.

    Attributes
    ----------
    names
        The objects that a repair removes; none for what no repair can mend.
    """

    what: What
    path: str
    text: str
    owner: Owner | None = None
    names: tuple[str, ...] = ()

    @property
    def can_be_repaired(self) -> bool:
        """Whether removing leftovers or writing a derived list anew mends it."""
        return self.what in ("wrong list of labels", "unfinished", "orphan")

    @property
    def can_be_made_again(self) -> bool:
        """Whether removing the artifact, and all made from it, lets the same run make it again."""
        return self.owner is not None and not self.can_be_repaired


@dataclass
class Findings:
    """What a check found."""

    problems: list[Problem] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class _Survey:
    """A store's records and objects at one moment."""

    objects: Objects
    records: dict[Owner, Record]
    damaged: dict[Owner, str]
    entries: dict[str, Entry]
    manifests: dict[Owner, Digests]


def check_store(
    objects: Objects, *, older_than: timedelta, listener: Callable[[int, int], None] | None = None
) -> Findings:
    """Compare every record with its artifact, every artifact with its bytes, and look for what is nobody's.

    Parameters
    ----------
    older_than
        What is unfinished, or belongs to nothing, is reported only if it has not changed for so long: what
        is younger may be at work.
    listener
        Told (objects read, objects in all).
    """
    survey = _look(objects)
    found = Findings(counts={"records": len(survey.records) + len(survey.damaged)})
    for owner, text in survey.damaged.items():
        found.problems.append(Problem("damaged record", layout.record_path(*owner), text, owner))
    for owner, record in survey.records.items():
        found.problems += [*_wrong_parents(survey, record), *_wrong_manifest(survey, owner)]
    found.problems += _wrong_bytes(survey, listener or (lambda _done, _total: None))
    lists = list(_wrong_lists(survey))
    found.problems += [*_wrong_metadata(survey, {problem.owner for problem in lists}), *lists]
    leftovers = list(_leftovers(survey))
    limit = datetime.now(UTC) - older_than
    old = [problem for problem in leftovers if _newest(survey, problem.names) <= limit]
    found.problems += [*old, *_strangers(survey)]
    sizes = [entry.size_bytes for entry in survey.entries.values()]
    young = len({problem.owner for problem in leftovers} - {problem.owner for problem in old})
    found.counts |= {"objects": len(sizes), "bytes": sum(sizes), "in_progress": young}
    found.counts["problems"] = len(found.problems)
    return found


def repair(objects: Objects, problems: Iterable[Problem]) -> list[Problem]:
    """Remove leftovers and write derived lists anew; return the problems that were mended.

    No object that a record's manifest names is touched. An artifact that another process is making is left
    to it.
    """
    mended = [problem for problem in problems if problem.can_be_repaired and _mend(objects, problem)]
    for area in layout.AREAS if mended else ():
        objects.prune(area)
    return mended


def _mend(objects: Objects, problem: Problem) -> bool:
    assert problem.owner is not None
    kind, key = problem.owner
    if problem.what == "wrong list of labels":
        images.list_labels(objects, key, images.label_keys(objects, key))
        return True
    try:
        with leases.held(objects, kind, key):
            committed = records.find(objects, kind, key)
            if committed is not None and problem.what == "unfinished":
                return False  # finished meanwhile
            kept = records.read_manifest(objects, committed) if committed is not None else {}
            objects.delete([name for name in problem.names if name not in kept])
    except BusyError:
        return False
    return True


def labels_of(every: Iterable[Record], clean_key: str) -> list[str]:
    """Return the keys of the label images of a clean image."""
    clean = Reference(kind="clean", key=clean_key)
    return sorted(one.key for one in every if one.kind == "labels" and clean in one.parents)


def _look(objects: Objects) -> _Survey:
    found: dict[Owner, Record] = {}
    damaged: dict[Owner, str] = {}
    for name in objects.names(layout.RECORDS):
        kind, _, key = name.removeprefix(f"{layout.RECORDS}/").removesuffix(".json").partition("/")
        try:
            found[kind, key] = records.read(objects, kind, key)
        except (DamagedStoreError, MissingInputError) as error:
            damaged[kind, key] = str(error)
    # Listed after the records: what they name was there before them.
    entries = {entry.name: entry for entry in [*objects.entries(""), *objects.leftovers()]}
    manifests: dict[Owner, Digests] = {}
    for owner, record in found.items():
        try:
            manifests[owner] = records.read_manifest(objects, record)
        except DamagedStoreError:
            continue  # reported by _wrong_manifest
    return _Survey(objects, found, damaged, entries, manifests)


def _wrong_parents(survey: _Survey, record: Record) -> Iterator[Problem]:
    if record.kind in records.SELF_CONTAINED:
        return
    known = {*survey.records, *survey.damaged}
    for parent in record.parents:
        if (parent.kind, parent.key) not in known:
            text = f"{record.kind} {record.key} was made from {parent.kind} {parent.key}, which is not there"
            yield Problem("missing parent", layout.record_path(parent.kind, parent.key), text)


def _wrong_manifest(survey: _Survey, owner: Owner) -> Iterator[Problem]:
    record = survey.records[owner]
    if owner not in survey.manifests:
        path = layout.manifest_path(*owner, record.digest)
        text = f"the manifest of {record.kind} {record.key} is missing, or not the one its record names"
        yield Problem("damaged manifest", path, text, owner)
        return
    for path, (size, _) in survey.manifests[owner].items():
        entry = survey.entries.get(path)
        if entry is None:
            text = f"{record.kind} {record.key} has lost {path}"
            yield Problem("missing object", path, text, owner)
        elif entry.size_bytes != size:
            text = f"{record.kind} {record.key}: expected {size} bytes in {path}, found {entry.size_bytes}"
            yield Problem("changed object", path, text, owner)


def _wrong_bytes(survey: _Survey, tell: Callable[[int, int], None]) -> Iterator[Problem]:
    """Read every object whose size is right and compare its digest."""
    whole = [
        (owner, path, (size, wanted))
        for owner, manifest in survey.manifests.items()
        for path, (size, wanted) in manifest.items()
        if path in survey.entries and survey.entries[path].size_bytes == size
    ]

    def differs(one: tuple[Owner, str, tuple[int, str]]) -> bool:
        try:
            return digest(survey.objects.get(one[1])) != one[2]
        except MissingInputError:
            return True

    with ThreadPoolExecutor(READ_AT_ONCE) as pool:
        for number, (one, wrong) in enumerate(zip(whole, pool.map(differs, whole), strict=True), start=1):
            tell(number, len(whole))
            if wrong:
                (kind, key), path, _ = one
                text = f"{kind} {key}: the bytes of {path} are not those that were written"
                yield Problem("changed object", path, text, one[0])


def _wrong_metadata(survey: _Survey, lists_wrong: set[Owner | None]) -> Iterator[Problem]:
    """Look at each image's own metadata and at what yaozarrs says of all it holds.

    An image whose list of labels is wrong is not valid as a whole; that is reported as the list's fault.
    """
    documents = sorted(name for name in survey.entries if name.endswith("/zarr.json"))
    for (kind, key), record in survey.records.items():
        path = f"{record.path}/zarr.json"
        if kind not in IMAGE_KINDS or path not in survey.entries:
            continue
        fault = ome.fault(_attributes(survey.objects.get(path)))
        if fault is None and (kind, key) not in lists_wrong:
            fault = _whole_fault(survey.objects, record.path, documents)
        if fault is not None:
            text = f"{kind} {key}: the OME-Zarr metadata in {path} are not valid: {fault}"
            yield Problem("invalid metadata", path, text, (kind, key))


def _whole_fault(objects: Objects, path: str, documents: Sequence[str]) -> str | None:
    """Return what yaozarrs says of an image; on S3, of a copy of the documents that describe it.

    Parameters
    ----------
    documents
        The names of all zarr.json of the store, sorted.
    """
    if objects.folder is not None:
        return ome.store_fault(str(objects.folder / path))
    root = path.split("/labels/")[0]  # a label image is judged with the image that it describes
    inside = documents[bisect_left(documents, f"{root}/") : bisect_left(documents, f"{root}0")]
    with TemporaryDirectory(prefix="chipcyte-check-") as folder:
        for name, content in zip(inside, objects.get_all(inside), strict=True):
            Path(folder, name).parent.mkdir(parents=True, exist_ok=True)
            Path(folder, name).write_bytes(content)
        return ome.store_fault(str(Path(folder, path)))


def _attributes(content: bytes) -> Any:
    try:
        return json.loads(content)["attributes"]
    except (ValueError, KeyError, TypeError):
        return None


def _wrong_lists(survey: _Survey) -> Iterator[Problem]:
    for kind, key in survey.records:
        if kind != "clean":
            continue
        listed, true = images.listed_labels(survey.objects, key), labels_of(survey.records.values(), key)
        if listed != true:
            path = f"{layout.labels_group_path(key)}/zarr.json"
            text = f"clean {key}: expected the label images {true} in {path}, found {listed}"
            yield Problem("wrong list of labels", path, text, (kind, key))


def _leftovers(survey: _Survey) -> Iterator[Problem]:
    """Yield what belongs to no finished artifact: unfinished ones whole, others object by object."""
    kept = {path for manifest in survey.manifests.values() for path in manifest}
    kept |= {layout.manifest_path(*owner, record.digest) for owner, record in survey.records.items()}
    unfinished: dict[Owner, list[str]] = {}
    for name in survey.entries:
        owner = layout.owner(name)
        derived = name.endswith(f"{layout.IMAGE}/labels/zarr.json")
        if owner is None or name in kept or (derived and owner in survey.records):
            continue
        if owner in survey.manifests:
            text = f"{name} belongs to nothing: {owner[0]} {owner[1]} was finished without it"
            yield Problem("orphan", name, text, owner, (name,))
        elif owner not in survey.records and owner not in survey.damaged:
            unfinished.setdefault(owner, []).append(name)
    for (kind, key), names in unfinished.items():
        text = f"{kind} {key} was begun and not finished: {len(names)} objects"
        yield Problem("unfinished", layout.artifact_folder(kind, key), text, (kind, key), tuple(names))


def _newest(survey: _Survey, names: Iterable[str]) -> datetime:
    return max(survey.entries[name].modified for name in names)


def _strangers(survey: _Survey) -> Iterator[Problem]:
    for name in survey.entries:
        if name != MARKER and name.split("/", 1)[0] not in layout.AREAS:
            yield Problem("stranger", name, f"{name} is not chipcyte's; move it out of the store")
