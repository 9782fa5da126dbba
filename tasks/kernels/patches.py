"""Small pictures of single cells, all of one size."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tasks.kernels.checks import require_plane
from tasks.kernels.patches_loops import copy_cells, cut_halves, halve, resize_cells, turn_cells

Mode = Literal["pad", "resize"]
CELLS_AT_ONCE = 64
LARGEST_HALF = np.float32(65504).view(np.uint32)
Seen = tuple[
    NDArray[np.float32], NDArray[Any], NDArray[Any], NDArray[np.int64], NDArray[np.float64], bool
]  # image, labels, then of each cell label, box and turn, and whether the background is kept
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
    return _single(yx, labels_yx, label, bbox, size_px, "pad", keep_background)


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
    interpolation; what is made smaller is averaged, against aliasing.

    Raises
    ------
    ValueError
        As for `crop_and_pad`.
    """
    return _single(yx, labels_yx, label, bbox, size_px, "resize", keep_background)


def extract_patches(
    yx: NDArray[np.generic],
    labels_yx: NDArray[np.generic],
    cells: Mapping[str, NDArray[np.generic]],
    *,
    size_px: int,
    mode: Mode = "pad",
    keep_background: bool = False,
    turns_deg: NDArray[np.floating] | None = None,
    dtype: str = "float32",
) -> NDArray[Any]:
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
    turns_deg
        Counter-clockwise angle on the screen by which each cell is turned, (n,); None: none is. A turned
        cell lies in the middle, and fills the patch, by its extent along the patch's axes; linear
        interpolation.
    dtype
        float32, or what `as_stored` turns it into, a few cells at a time while they are in the cache.

    Returns
    -------
    Axes n y x; row n shows row n of the table.

    Raises
    ------
    ValueError
        If the mode is unknown, a patch would hold NaN or infinity, or as for `crop_and_pad`.
    KeyError
        If a column is missing.
    """
    if mode not in ("pad", "resize"):
        raise ValueError(f"mode: expected pad or resize, found {mode!r}")
    labels = np.asarray(cells["label"]).astype(labels_yx.dtype)
    boxes = np.stack([np.asarray(cells[name]).astype(np.int64) for name in _BOX_COLUMNS], axis=1)
    _check(yx, labels_yx, boxes, size_px)
    turns_rad = np.deg2rad(np.zeros(0) if turns_deg is None else turns_deg).astype(np.float64)
    seen = (yx.astype(np.float32, copy=False), labels_yx, labels, boxes, turns_rad, keep_background)
    patches = np.empty((len(labels), size_px, size_px), dtype)
    if dtype != "float16" or not _fill_halves(patches, seen, mode == "resize"):
        _fill(patches, seen, mode == "resize")
    return patches


def _fill_halves(patches: NDArray[np.float16], seen: Seen, fill: bool) -> bool:
    """Cut cells; False, and the patches are of no use, unless all numbers are from 0 to 65504."""
    block = np.empty((1, *patches.shape[1:]), np.float32)
    room = (block, block.view(np.uint32).ravel())
    return bool(cut_halves(*seen, fill, room, patches.view(np.uint16)) <= LARGEST_HALF)


def _fill(patches: NDArray[Any], seen: Seen, fill: bool) -> None:
    """Cut cells, a few at a time: these stay in the cache while they are turned into what is stored."""
    yx, labels_yx, labels, boxes, turns_rad, keep = seen
    block = np.empty((CELLS_AT_ONCE, *patches.shape[1:]), np.float32)
    for start in range(0, len(labels), CELLS_AT_ONCE):
        some = slice(start, start + CELLS_AT_ONCE)
        cut = block[: len(labels[some])]
        cut[:] = 0
        if turns_rad.size:
            turn_cells(yx, labels_yx, labels[some], boxes[some], turns_rad[some], keep, fill, cut)
        elif fill:
            resize_cells(yx, labels_yx, labels[some], boxes[some], keep, cut)
        else:
            copy_cells(yx, labels_yx, labels[some], boxes[some], keep, cut)
        _require_finite(cut)
        patches[some] = as_stored(cut, patches.dtype.name)


def as_stored(values: NDArray[np.float32], dtype: str) -> NDArray[Any]:
    """Return numbers from 0 to 1 as floats, or as rounded shares of an integer type's largest number."""
    if dtype == "float16":
        return _as_float16(values)
    if np.dtype(dtype).kind == "f":
        return values.astype(dtype)
    shares: NDArray[Any] = np.rint(np.clip(values, 0, 1) * np.float32(np.iinfo(dtype).max)).astype(dtype)
    return shares


def _as_float16(values: NDArray[np.float32]) -> NDArray[np.float16]:
    """Convert as numpy does, which takes one number after the other and most of the time of a patch."""
    plain = np.ascontiguousarray(values, np.float32)
    flat, out = plain.ravel(), np.empty(plain.shape, np.float16)
    most = halve(flat, flat.view(np.uint32), out.view(np.uint16).ravel())
    return out if most <= LARGEST_HALF else plain.astype(np.float16)


def _require_finite(nyx: NDArray[np.float32]) -> None:
    if not np.isfinite(nyx).all():
        bad = int((~np.isfinite(nyx)).sum())
        raise ValueError(
            f"yx: expected finite values, found {bad} NaN or infinite pixels in patches; replace them (by "
            "the median, say) before this step"
        )


def _single(
    yx: NDArray[np.generic],
    labels_yx: NDArray[np.generic],
    label: int,
    bbox: Sequence[int],
    size_px: int,
    mode: Mode,
    keep_background: bool,
) -> NDArray[np.float32]:
    cells = {"label": np.array([label])} | {
        name: np.array([edge]) for name, edge in zip(_BOX_COLUMNS, bbox, strict=True)
    }
    nyx = extract_patches(yx, labels_yx, cells, size_px=size_px, mode=mode, keep_background=keep_background)
    patch_yx: NDArray[np.float32] = nyx[0]
    return patch_yx


def _check(
    yx: NDArray[np.generic], labels_yx: NDArray[np.generic], boxes: NDArray[np.int64], size_px: int
) -> None:
    require_plane(yx)
    if yx.shape != labels_yx.shape:
        raise ValueError(f"expected image and labels of one shape, found {yx.shape} and {labels_yx.shape}")
    if size_px < 1:
        raise ValueError(f"size_px: expected 1 px or more, found {size_px}")
    low, high = boxes[:, :2], boxes[:, 2:]
    good = ((low >= 0) & (low < high) & (high <= yx.shape)).all(axis=1)
    if not good.all():
        first = tuple(boxes[np.flatnonzero(~good)[0]].tolist())
        raise ValueError(f"bbox: expected y0 < y1 and x0 < x1 inside {yx.shape}, found {first}")
