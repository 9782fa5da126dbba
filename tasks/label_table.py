"""The table of cells of a label image; labels taken over where only the lab's words about them are new."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from storage import images, layout, records, tables
from storage.arrays import Digests, digest
from storage.errors import DamagedStoreError, MissingInputError
from storage.objects import Objects
from storage.records import Record
from storage.samples import Sample
from tasks.stage import Outcome, Question, folder

SAID = ("chip", "position", "condition")


def write_cells(
    objects: Objects, key: str, columns: dict[str, NDArray[Any]], sample: Sample, written: Digests
) -> None:
    """Write the rows of a labels artifact, with what the lab says of the acquisition beside each cell."""
    places = list(zip(columns["t"], columns["z"], columns["label"], strict=True))
    said = {name: np.full(len(places), getattr(sample, name), object) for name in SAID}
    tables.write_table(
        objects,
        folder("labels", key, "cells.zarr"),
        names=[f"t{t}-z{z}-{label}" for t, z, label in places],
        columns=columns | said,
        written=written,
    )


def taken_over(objects: Objects, asked: Question, key: str, sample: Sample) -> Outcome | None:
    """Return labels copied from others of the same image, settings and algorithm; None if there are none.

    They differ in what was said of the acquisition when they were made. Of these no unit is computed again.
    """
    clean = asked.parents[0]
    for other in images.listed_labels(objects, clean.key):
        twin = records.find(objects, "labels", other)
        if twin is not None and _same_labels(twin, asked):
            try:
                return _copied(objects, twin, layout.labels_path(clean.key, key), key, sample)
            except (DamagedStoreError, MissingInputError):
                continue  # what is damaged is computed anew
    return None


def _same_labels(twin: Record, asked: Question) -> bool:
    theirs, ours = ((one.parents[0], one.settings, one.algorithm) for one in (twin, asked))
    return theirs == ours


def _copied(objects: Objects, twin: Record, path: str, key: str, sample: Sample) -> Outcome:
    written: Digests = {}
    for name, entry in records.read_manifest(objects, twin).items():
        if not name.startswith(f"{twin.path}/"):
            continue
        content = objects.get(name)
        if digest(content) != entry:
            raise DamagedStoreError(f"{objects.uri(name)} is not what was written")
        copy = f"{path}{name.removeprefix(twin.path)}"
        objects.put(copy, content)
        written[copy] = entry
    cells = tables.read_table(objects, folder("labels", twin.key, "cells.zarr")).obs
    columns = {name: cells[name].to_numpy() for name in cells.columns if name not in SAID}
    write_cells(objects, key, columns, sample, written)
    counts = dict(twin.counts)
    return Outcome(
        path=path,
        written=written,
        units_reused=counts.pop("units"),
        counts=counts,
        metrics=twin.metrics,
        details=twin.details,
    )
