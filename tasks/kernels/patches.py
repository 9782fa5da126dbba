"""Small pictures of single cells, all of one size."""

import math
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from skimage.transform import resize

from tasks.kernels.checks import finite_float32, require_plane

Mode = Literal["pad", "resize"]
_BOX_COLUMNS = ("bbox_y0_px", "bbox_x0_px", "bbox_y1_px", "bbox_x1_px")


def patch_size_px(
    heights_px: NDArray[np.generic],
    widths_px: NDArray[np.generic],
    percentile: float = 99.0,
    multiple: int = 8,
) -> int:
    """Side of a square patch that holds nearly every cell.

    Parameters
    ----------
    heights_px, widths_px
        Sides of the cells' boxes, px, equally long.
    percentile
        Share of the cells, in percent, whose longer side fits.
    multiple
        The side is rounded up to a multiple of this, as networks that halve several times want.

    Raises
    ------
    ValueError
        If there is no cell, or an option is out of range.
    """
    if heights_px.size == 0 or heights_px.shape != widths_px.shape:
        raise ValueError(
            f"expected as many heights as widths, one or more, found {heights_px.shape} and {widths_px.shape}"
        )
    if not 0 <= percentile <= 100 or multiple < 1:
        raise ValueError(
            f"expected percentile in [0, 100] and multiple above 0, found {percentile}, {multiple}"
        )
    side_px = float(np.percentile(np.maximum(heights_px, widths_px), percentile))
    return math.ceil(side_px / multiple) * multiple


def crop_and_pad(
    yx: NDArray[np.generic],
    labels_yx: NDArray[np.generic],
    label: int,
    bbox: Sequence[int],
    *,
    size_px: int,
    keep_background: bool = False,
) -> NDArray[np.float32]:
    """Cut a cell out at its true size.

    Parameters
    ----------
    yx
        Image, axes y x.
    labels_yx
        Labels of the same shape.
    label
        The cell.
    bbox
        Its box (y0, x0, y1, x1), px, ends excluded.
    size_px
        Side of the patch, px. A larger cell loses its rim: the patch shows the centre of its box.
    keep_background
        Keep what lies round the cell; else it is 0.

    Returns
    -------
    Float32, axes y x, (size_px, size_px). Its pixel size_px // 2 is the box's middle pixel. 0 beyond the
    image.

    Raises
    ------
    ValueError
        If shapes differ, the box is empty or leaves the image, or the size is not positive.
    """
    _check(yx, labels_yx, bbox, size_px)
    patch = np.zeros((size_px, size_px), np.float32)
    _cut(yx, labels_yx, label, bbox, patch, keep_background)
    return patch


def crop_and_resize(
    yx: NDArray[np.generic],
    labels_yx: NDArray[np.generic],
    label: int,
    bbox: Sequence[int],
    *,
    size_px: int,
    keep_background: bool = False,
) -> NDArray[np.float32]:
    """Cut a cell out and scale it so that its longer side fills the patch.

    Parameters
    ----------
    yx, labels_yx, label, bbox, size_px, keep_background
        As for `crop_and_pad`.

    Returns
    -------
    Float32, axes y x, (size_px, size_px). The aspect is kept, the shorter side is padded evenly. Linear
    interpolation; what is made smaller is smoothed before, against aliasing.

    Raises
    ------
    ValueError
        As for `crop_and_pad`.
    """
    _check(yx, labels_yx, bbox, size_px)
    side_px = max(bbox[2] - bbox[0], bbox[3] - bbox[1])
    square = np.zeros((side_px, side_px), np.float32)
    _cut(yx, labels_yx, label, bbox, square, keep_background)
    scaled = resize(square, (size_px, size_px), order=1, anti_aliasing=side_px > size_px)
    return np.asarray(scaled, np.float32)


def extract_patches(
    yx: NDArray[np.generic],
    labels_yx: NDArray[np.generic],
    cells: Mapping[str, NDArray[np.generic]],
    *,
    size_px: int,
    mode: Mode = "pad",
    keep_background: bool = False,
) -> NDArray[np.float32]:
    """Cut out every cell of a table.

    Parameters
    ----------
    yx
        Image, axes y x.
    labels_yx
        Labels of the same shape.
    cells
        Columns label, bbox_y0_px, bbox_x0_px, bbox_y1_px, bbox_x1_px, as `measure_cells` gives them.
    size_px
        Side of a patch, px.
    mode
        "pad" keeps the true size (`crop_and_pad`), "resize" fills the patch (`crop_and_resize`).
    keep_background
        Keep what lies round a cell; else it is 0.

    Returns
    -------
    Float32, axes n y x; row n shows row n of the table.

    Raises
    ------
    ValueError
        If the mode is unknown, or as for `crop_and_pad`.
    KeyError
        If a column is missing.
    """
    if mode not in ("pad", "resize"):
        raise ValueError(f"mode: expected pad or resize, found {mode!r}")
    cut = crop_and_pad if mode == "pad" else crop_and_resize
    labels = cells["label"].tolist()
    boxes = np.stack([cells[name] for name in _BOX_COLUMNS], axis=1).astype(int).tolist()
    patches = np.zeros((len(labels), size_px, size_px), np.float32)
    for patch, label, bbox in zip(patches, labels, boxes, strict=True):
        patch[:] = cut(yx, labels_yx, label, bbox, size_px=size_px, keep_background=keep_background)
    return patches


def _cut(
    yx: NDArray[np.generic],
    labels_yx: NDArray[np.generic],
    label: int,
    bbox: Sequence[int],
    patch: NDArray[np.float32],
    keep_background: bool,
) -> None:
    """Copy the pixels round the box's middle into the square patch, as far as the image reaches."""
    side_px = patch.shape[0]
    source, target = [], []
    for axis in (0, 1):
        start = (bbox[axis] + bbox[axis + 2]) // 2 - side_px // 2
        low, high = max(start, 0), min(start + side_px, yx.shape[axis])
        source.append(slice(low, high))
        target.append(slice(low - start, high - start))
    pixels = finite_float32(yx[tuple(source)])
    if not keep_background:
        pixels = np.where(labels_yx[tuple(source)] == label, pixels, np.float32(0))
    patch[tuple(target)] = pixels


def _check(
    yx: NDArray[np.generic], labels_yx: NDArray[np.generic], bbox: Sequence[int], size_px: int
) -> None:
    require_plane(yx)
    if yx.shape != labels_yx.shape:
        raise ValueError(f"expected image and labels of one shape, found {yx.shape} and {labels_yx.shape}")
    if size_px < 1:
        raise ValueError(f"size_px: expected 1 px or more, found {size_px}")
    y0, x0, y1, x1 = bbox
    if not (0 <= y0 < y1 <= yx.shape[0] and 0 <= x0 < x1 <= yx.shape[1]):
        raise ValueError(f"bbox: expected y0 < y1 and x0 < x1 inside {yx.shape}, found {tuple(bbox)}")
