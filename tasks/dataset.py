"""The patches of many acquisitions as one data set: which rows there are, and who may learn from which."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from storage import arrays, tables
from storage.errors import InputError
from storage.keys import digest_text
from storage.objects import Objects
from storage.regions import Region
from tasks.settings import Resources, TrainSettings
from tasks.stage import Handle, folder


def read_cells(objects: Objects, patches: Sequence[Handle]) -> pd.DataFrame:
    """Return the rows of all acquisitions, in the order given; `part` is the acquisition's place in it."""
    tables_read = [
        tables.read_table(objects, folder("patches", one.key, "cells.zarr")).obs for one in patches
    ]
    for part, table in enumerate(tables_read):
        table["part"] = part
    joined: pd.DataFrame = pd.concat([table for table in tables_read if len(table)] or tables_read)
    for name in joined.select_dtypes(object).columns:
        joined[name] = joined[name].astype(str)
    return joined


class StoredPatches:
    """Patches of many acquisitions as one array (n, c, y, x) that is read where it is asked, not before.

    It travels to another process as addresses alone, whichever way that process was started.

    Parameters
    ----------
    objects
        The store.
    patches
        Handles of the artifacts, in the order of the rows.

    Raises
    ------
    InputError
        There are no patches, or they differ in size.
    """

    def __init__(self, objects: Objects, patches: Sequence[Handle]) -> None:
        self.parts = [
            arrays.open_array(objects, folder("patches", one.key, "patches.zarr")) for one in patches
        ]
        self.counts = [one.counts["patches"] for one in patches]
        specs = {part.spec for part in self.parts}
        shapes = {spec.shape[1:] for spec in specs}
        if len(shapes) != 1:
            raise InputError(
                f"expected patches of one size, found {sorted(shapes)}; extract them with one setting"
            )
        self.starts = np.cumsum([0, *self.counts]).tolist()
        if self.starts[-1] == 0:
            raise InputError(
                "expected nuclei to learn from, found none; look at the labels of the segmentation"
            )
        self.shape = (self.starts[-1], *shapes.pop())
        self.dtype = np.result_type(*(spec.dtype for spec in specs))
        self.shard_rows = max(spec.shards[0] for spec in specs)

    @property
    def nbytes(self) -> int:
        """Bytes that all of them take in memory."""
        return int(math.prod(self.shape) * self.dtype.itemsize)

    @property
    def shard_edges(self) -> tuple[int, ...]:
        """First row of each shard, and n."""
        firsts = [
            range(start, start + count, self.shard_rows)
            for start, count in zip(self.starts[:-1], self.counts, strict=True)
        ]
        return (*(row for part in firsts for row in part), self.shape[0])

    def __getitem__(self, rows: slice | NDArray[np.int64]) -> NDArray[Any]:
        """Patches at a slice of rows, or at an ascending array of them (read from its first to its last)."""
        if isinstance(rows, slice):
            start, stop, _ = rows.indices(self.shape[0])
            return self._between(start, stop)
        if len(rows) == 0:
            return np.empty((0, *self.shape[1:]), self.dtype)
        first = int(rows[0])
        return self._between(first, int(rows[-1]) + 1)[rows - first]

    def _between(self, start: int, stop: int) -> NDArray[Any]:
        out = np.empty((max(0, stop - start), *self.shape[1:]), self.dtype)
        for part, begin, end in zip(self.parts, self.starts[:-1], self.starts[1:], strict=True):
            first, last = max(start, begin), min(stop, end)
            if first < last:
                rows = Region((first - begin, 0, 0, 0), (last - begin, *self.shape[1:]))
                out[first - start : last - start] = part.read(rows)
        return out


def patch_source(
    objects: Objects, patches: Sequence[Handle], resources: Resources
) -> StoredPatches | NDArray[Any]:
    """Return all patches (n, c, y, x): in memory where they take a quarter of it or less, else on disk."""
    stored = StoredPatches(objects, patches)
    return stored[:] if stored.nbytes <= resources.memory_bytes // 4 else stored


def split(
    cells: pd.DataFrame, *, validation_share: float, test_share: float = 0.0, seed: int
) -> NDArray[np.str_]:
    """Return what each row is for, "train", "validation" or "test": whole chips, or whole acquisitions.

    Acquisitions (positions) are taken as the units where there are fewer than 3 chips. A unit is never split.
    The first unit drawn stays with training, so with a single one nothing is held out.
    """
    chips = cells["chip"].astype(str)
    groups = chips if chips.nunique() >= 3 else cells["part"].astype(str)
    sizes = groups.value_counts()
    names = sorted(sizes.index, key=lambda name: digest_text(f"{seed} {name}"))
    uses = pd.Series("train", index=sizes.index)
    free = names[:-1]
    for use, share in (("validation", validation_share), ("test", test_share)):
        while free and share > 0 and sizes[uses == use].sum() < share * len(cells):
            uses[free.pop(0)] = use
    return groups.map(uses).to_numpy(str)


def uses_of(cells: pd.DataFrame, settings: TrainSettings) -> NDArray[np.str_]:
    """Return what each row is for in a training, as `split` says."""
    return split(
        cells,
        validation_share=settings.validation_share,
        test_share=settings.test_share,
        seed=settings.seed_of_split,
    )


def held_out(cells: pd.DataFrame, settings: TrainSettings) -> NDArray[np.bool_]:
    """Return which rows training does not learn from."""
    return np.asarray(uses_of(cells, settings) != "train")


def judging(cells: pd.DataFrame, settings: TrainSettings) -> NDArray[np.bool_]:
    """Return which rows may judge a model: those for the test, or all held out where there are none."""
    uses = uses_of(cells, settings)
    return np.asarray(uses == "test" if "test" in uses else uses != "train")


def data_digest(patches: Sequence[Handle]) -> str:
    """Return one digest of all the data: that of the artifacts' keys."""
    return digest_text(" ".join(one.key for one in patches))


def summary(cells: pd.DataFrame, uses: NDArray[np.str_]) -> dict[str, Any]:
    """Return what a data set holds, for people; `uses` as `split` gives them."""
    return {
        "cells": len(cells),
        **{f"{use}_cells": int((uses == use).sum()) for use in ("train", "validation", "test")},
        "acquisitions": int(cells["part"].nunique()),
        "chips": int(cells["chip"].astype(str).nunique()),
    }
