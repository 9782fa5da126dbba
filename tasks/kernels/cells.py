"""What is measured of each cell of a label image."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation

from tasks.kernels.cells_loops import XX, XY, YY, X, Y, cell_sums, hull_areas, total_values, touching
from tasks.kernels.checks import finite_float32, require_plane
from tasks.kernels.flow_targets_loops import AREA, boxes_of

_SPARSE = 8  # labels a pixel, from which on they are sorted instead of looked up
Columns = dict[str, NDArray[np.generic]]
_BOX = ("bbox_y0_px", "bbox_x0_px", "bbox_y1_px", "bbox_x1_px")
COLUMN_TYPES: dict[str, type[np.generic]] = {
    "label": np.uint32,
    "centroid_y_px": np.float64,
    "centroid_x_px": np.float64,
    "centroid_y_um": np.float64,
    "centroid_x_um": np.float64,
    "bbox_y0_px": np.int64,
    "bbox_x0_px": np.int64,
    "bbox_y1_px": np.int64,
    "bbox_x1_px": np.int64,
    "area_px": np.int64,
    "area_um2": np.float64,
    "major_axis_um": np.float64,
    "minor_axis_um": np.float64,
    "orientation_deg": np.float64,
    "solidity": np.float64,
    "eccentricity": np.float64,
    "mean_intensity": np.float64,
    "total_intensity": np.float64,
    "touches_edge": np.bool_,
}


def measure_cells(
    labels_yx: NDArray[np.generic],
    intensity_yx: NDArray[np.generic],
    *,
    pixel_size_um: float,
    inside: NDArray[np.bool_] | None = None,
    origin_yx: Sequence[int] = (0, 0),
    plane_yx: Sequence[int] | None = None,
) -> Columns:
    """Measure every cell of a label image, one row each, in the order of the labels.

    Parameters
    ----------
    labels_yx
        Labels, axes y x, integers, 0 is background.
    intensity_yx
        Image of the same shape.
    pixel_size_um
        Side of a pixel.
    inside
        Pixels that belong to the frame, boolean, axes y x; None: all.
    origin_yx, plane_yx
        Where in its plane the label image lies, and the plane's shape, px: a part in which a cell lies whole,
        with the pixels round it, gives the same numbers as the plane.

    Returns
    -------
    Columns of `COLUMN_TYPES`, equally long. The box is [y0, y1) x [x0, x1). The axes are those of the ellipse
    with the same second moments. `orientation_deg`, in (-90, 90], is the counter-clockwise rotation that
    would make the long one vertical. `touches_edge` tells cells at the plane's border or beside a pixel
    outside the frame.

    Raises
    ------
    ValueError
        If shapes differ, the pixel size is not positive, a label is negative or a pixel NaN.
    TypeError
        If the labels are not integers.
    """
    _check(labels_yx, intensity_yx, pixel_size_um, inside)
    ids, dense = _dense(labels_yx)
    if ids.size == 0:
        return {name: np.empty(0, dtype) for name, dtype in COLUMN_TYPES.items()}
    intensity = np.ascontiguousarray(finite_float32(intensity_yx, "intensity_yx"))
    boxes = boxes_of(dense, ids.size)
    area = boxes[1:, AREA]
    total = total_values(dense, intensity, ids.size)[1:]
    first, stop = (boxes[1:, ends] + np.asarray(origin_yx) for ends in ([0, 2], [1, 3]))
    edge = _edge(dense.shape, inside, origin_yx, plane_yx or dense.shape)
    columns = _shapes(cell_sums(dense, boxes)[1:], area, first, pixel_size_um)
    columns |= dict(zip(_BOX, (*first.T, *stop.T), strict=True)) | {
        "label": ids,
        "area_px": area,
        "area_um2": area * pixel_size_um**2,
        "solidity": area / hull_areas(dense, boxes)[1:],
        "mean_intensity": total / area,
        "total_intensity": total,
        "touches_edge": touching(dense, edge, ids.size)[1:],
    }
    return {name: np.asarray(columns[name]).astype(dtype) for name, dtype in COLUMN_TYPES.items()}


def _dense(labels_yx: NDArray[np.generic]) -> tuple[NDArray[np.generic], NDArray[np.uint32]]:
    """Return the labels there are, ascending, and the image with their ranks from 1."""
    highest = int(labels_yx.max())
    if highest > _SPARSE * labels_yx.size:
        ids, ranks = np.unique(np.append(labels_yx.ravel(), 0), return_inverse=True)
        return ids[1:], np.ascontiguousarray(ranks[:-1].reshape(labels_yx.shape).astype(np.uint32))
    there = np.zeros(highest + 1, bool)
    there[labels_yx.ravel()] = True
    there[0] = False
    dense = (np.cumsum(there, dtype=np.uint32) * there)[labels_yx]
    return np.flatnonzero(there), np.ascontiguousarray(dense)


def cell_boxes(labels_yx: NDArray[np.generic]) -> NDArray[np.int64]:
    """Return label, first row, first column, stop row and stop column of every label, ascending."""
    ids, dense = _dense(labels_yx)
    boxes = boxes_of(dense, ids.size)[1:]
    return np.column_stack([ids.astype(np.int64), boxes[:, [0, 2, 1, 3]]])


def _shapes(
    sums: NDArray[np.int64], area: NDArray[np.int64], corner: NDArray[np.int64], pixel_size_um: float
) -> Columns:
    """Return centroids, and the axes of the ellipse with the same second moments."""
    y, x = sums[:, Y] / area, sums[:, X] / area
    along_y = (sums[:, YY] * area - sums[:, Y] ** 2) / area.astype(np.float64) ** 2
    along_x = (sums[:, XX] * area - sums[:, X] ** 2) / area.astype(np.float64) ** 2
    both = (sums[:, XY] * area - sums[:, X] * sums[:, Y]) / area.astype(np.float64) ** 2
    middle = (along_y + along_x) / 2
    half = np.sqrt(((along_y - along_x) / 2) ** 2 + both**2)
    long, short = middle + half, np.maximum(middle - half, 0)
    turned_deg = -np.rad2deg(np.arctan2(2 * both, along_y - along_x) / 2)
    return {
        "centroid_y_px": corner[:, 0] + y,
        "centroid_x_px": corner[:, 1] + x,
        "centroid_y_um": (corner[:, 0] + y) * pixel_size_um,
        "centroid_x_um": (corner[:, 1] + x) * pixel_size_um,
        "major_axis_um": 4 * np.sqrt(long) * pixel_size_um,
        "minor_axis_um": 4 * np.sqrt(short) * pixel_size_um,
        "orientation_deg": np.where(turned_deg <= -90, 90.0, turned_deg),
        "eccentricity": np.sqrt(1 - np.divide(short, long, out=np.ones_like(long), where=long > 0)),
    }


def _edge(
    shape_yx: Sequence[int],
    inside: NDArray[np.bool_] | None,
    origin_yx: Sequence[int],
    plane_yx: Sequence[int],
) -> NDArray[np.bool_]:
    """Return the pixels at the border of the plane, or beside one outside the frame."""
    edge = np.zeros(shape_yx, bool) if inside is None else binary_dilation(~inside, np.ones((3, 3), bool))
    for axis in (0, 1):
        first, last = (slice(None),) * axis + (0,), (slice(None),) * axis + (-1,)
        edge[first] |= origin_yx[axis] == 0
        edge[last] |= origin_yx[axis] + shape_yx[axis] == plane_yx[axis]
    return edge


def _check(
    labels_yx: NDArray[np.generic],
    intensity_yx: NDArray[np.generic],
    pixel_size_um: float,
    inside: NDArray[np.bool_] | None,
) -> None:
    require_plane(labels_yx, "labels_yx")
    if labels_yx.dtype.kind not in "iu":
        raise TypeError(f"labels_yx: expected integers, found {labels_yx.dtype}; pass the label image itself")
    shapes = {labels_yx.shape, intensity_yx.shape, labels_yx.shape if inside is None else inside.shape}
    if len(shapes) != 1:
        raise ValueError(f"expected labels, image and mask of one shape, found {sorted(shapes)}")
    if not pixel_size_um > 0:
        raise ValueError(f"pixel_size_um: expected a length above 0, found {pixel_size_um}")
    if labels_yx.min() < 0:
        raise ValueError(f"labels_yx: expected 0 and above, found {labels_yx.min()}; relabel the image")
