"""Measures the cells of a label image, plane by plane."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from storage.progress import Done
from storage.regions import Region
from tasks.kernels.cells import COLUMN_TYPES, measure_cells
from tasks.tiles import LabelTask

RAW_COLUMNS = ("centroid_y_raw_px", "centroid_x_raw_px")
TYPES = COLUMN_TYPES | dict.fromkeys(RAW_COLUMNS, np.float64)


def measure_unit(unit: Region, *, work: LabelTask) -> Done:
    """Return the columns of one plane's cells. Lengths are in px where the pixel size is not known."""
    image = work.clean_image()
    t, _, z = unit.start[:3]
    yx = image.read(unit)[0, 0, 0]
    region = Region((t, z, *unit.start[3:]), (t + 1, z + 1, *unit.stop[3:]))
    labels = work.label_image().read(region)[0, 0]
    columns = measure_cells(labels, yx, pixel_size_um=image.metadata.pixel_size_um[1] or 1.0, inside=yx > 0)
    columns |= dict(zip(RAW_COLUMNS, _raw_centroids(columns, image.metadata.extra), strict=True))
    plain = {name: values.tolist() for name, values in columns.items()}
    return Done({"t": t, "z": z, "columns": plain}, {})


def _raw_centroids(columns: dict[str, Any], extra: dict[str, Any]) -> NDArray[np.float64]:
    """Map centroids (y, x) back through the rotation; shape (2, n)."""
    centroids = np.stack([columns["centroid_y_px"], columns["centroid_x_px"]])
    affine = np.asarray(extra["clean_to_raw"]["affine"])
    mapped: NDArray[np.float64] = affine @ np.vstack([centroids, np.ones(centroids.shape[1])])
    return mapped


def columns_of_plane(result: dict[str, Any]) -> dict[str, Any]:
    """Turn what `measure_unit` gave into arrays."""
    arrays = {name: np.asarray(values, TYPES[name]) for name, values in result["columns"].items()}
    return {"t": result["t"], "z": result["z"], "columns": arrays}


def columns_of_planes(planes: list[dict[str, Any]], pixel_size_um: float | None) -> dict[str, NDArray[Any]]:
    """Join what `columns_of_plane` gave; columns in um are NaN where the pixel size is not known."""
    counts = [len(plane["columns"]["label"]) for plane in planes]
    columns: dict[str, NDArray[Any]] = {
        axis: np.repeat([plane[axis] for plane in planes], counts).astype(np.int64) for axis in ("t", "z")
    }
    for name in TYPES:
        columns[name] = np.concatenate([plane["columns"][name] for plane in planes])
    if pixel_size_um is None:
        for name in [name for name in columns if name.endswith(("_um", "_um2"))]:
            columns[name] = np.full_like(columns[name], np.nan)
    return columns
