"""The table of cells of a label image; labels taken over where only the lab's words about them are new."""

from collections.abc import Iterable, Iterator

import pandas as pd

from storage import images, layout, records
from storage.arrays import Digests
from storage.errors import DamagedStoreError, MissingInputError
from storage.long_tables import ROWS, GrowingTable, read_rows
from storage.objects import Objects
from storage.records import Record
from storage.samples import Sample
from tasks.cells import Columns
from tasks.stage import Outcome, Question, folder

SAID = ("chip", "position", "condition")


def write_cells(
    objects: Objects, key: str, parts: Iterable[Columns], sample: Sample, written: Digests
) -> None:
    """Write the rows of a labels artifact, with what the lab says of the acquisition beside each cell.

    Parameters
    ----------
    parts
        The columns of some cells after the other, by t, z and label.
    """
    said = {name: getattr(sample, name) for name in SAID}
    with GrowingTable(objects, folder("labels", key, "cells.zarr"), written) as table:
        for columns in parts:
            places = zip(columns["t"], columns["z"], columns["label"], strict=True)
            names = [f"t{t}-z{z}-{label}" for t, z, label in places]
            table.append(pd.DataFrame(columns | said, index=names))


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
        copy = f"{path}{name.removeprefix(twin.path)}"
        objects.put(copy, records.checked_bytes(objects, name, entry))
        written[copy] = entry
    write_cells(objects, key, _parts(objects, twin), sample, written)
    counts = dict(twin.counts)
    return Outcome(
        path=path,
        written=written,
        units_reused=counts.pop("units"),
        counts=counts,
        metrics=twin.metrics,
        details=twin.details,
    )


def _parts(objects: Objects, twin: Record) -> Iterator[Columns]:
    path = folder("labels", twin.key, "cells.zarr")
    for start in range(0, max(1, twin.counts["cells"]), ROWS):
        cells = read_rows(objects, path, start, start + ROWS)
        yield {name: cells[name].to_numpy() for name in cells.columns if name not in SAID}
