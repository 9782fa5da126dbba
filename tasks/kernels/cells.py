"""What is measured of each cell of a label image."""

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation
from skimage.measure import regionprops_table

from tasks.kernels.checks import finite_float32, require_plane

Columns = dict[str, NDArray[np.generic]]
_PROPERTIES = (
    "label",
    "centroid",
    "bbox",
    "area",
    "axis_major_length",
    "axis_minor_length",
    "orientation",
    "solidity",
    "eccentricity",
    "intensity_mean",
)
COLUMN_TYPES: dict[str, type[np.generic]] = {
    "label": np.uint32,
    "centroid_y_px": np.float64,
    "centroid_x_px": np.float64,
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
) -> Columns:
    """Measure every cell of a label image, one row each, in the order of the labels.

    Parameters
    ----------
    labels_yx
        Labels, axes y x, integers, 0 is background.
    intensity_yx
        Image of the same shape.
    pixel_size_um
        Side of a pixel, um.
    inside
        Pixels that belong to the frame, boolean, axes y x; None: all.

    Returns
    -------
    Columns of `COLUMN_TYPES`, equally long. The box is [y0, y1) x [x0, x1). The axes are those of the ellipse
    with the same second moments. `orientation_deg`, in (-90, 90], is the rotation, counter-clockwise, that
    would make the long axis vertical. `touches_edge` tells cells that touch the image's border or a pixel
    outside the frame (8 neighbours).

    Raises
    ------
    ValueError
        If shapes differ, the pixel size is not positive, or the labels hold negative numbers or the image
        NaN.
    TypeError
        If the labels are not integers.
    """
    _check(labels_yx, intensity_yx, pixel_size_um, inside)
    if not labels_yx.any():
        return {name: np.empty(0, dtype) for name, dtype in COLUMN_TYPES.items()}
    signed = labels_yx.astype(np.int64)  # regionprops takes no unsigned 64 bit
    intensity = finite_float32(intensity_yx, "intensity_yx")
    table = regionprops_table(signed, intensity, properties=_PROPERTIES)
    orientation_deg = -np.rad2deg(table["orientation"])
    columns = {
        "label": table["label"],
        "centroid_y_px": table["centroid-0"],
        "centroid_x_px": table["centroid-1"],
        **{f"bbox_{name}_px": table[f"bbox-{i}"] for i, name in enumerate(("y0", "x0", "y1", "x1"))},
        "area_px": table["area"],
        "area_um2": table["area"] * pixel_size_um**2,
        "major_axis_um": table["axis_major_length"] * pixel_size_um,
        "minor_axis_um": table["axis_minor_length"] * pixel_size_um,
        "orientation_deg": np.where(orientation_deg <= -90, 90.0, orientation_deg),
        "solidity": table["solidity"],
        "eccentricity": table["eccentricity"],
        "mean_intensity": table["intensity_mean"],
        "total_intensity": table["intensity_mean"] * table["area"],
        "touches_edge": np.isin(table["label"], _labels_at_edge(signed, inside)),
    }
    return {name: np.asarray(columns[name]).astype(dtype) for name, dtype in COLUMN_TYPES.items()}


def _labels_at_edge(labels_yx: NDArray[np.int64], inside: NDArray[np.bool_] | None) -> NDArray[np.int64]:
    edge = np.ones(labels_yx.shape, bool)
    edge[1:-1, 1:-1] = False
    if inside is not None:
        edge |= binary_dilation(~inside, np.ones((3, 3), bool))
    return np.unique(labels_yx[edge])


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
