"""Measures the cells of a label image, tile by tile, each cell whole."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from storage.progress import Done
from storage.regions import Region
from tasks.kernels.cells import COLUMN_TYPES, measure_cells
from tasks.tiles import LabelTask, Tile

RAW_COLUMNS = ("centroid_y_raw_px", "centroid_x_raw_px")
RAW_COLUMNS_UM = ("centroid_y_raw_um", "centroid_x_raw_um")
Columns = dict[str, NDArray[Any]]
TYPES = COLUMN_TYPES | dict.fromkeys((*RAW_COLUMNS, *RAW_COLUMNS_UM), np.float64)


@dataclass(frozen=True)
class Group:
    """The unit of measuring: the cells that a tile is the first to hold, and the region of these."""

    tile: Tile
    labels: NDArray[np.uint32]
    region: Region

    @property
    def name(self) -> str:
        """A name that is unique in the step."""
        return self.tile.name


def groups_of(
    tiles: Sequence[Tile], boxes: Sequence[NDArray[np.int64]], plane_yx: Sequence[int]
) -> list[Group]:
    """Give every cell to one tile, with the region that holds the tile's cells and the pixels round them.

    Parameters
    ----------
    boxes
        What the core of each tile holds of its labels: label, first row and column, stop row and column.
    """
    whole: dict[tuple[int, int], dict[int, NDArray[np.int64]]] = {}
    first: dict[str, list[int]] = {}
    for tile, rows in zip(tiles, boxes, strict=True):
        of_plane, mine = whole.setdefault(tile.plane, {}), first.setdefault(tile.name, [])
        for label, *box in rows.tolist():
            if label not in of_plane:
                of_plane[label] = np.array(box)
                mine.append(label)
            else:
                known = of_plane[label]
                known[:2], known[2:] = np.minimum(known[:2], box[:2]), np.maximum(known[2:], box[2:])
    groups = []
    for tile in tiles:
        mine = sorted(first[tile.name])
        if mine:
            all_of = np.stack([whole[tile.plane][label] for label in mine])
            tight = Region(tuple(all_of[:, :2].min(0).tolist()), tuple(all_of[:, 2:].max(0).tolist()))
            groups.append(Group(tile, np.array(mine, np.uint32), tight.expanded((1, 1), plane_yx)))
    return groups


def measure_unit(unit: Group, *, work: LabelTask) -> Done:
    """Return the columns of a tile's cells. Lengths are in px where the pixel size is not known."""
    image = work.clean_image()
    t, z = unit.tile.plane
    yx = image.read(unit.tile.clean_region(unit.region))[0, 0, 0]
    region = Region((t, z, *unit.region.start), (t + 1, z + 1, *unit.region.stop))
    labels = work.label_image().read(region)[0, 0]
    columns = measure_cells(
        np.where(np.isin(labels, unit.labels), labels, 0),
        yx,
        pixel_size_um=image.metadata.pixel_size_um[1] or 1.0,
        inside=yx > 0,
        origin_yx=unit.region.start,
        plane_yx=image.shape[-2:],
    )
    raw = _raw_centroids(columns, image.metadata.extra)
    size_um = image.metadata.pixel_size_um[1] or 1.0
    columns |= dict(zip((*RAW_COLUMNS, *RAW_COLUMNS_UM), (*raw, *(raw * size_um)), strict=True))
    plain = {name: values.tolist() for name, values in columns.items()}
    return Done({"t": t, "z": z, "columns": plain}, {})


def _raw_centroids(columns: dict[str, Any], extra: dict[str, Any]) -> NDArray[np.float64]:
    """Map centroids (y, x) back through the rotation; shape (2, n).

    Each by itself, not as a product of matrices, whose last bits depend on how many there are.
    """
    y, x = columns["centroid_y_px"], columns["centroid_x_px"]
    return np.stack([down * y + right * x + shift for down, right, shift in extra["clean_to_raw"]["affine"]])


def columns_of_plane(result: dict[str, Any]) -> dict[str, Any]:
    """Turn what `measure_unit` gave into arrays."""
    arrays = {name: np.asarray(values, TYPES[name]) for name, values in result["columns"].items()}
    return {"t": result["t"], "z": result["z"], "columns": arrays}


def columns_of_planes(planes: list[dict[str, Any]], pixel_size_um: float | None) -> Columns:
    """Join what `columns_of_plane` gave, by plane and label; um are NaN where the pixel size is not known."""
    counts = [len(plane["columns"]["label"]) for plane in planes]
    columns: Columns = {
        axis: np.repeat([plane[axis] for plane in planes], counts).astype(np.int64) for axis in ("t", "z")
    }
    none = {name: [np.zeros(0, kind)] for name, kind in TYPES.items()}
    for name in TYPES:
        columns[name] = np.concatenate(none[name] + [plane["columns"][name] for plane in planes])
    order = np.lexsort((columns["label"], columns["z"], columns["t"]))
    columns = {name: values[order] for name, values in columns.items()}
    if pixel_size_um is None:
        for name in [name for name in columns if name.endswith(("_um", "_um2"))]:
            columns[name] = np.full_like(columns[name], np.nan)
    return columns
