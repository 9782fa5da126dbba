"""What the lab says of an acquisition (chip, position, condition) and, for simulated ones, the truth."""

from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

import numpy as np

from storage import records, tables
from storage.arrays import Digests
from storage.errors import InputError
from storage.keys import canonical_json, digest_text
from storage.objects import Objects
from storage.records import Record
from storage.samples import Sample
from tasks.stage import Handle, Outcome, Question, folder, handle, produce, references

ALGORITHM = 1
TRUTH_COLUMNS = ("t", "label", "centroid_y_px", "centroid_x_px")


def attach_sample(objects: Objects, raw: Handle, sample: Sample, standing: Record | None) -> Handle:
    """Note what a row of samples.csv says of an acquisition; the same statement twice is noted once.

    Parameters
    ----------
    standing
        The statement that holds so far. A new one follows it, so that going back to an earlier chip or
        condition is a statement of its own and the last one always holds.
    """
    if standing is not None and standing.settings == sample.model_dump():
        return handle(objects, standing)
    parents = references([raw]) + ((standing.reference,) if standing is not None else ())
    asked = Question("sample", sample.file, parents, sample.model_dump(), ALGORITHM)
    return produce(objects, asked, lambda _key: Outcome(path=raw.key, written={}))


def standing_samples(objects: Objects, raws: Set[str] | None = None) -> dict[str, Record]:
    """Return the last statement about each acquisition, or each of some, by the raw image's key.

    Two copies of a file that are taken at once are stated side by side. A statement that follows one of these
    comes after both, though their times may be the same.
    """
    every = {one.key: one for one in records.listing(objects, "sample", raws)}
    last = sorted(every.values(), key=lambda one: (_statements_before(one, every), one.created, one.key))
    return {one.parents[0].key: one for one in last}


@dataclass
class Statements:
    """What was said of acquisitions before; read once, and only if one of them was there before."""

    objects: Objects
    _standing: dict[str, Record] | None = None
    _lock: Lock = field(default_factory=Lock)

    def about(self, raw: Handle) -> Record | None:
        """Return the last statement about an acquisition that was just ingested."""
        if not raw.reused:
            return None
        with self._lock:
            if self._standing is None:
                self._standing = standing_samples(self.objects)
            return self._standing.get(raw.key)


def _statements_before(one: Record, every: dict[str, Record]) -> int:
    """Return how many statements this one follows, one after the other."""
    before = [every[parent.key] for parent in one.parents if parent.key in every]
    return 1 + _statements_before(before[0], every) if before else 0


def attach_truth(objects: Objects, raw: Handle, rows: Iterable[dict[str, Any]]) -> Handle | None:
    """Store the known cells of a simulated acquisition; None if there are none for this file.

    Parameters
    ----------
    rows
        Rows of truth/cells.csv that belong to this file: t, label, population, centroid in raw pixels.
    """
    known = list(rows)
    if not known:
        return None
    digest = digest_text(canonical_json(known))
    asked = Question("truth", raw.name, references([raw]), {"cells": digest}, ALGORITHM)
    return produce(objects, asked, lambda key: _write_truth(objects, key, known))


def _write_truth(objects: Objects, key: str, known: Sequence[dict[str, Any]]) -> Outcome:
    written: Digests = {}
    path = folder("truth", key, "cells.zarr")
    columns: dict[str, Any] = {name: np.asarray([row[name] for row in known]) for name in TRUTH_COLUMNS}
    columns["population"] = [str(row["population"]) for row in known]
    names = [f"t{row['t']}-{row['label']}" for row in known]
    tables.write_table(objects, path, names=names, columns=columns, written=written)
    return Outcome(path=path, written=written, counts={"cells": len(known)})


def standing_truths(objects: Objects, raws: Set[str] | None = None) -> dict[str, Record]:
    """Return the truth of each simulated acquisition, or each of some, by the raw image's key."""
    return {one.parents[0].key: one for one in records.listing(objects, "truth", raws)}


def sample_facts(objects: Objects, sample: Handle) -> Sample:
    """Return the statement itself."""
    record = records.read(objects, "sample", sample.key)
    if not record.settings:
        raise InputError(f"the sample {sample.key} says nothing; ingest the acquisition again")
    return Sample.model_validate(record.settings)
