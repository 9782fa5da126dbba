"""Pixels of pictures: contrast, size, outlines and sheets of tiles. Arrays in, arrays out."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt
from PIL import Image

LONGEST_PX: Final = 1280
SMALLEST_PX: Final = 800
WHITE: Final = 255


def plane(array: npt.NDArray[Any], name: str) -> npt.NDArray[Any]:
    """Check that an array is one plane with pixels in it.

    Raises
    ------
    ValueError
        The array has other than two axes, or none of its pixels.
    """
    if array.ndim != 2 or array.size == 0:
        raise ValueError(
            f"{name}: expected one plane with axes y, x and at least one pixel, found shape {array.shape}; "
            "choose one time, channel and depth before drawing"
        )
    return array


def limits(
    array: npt.NDArray[Any], *, low_percent: float = 0.5, high_percent: float = 99.7
) -> tuple[float, float]:
    """Find the grey values that become black and white: two percentiles of the finite values."""
    finite = array[np.isfinite(array)]
    if finite.size == 0:
        return 0.0, 0.0
    low, high = np.percentile(finite, [low_percent, high_percent])
    return float(low), float(high)


def stretched(
    array: npt.NDArray[Any], *, between: tuple[float, float] | None = None
) -> npt.NDArray[np.uint8]:
    """Stretch grey values to 0 to 255.

    Parameters
    ----------
    array
        Grey values on any axes.
    between
        Values that become black and white; percentiles 0.5 and 99.7 of the array when not given.

    Returns
    -------
    numpy.ndarray
        uint8 of the same shape; all 0 when there is no contrast. What is not a number is 0.
    """
    low, high = limits(array) if between is None else between
    if high <= low:
        return np.zeros(array.shape, np.uint8)
    scaled = (array.astype(np.float32) - low) * (255.0 / (high - low))
    grey: npt.NDArray[np.uint8] = np.nan_to_num(scaled, posinf=255.0).clip(0, 255).round().astype(np.uint8)
    return grey


def shown_shape(
    shape_yx: tuple[int, ...], *, longest_px: int = LONGEST_PX, smallest_px: int = SMALLEST_PX
) -> tuple[int, int]:
    """Choose the size at which a plane is drawn.

    A large plane shrinks until its longer side is ``longest_px``. A small one grows by a whole factor, as far
    as its longer side stays within ``smallest_px``, so that an outline is thin beside a cell.
    """
    height, width = shape_yx
    longest = max(height, width)
    if longest > longest_px:
        return max(1, round(height * longest_px / longest)), max(1, round(width * longest_px / longest))
    factor = max(1, smallest_px // longest)
    return height * factor, width * factor


def resized(yx: npt.NDArray[Any], shape_yx: tuple[int, int]) -> npt.NDArray[np.float32]:
    """Resize grey values: the mean over area when shrinking, pixels repeated when growing."""
    values = np.nan_to_num(yx.astype(np.float32), posinf=0.0, neginf=0.0)
    if yx.shape == shape_yx:
        return values
    image = Image.fromarray(values).resize(shape_yx[::-1], Image.Resampling.BOX)
    return np.asarray(image, dtype=np.float32)


def resized_labels(yx: npt.NDArray[Any], shape_yx: tuple[int, int]) -> npt.NDArray[Any]:
    """Resize labels: every drawn pixel takes the label under its centre, so no label is made up."""
    rows, columns = (
        ((np.arange(new) + 0.5) * old / new).astype(np.intp)
        for new, old in zip(shape_yx, yx.shape, strict=True)
    )
    return np.asarray(yx[rows[:, None], columns[None, :]])


def outlines(labels_yx: npt.NDArray[Any], *, width_px: int = 1) -> npt.NDArray[np.bool_]:
    """Mark the pixels of every label that lie along its border.

    A pixel counts if it belongs to a label and one of its four neighbours belongs to another label or to the
    background; the edge of the picture is no border. A wider outline grows inward and never leaves its label.

    Parameters
    ----------
    labels_yx
        Labels, 0 for the background.
    width_px
        Width of the outline, 1 or more pixels.

    Returns
    -------
    numpy.ndarray
        bool of the same shape.
    """
    marked = np.zeros(labels_yx.shape, bool)
    for _ in range(width_px):
        marked |= _border(np.where(marked, 0, labels_yx))
    return marked


def _border(labels_yx: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Mark label pixels with a four-neighbour that is different."""
    border = np.zeros(labels_yx.shape, bool)
    down = labels_yx[1:] != labels_yx[:-1]
    right = labels_yx[:, 1:] != labels_yx[:, :-1]
    border[1:] |= down
    border[:-1] |= down
    border[:, 1:] |= right
    border[:, :-1] |= right
    border &= labels_yx != 0
    return border


def tiled(nyx: npt.NDArray[np.uint8], *, columns: int, gap_px: int) -> npt.NDArray[np.uint8]:
    """Lay tiles out in rows on white, from left to right, with a gap between them.

    Returns
    -------
    numpy.ndarray
        uint8 on y, x: ceil(n / columns) rows of tiles.
    """
    count, height, width = nyx.shape
    rows = -(-count // columns)
    sheet = np.full((rows * (height + gap_px) - gap_px, columns * (width + gap_px) - gap_px), WHITE, np.uint8)
    for number, yx in enumerate(nyx):
        top, left = (number // columns) * (height + gap_px), (number % columns) * (width + gap_px)
        sheet[top : top + height, left : left + width] = yx
    return sheet


def scale_bar_um(width_um: float) -> float:
    """Choose the length of a scale bar: 1, 2 or 5 times a power of ten, at most a quarter of the width."""
    room = width_um / 4
    power = 10.0 ** np.floor(np.log10(room))
    return float(power * max(step for step in (1, 2, 5) if step * power <= room))
