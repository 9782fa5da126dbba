"""Cuts the patches of a run of rows: each part of a plane is read once and cut into all of its cells."""

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from storage import arrays, images, layout
from storage.arrays import Digests
from storage.images import OmeImage
from storage.long_tables import read_rows
from storage.objects import open_store
from storage.progress import Done
from storage.regions import Region, grid_regions
from tasks.extract_settings import CropAndPad, ExtractSettings
from tasks.kernels.patches import extract_patches
from tasks.stage import folder

BOX = ("bbox_y0_px", "bbox_x0_px", "bbox_y1_px", "bbox_x1_px")
PLACE = ("t", "z", "tile")  # columns that say in which shard of the image a cell lies
TURN = "turned_deg"
COLUMNS = (*PLACE, *BOX, "label", TURN)


@dataclass(frozen=True)
class Cut:
    """Where patches are cut from and written to, how large, and how."""

    store: str
    clean: str
    labels: str
    patches: str
    size_px: int
    channels: tuple[int, ...]
    settings: ExtractSettings


@dataclass(frozen=True)
class View:
    """Part of a plane: its pixels c y x, labels y x, and the place (y, x) of its first pixel."""

    cyx: NDArray[np.float32]
    labels_yx: NDArray[np.generic]
    corner: tuple[int, int]


def cut_unit(unit: Region, *, cut: Cut) -> Done:
    """Cut the patches of a run of shards, in order; one part of a plane and one shard are held at a time."""
    written: Digests = {}
    array = arrays.open_array(open_store(cut.store), folder("patches", cut.patches, "patches.zarr"), written)
    table = folder("patches", cut.patches, "cells.zarr")
    rows = read_rows(open_store(cut.store), table, unit.start[0], unit.stop[0], COLUMNS)
    parts = rows.groupby(list(PLACE), sort=False).ngroup().to_numpy()
    view, viewed = None, -1
    for shard in grid_regions(unit.shape, array.spec.shards):
        ncyx = np.zeros(shard.shape, array.spec.dtype)
        numbers = parts[shard.slices[0]]
        for number in np.unique(numbers):
            if view is None or number != viewed:
                view, viewed = _view(cut, rows[parts == number]), number
            here = np.flatnonzero(numbers == number)
            ncyx[here] = _patches(cut, rows.iloc[shard.start[0] + here], view)
        array.write(_moved(shard, unit), ncyx)
    return Done(None, written)


def _moved(shard: Region, unit: Region) -> Region:
    """Return a region of a unit as one of the array."""
    by = (unit.start[0],) + (0,) * (len(unit.start) - 1)
    start, stop = (tuple(map(sum, zip(edge, by, strict=True))) for edge in (shard.start, shard.stop))
    return Region(start, stop)


def _view(cut: Cut, rows: pd.DataFrame) -> View:
    """Read the shard in which some cells lie, and beyond it as far as their patches reach.

    A whole shard is one request; a part of one is a request for each chunk.
    """
    objects = open_store(cut.store)
    image = images.open_image(objects, layout.image_path("clean", cut.clean))
    labels = images.open_image(objects, layout.labels_path(cut.clean, cut.labels))
    boxes = rows[list(BOX)].to_numpy(np.int64)
    top, left, bottom, right = _window(
        boxes,
        _reach(cut, boxes) if cut.settings.keep_background else 0,
        int(rows["tile"].iloc[0]),
        image,
    )
    t, z = (int(rows[name].iloc[0]) for name in ("t", "z"))
    first, last = min(cut.channels), max(cut.channels) + 1
    cyx = image.read(Region((t, first, z, top, left), (t + 1, last, z + 1, bottom, right)))[0, :, 0]
    labels_yx = labels.read(Region((t, z, top, left), (t + 1, z + 1, bottom, right)))[0, 0]
    return View(cyx[[channel - first for channel in cut.channels]], labels_yx, (top, left))


def _window(boxes: NDArray[np.int64], reach: int, tile: int, image: OmeImage) -> tuple[int, ...]:
    """Return top, left, bottom, right of a shard of a plane, widened to hold boxes and their surroundings."""
    shard, size = np.array(image.levels[0].spec.shards[-2:]), np.array(image.shape[-2:])
    corner = np.array(divmod(tile, math.ceil(size[1] / shard[1]))) * shard
    low = np.minimum(corner, boxes[:, :2].min(axis=0) - reach)
    high = np.maximum(corner + shard, boxes[:, 2:].max(axis=0) + reach)
    return tuple(int(edge) for edge in (*np.maximum(low, 0), *np.minimum(high, size)))


def _reach(cut: Cut, boxes: NDArray[np.int64]) -> int:
    """Return how far beyond its box a cell's patch may show, in px: half a patch's diagonal, and a pixel."""
    longest = int((boxes[:, 2:] - boxes[:, :2]).max())
    side = cut.size_px if isinstance(cut.settings.crop, CropAndPad) else 2 * longest
    return int(0.75 * side) + 2


def _patches(cut: Cut, rows: pd.DataFrame, view: View) -> NDArray[np.generic]:
    cells = {"label": rows["label"].to_numpy()}
    for number, name in enumerate(BOX):
        cells[name] = rows[name].to_numpy(np.int64) - view.corner[number % 2]
    turns_deg = rows[TURN].to_numpy(np.float64)
    every = [
        extract_patches(
            yx,
            view.labels_yx,
            cells,
            size_px=cut.size_px,
            mode="pad" if isinstance(cut.settings.crop, CropAndPad) else "resize",
            keep_background=cut.settings.keep_background,
            turns_deg=turns_deg if turns_deg.any() else None,
            dtype=cut.settings.dtype,
        )
        for yx in view.cyx
    ]
    return every[0][:, None] if len(every) == 1 else np.stack(every, axis=1)
