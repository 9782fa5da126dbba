"""gc: which artifacts nothing refers to any more, and how they go without ever leaving half of one behind."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from storage import images, layout, leases, records
from storage.checking import labels_of
from storage.errors import BusyError, DamagedStoreError
from storage.listings import Entry
from storage.objects import Objects
from storage.records import KINDS, SELF_CONTAINED, Record, Reference

# What came from outside cannot be computed again; a network is small, took hours, and may be a champion.
KEPT_KINDS = ("raw", "sample", "truth", *SELF_CONTAINED)
DAMAGED = "(its record is damaged)"
UNFINISHED = "(unfinished)"

Held = dict[Reference, list[Entry]]


@dataclass(frozen=True)
class Removal:
    """An artifact that may go, with all its objects."""

    record: Record
    names: tuple[str, ...]
    size_bytes: int
    age: timedelta


def plan_collection(objects: Objects, *, older_than: timedelta) -> list[Removal]:
    """Return the artifacts that may be removed, each before those it was made from.

    An artifact is kept if its kind is one of `KEPT_KINDS`, if it or any of its objects is younger
    than `older_than`, or if one that is kept was made from it. So a young report keeps its clusters, model,
    patches, labels and clean images, however old they are.
    """
    every = {record.reference: record for record in records.listing(objects)}
    held = _held(objects)
    ages = _ages(every, held)
    young = [name for name in every if name.kind in KEPT_KINDS or ages[name] < older_than]
    kept = _with_ancestors(every, young)
    return [
        _removal(every[name], held.get(name, []), ages[name])
        for name in _children_first(every)
        if name not in kept
    ]


def plan_removal(objects: Objects, starts_of_keys: Sequence[str]) -> list[Removal]:
    """Return the artifacts whose keys begin so and all made from them, each before those it was made from.

    What people corrected, and the networks that learned from it, stay unless they are named themselves.
    Unfinished artifacts of later kinds go as well: nothing says what they are being made from, and a unit
    that was made from a damaged one must not be reused.

    Raises
    ------
    InputError
        None or several keys begin so.
    """
    held = _held(objects)
    every = _readable(objects, held)
    doomed = _with_descendants(every, {_named(objects, start) for start in starts_of_keys})
    first = min((KINDS.index(name.kind) for name in doomed), default=len(KINDS))
    unfinished = {
        name: Record(kind=name.kind, key=name.key, name=UNFINISHED, path="")
        for name in held
        if name not in every and name.kind in KINDS[first + 1 :] and name.kind not in SELF_CONTAINED
    }
    ages = _ages(every | unfinished, held)
    gone = unfinished | {name: every[name] for name in _children_first(every) if name in doomed}
    return [_removal(record, held.get(name, []), ages[name]) for name, record in gone.items()]


def _named(objects: Objects, start_of_key: str) -> Reference:
    """Return the one artifact whose key begins so, even if its record cannot be read."""
    try:
        return records.resolve(objects, start_of_key).reference
    except DamagedStoreError:
        return next(name for name in _recorded(objects) if name.key.startswith(start_of_key))


def _recorded(objects: Objects) -> list[Reference]:
    """Return the names of all artifacts that have a record; reads none."""
    found = [name.removesuffix(".json").split("/") for name in objects.names(layout.RECORDS)]
    return [Reference(kind=kind, key=key) for _, kind, key in found]


def _readable(objects: Objects, held: Held) -> dict[Reference, Record]:
    """Return all records; of a damaged one what its objects' paths say."""
    found = {}
    for name in _recorded(objects):
        try:
            found[name] = records.read(objects, name.kind, name.key)
        except DamagedStoreError:
            around = {one for entry in held.get(name, []) for one in _around(entry.name)} - {name}
            found[name] = Record(kind=name.kind, key=name.key, name=DAMAGED, path="", parents=tuple(around))
    return found


def _held(objects: Objects) -> Held:
    """Return the objects of each artifact, finished or not."""
    found: Held = {}
    for entry in objects.entries(""):
        owner = layout.owner(entry.name)
        if owner is not None:
            found.setdefault(Reference(kind=owner[0], key=owner[1]), []).append(entry)
    return found


def _ages(every: dict[Reference, Record], held: Held) -> dict[Reference, timedelta]:
    """Return for how long neither an artifact nor anything that lies in it has changed."""
    touched = {name: datetime.fromisoformat(one.created) for name, one in every.items() if one.created}
    for name, entries in held.items():
        for entry in entries:
            for one in (name, *_around(entry.name)):
                touched[one] = max(touched.get(one, entry.modified), entry.modified)
    now = datetime.now(UTC)
    return {name: now - touched.get(name, now) for name in every}


def _removal(record: Record, entries: Sequence[Entry], age: timedelta) -> Removal:
    names = tuple(entry.name for entry in entries)
    return Removal(record, names, sum(entry.size_bytes for entry in entries), age)


def collect(objects: Objects, removals: Iterable[Removal]) -> list[Removal]:
    """Remove artifacts; return those that went.

    Of each the record goes first, so a kill leaves no record without its artifact; what it leaves of the
    artifact `check --repair` removes. One that another process is making anew is left to it, with all it is
    made from.
    """
    gone: list[Removal] = []
    spared: set[Reference] = set()
    for one in removals:
        kind, key = one.record.kind, one.record.key
        if one.record.reference in spared:
            spared.update(one.record.parents)
            continue
        try:
            with leases.held(objects, kind, key):
                objects.delete([layout.record_path(kind, key)])
                objects.delete(list(one.names))
        except BusyError:
            spared.update(one.record.parents)
            continue
        gone.append(one)
    _list_labels_anew(objects, gone)
    for area in layout.AREAS if gone else ():
        objects.prune(area)
    return gone


def _list_labels_anew(objects: Objects, gone: Iterable[Removal]) -> None:
    """Take removed label images out of the lists of clean images that stay."""
    removed = {one.record.reference for one in gone}
    images_of = {parent for one in gone if one.record.kind == "labels" for parent in one.record.parents}
    standing = _readable(objects, {}).values()
    for clean in images_of - removed:
        images.list_labels(objects, clean.key, labels_of(standing, clean.key))


def _around(path: str) -> list[Reference]:
    """Return the clean image that label images lie in: one that is being segmented is at work itself."""
    parts = path.split("/")
    return [Reference(kind="clean", key=parts[2])] if parts[:2] == ["artifacts", "clean"] else []


def _with_ancestors(every: dict[Reference, Record], names: Iterable[Reference]) -> set[Reference]:
    found, waiting = set(), list(names)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting.extend(every[name].parents if name in every else ())
    return found


def _with_descendants(every: dict[Reference, Record], names: set[Reference]) -> set[Reference]:
    found = set(names)
    for name in reversed(_children_first(every)):  # parents first
        if name.kind not in SELF_CONTAINED and not found.isdisjoint(every[name].parents):
            found.add(name)
    return found


def _children_first(every: dict[Reference, Record]) -> list[Reference]:
    """Return all names so that each comes before those it was made from."""
    order: list[Reference] = []
    placed: set[Reference] = set()

    def place(name: Reference) -> None:
        if name in placed or name not in every:
            return
        placed.add(name)
        for parent in every[name].parents:
            place(parent)
        order.append(name)

    for name in every:
        place(name)
    return order[::-1]
