"""The patches of many acquisitions as one data set: which rows there are, and who may learn from which."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from storage import arrays, tables
from storage.errors import InputError, MemoryBudgetError
from storage.keys import digest_text
from storage.objects import Objects
from storage.regions import Region
from tasks.settings import Resources
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


def read_patches(objects: Objects, patches: Sequence[Handle], resources: Resources) -> NDArray[np.float32]:
    """Return all patches, float32 (n, c, y, x).

    Raises
    ------
    InputError
        There are none, or they differ in size.
    MemoryBudgetError
        They would not fit into `resources.memory_bytes`.
    """
    opened = [
        (arrays.open_array(objects, folder("patches", one.key, "patches.zarr")), one) for one in patches
    ]
    shapes = {array.shape[1:] for array, _ in opened}
    if len(shapes) != 1:
        raise InputError(
            f"expected patches of one size, found {sorted(shapes)}; extract them with one setting"
        )
    total = sum(one.counts["patches"] for one in patches)
    if total == 0:
        raise InputError("expected nuclei to learn from, found none; look at the labels of the segmentation")
    shape = (total, *shapes.pop())
    needed = int(np.prod(shape)) * 4
    if needed > resources.memory_bytes // 2:
        raise MemoryBudgetError(
            f"{total} patches need {needed / 2**20:,.0f} MiB, half of resources.memory_bytes is "
            f"{resources.memory_bytes / 2**21:,.0f} MiB; raise it or train on fewer acquisitions"
        )
    joined = np.empty(shape, np.float32)
    row = 0
    for array, one in opened:
        count = one.counts["patches"]
        region = Region((0, 0, 0, 0), (count, *shape[1:]))
        joined[row : row + count] = array.read(region) if count else 0
        row += count
    return joined


def held_out(cells: pd.DataFrame, share: float, seed: int) -> NDArray[np.bool_]:
    """Return which rows are kept from learning: whole chips, or whole acquisitions where chips are few.

    A chip, or an acquisition, is never split. With a single one nothing is held out.
    """
    chips = cells["chip"].astype(str)
    groups = chips if chips.nunique() >= 3 else cells["part"].astype(str)
    sizes = groups.value_counts()
    names = sorted(sizes.index, key=lambda name: digest_text(f"{seed} {name}"))
    chosen: list[str] = []
    for name in names[:-1]:
        if share == 0 or sizes[chosen].sum() >= share * len(cells):
            break
        chosen.append(name)
    return groups.isin(chosen).to_numpy()


def data_digest(patches: Sequence[Handle]) -> str:
    """Return one digest of all the data: that of the artifacts' keys."""
    return digest_text(" ".join(one.key for one in patches))


def summary(cells: pd.DataFrame, hold: NDArray[np.bool_]) -> dict[str, Any]:
    """Return what a data set holds, for people."""
    return {
        "cells": len(cells),
        "train_cells": int((~hold).sum()),
        "validation_cells": int(hold.sum()),
        "acquisitions": int(cells["part"].nunique()),
        "chips": int(cells["chip"].astype(str).nunique()),
    }
