"""Small pictures of single cells, all of one size."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tasks.kernels.checks import finite_float32, require_plane
from tasks.kernels.patches_loops import copy_cells, halve_bits, resize_cells, turn_cells

Mode = Literal["pad", "resize"]
CUTS = {"pad": copy_cells, "resize": resize_cells}
CELLS_AT_ONCE = 64
LARGEST_HALF = 65504.0
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
        If the mode is unknown, or as for `crop_and_pad`.
    KeyError
        If a column is missing.
    """
    if mode not in ("pad", "resize"):
        raise ValueError(f"mode: expected pad or resize, found {mode!r}")
    labels = np.asarray(cells["label"]).astype(np.int64)
    boxes = np.stack([np.asarray(cells[name]).astype(np.int64) for name in _BOX_COLUMNS], axis=1)
    _check(yx, labels_yx, boxes, size_px)
    patches = np.empty((len(labels), size_px, size_px), dtype)
    turns = None if turns_deg is None else np.deg2rad(turns_deg).astype(np.float64)
    _fill(patches, (finite_float32(yx), labels_yx), labels, boxes, turns, mode, keep_background)
    return patches


def _fill(
    patches: NDArray[Any],
    pictures: tuple[NDArray[np.float32], NDArray[np.generic]],
    labels: NDArray[np.int64],
    boxes: NDArray[np.int64],
    turns_rad: NDArray[np.float64] | None,
    mode: Mode,
    keep: bool,
) -> None:
    """Cut cells, a few at a time: these stay in the cache while they are turned into what is stored."""
    block = np.empty((CELLS_AT_ONCE, *patches.shape[1:]), np.float32)
    for start in range(0, len(labels), CELLS_AT_ONCE):
        some = slice(start, start + CELLS_AT_ONCE)
        cut = block[: len(labels[some])]
        cut[:] = 0
        if turns_rad is not None:
            turn_cells(*pictures, labels[some], boxes[some], turns_rad[some], keep, mode == "resize", cut)
        else:
            CUTS[mode](*pictures, labels[some], boxes[some], keep, cut)
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
    bits = plain.view(np.uint32)
    if bits.max(initial=0) > np.float32(LARGEST_HALF).view(np.uint32):  # too large, negative, not a number
        return plain.astype(np.float16)
    out = np.empty(plain.shape, np.uint16)
    halve_bits(bits.ravel(), (plain + np.float32(0.5)).view(np.uint32).ravel(), out.ravel())
    return out.view(np.float16)


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
