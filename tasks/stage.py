"""What every stage does around its own work: look whether the answer exists, compute, commit, hand on."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from storage import layout, leases, progress, records
from storage.arrays import Digests
from storage.keys import artifact_key
from storage.objects import Objects
from storage.records import Record, Reference


@dataclass(frozen=True)
class Handle:
    """What travels between tasks: the name of an artifact and the numbers people ask for, never its data."""

    kind: str
    key: str
    name: str
    uri: str
    counts: dict[str, int] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)
    reused: bool = False
    units_done: int = 0
    units_reused: int = 0


@dataclass(frozen=True)
class Question:
    """What an artifact answers; its key is the hash of this, the name aside."""

    kind: str
    name: str
    parents: tuple[Reference, ...]
    settings: dict[str, Any]
    algorithm: int

    @property
    def key(self) -> str:
        """The artifact's key."""
        parents = [f"{parent.kind}/{parent.key}" for parent in self.parents]
        return artifact_key(self.kind, parents, self.settings, self.algorithm)


@dataclass
class Outcome:
    """What a stage found, beside the bytes it wrote."""

    path: str
    written: Digests
    counts: dict[str, int] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)
    details: dict[str, Any] = field(default_factory=dict)
    units_done: int = 0
    units_reused: int = 0


def produce(objects: Objects, question: Question, compute: Callable[[str], Outcome]) -> Handle:
    """Return the artifact that answers a question, computing it only if it does not exist.

    Parameters
    ----------
    compute
        Writes the artifact under the key it is given. It may be interrupted at any point: without the
        record, which is written last, there is no artifact.

    Raises
    ------
    BusyError
        Another process is making the same artifact.
    """
    key = question.key
    found = records.find(objects, question.kind, key)
    if found is None:
        with leases.held(objects, question.kind, key):
            # Whoever held the lease before may have finished.
            found = records.find(objects, question.kind, key)
            if found is None:
                return _make(objects, question, compute)
    else:
        progress.clear(objects, question.kind, key)  # who made it may have died before it had tidied up
    return handle(objects, found, name=question.name, reused=True)


def _make(objects: Objects, question: Question, compute: Callable[[str], Outcome]) -> Handle:
    key = question.key
    outcome = compute(key)
    record = Record(
        kind=question.kind,
        key=key,
        name=question.name,
        path=outcome.path,
        parents=question.parents,
        settings=question.settings,
        algorithm=question.algorithm,
        counts=outcome.counts | {"units": outcome.units_done + outcome.units_reused},
        metrics=outcome.metrics,
        details=outcome.details,
    )
    home = layout.artifact_folder(question.kind, key)
    elsewhere = [] if f"{outcome.path}/".startswith(f"{home}/") else [outcome.path]
    for place in [home, *elsewhere]:
        progress.sweep(objects, place)
    stands = records.commit(objects, record, outcome.written)
    progress.clear(objects, question.kind, key)
    made = handle(objects, stands, name=question.name, reused=False)
    return replace(made, units_done=outcome.units_done, units_reused=outcome.units_reused)


def handle(objects: Objects, record: Record, *, name: str = "", reused: bool = True) -> Handle:
    """Return the handle of a record; `name` is what this run calls it."""
    return Handle(
        kind=record.kind,
        key=record.key,
        name=name or record.name,
        uri=objects.uri(record.path),
        counts=dict(record.counts),
        metrics=dict(record.metrics),
        reused=reused,
        units_reused=record.counts.get("units", 0),
    )


def parents_of(objects: Objects, record: Record, kind: str) -> list[Handle]:
    """Return the artifacts of one kind that another was made from, in its order."""
    return [
        handle(objects, records.read(objects, kind, one.key)) for one in record.parents if one.kind == kind
    ]


def references(handles: Sequence[Handle]) -> tuple[Reference, ...]:
    """Return the names of artifacts as parents of another."""
    return tuple(Reference(kind=one.kind, key=one.key) for one in handles)


def folder(kind: str, key: str, name: str) -> str:
    """Return the path of a part of an artifact."""
    return f"{layout.artifact_folder(kind, key)}/{name}"
