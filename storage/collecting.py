"""gc: which artifacts nothing refers to any more, and how they go without ever leaving half of one behind."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from storage import images, layout, leases, records
from storage.checking import labels_of
from storage.errors import BusyError
from storage.objects import Entry, Objects
from storage.records import Record, Reference

KEPT_KINDS = ("raw", "sample", "truth")  # what came from outside cannot be computed again


@dataclass(frozen=True)
class Removal:
    """An artifact that may go, with all its objects."""

    record: Record
    names: tuple[str, ...]
    size_bytes: int
    age: timedelta


def plan_collection(objects: Objects, *, older_than: timedelta) -> list[Removal]:
    """Return the artifacts that may be removed, each before those it was made from.

    An artifact is kept if it came from outside (raw, sample, truth), if it or any of its objects is younger
    than `older_than`, or if one that is kept was made from it. So a young report keeps its clusters, model,
    patches, labels and clean images, however old they are.
    """
    every = {record.reference: record for record in records.listing(objects)}
    held: dict[Reference, list[Entry]] = {}
    touched = {name: datetime.fromisoformat(one.created) for name, one in every.items()}
    for entry in objects.entries(""):
        owner = layout.owner(entry.name)
        if owner is None:
            continue
        name = Reference(kind=owner[0], key=owner[1])
        held.setdefault(name, []).append(entry)
        for one in (name, *_around(entry.name)):
            touched[one] = max(touched.get(one, entry.modified), entry.modified)
    now = datetime.now(UTC)
    ages = {name: now - moment for name, moment in touched.items()}
    young = [name for name in every if name.kind in KEPT_KINDS or ages[name] < older_than]
    kept = _with_ancestors(every, young)
    return [
        Removal(
            every[name],
            tuple(entry.name for entry in held.get(name, [])),
            sum(entry.size_bytes for entry in held.get(name, [])),
            ages[name],
        )
        for name in _children_first(every)
        if name not in kept
    ]


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
    standing = records.listing(objects, "labels")
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
