"""Grey levels: a plane in 16384 whole steps, their counts, percentiles, and the way back to [0, 1].

Counts of parts of a plane add up, so range and percentiles of a plane that never fits memory are exact.
"""

from functools import partial
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tasks.kernels.checks import require_plane
from tasks.kernels.compiling import compiled
from tasks.kernels.percentiles import between, neighbours, require_percentiles

LEVELS: Final = 16384  # as many as scikit-image's CLAHE works with
_SHORT: Final = 65536  # tables are as long as uint16 goes, so that no index is ever outside
_TOP_STEP: Final = 65535
_COMPILED: Final = ("uint8", "uint16", "float32", "float64")


def value_range(yx: NDArray[np.generic]) -> tuple[float, float]:
    """Find the lowest and the highest value of a plane, or of a part of one.

    Parameters
    ----------
    yx
        Axes y x, any real dtype.

    Returns
    -------
    Lowest, highest.

    Raises
    ------
    ValueError
        If it is no plane, or not finite.
    TypeError
        If it holds no real numbers.
    """
    require_plane(yx)
    low, high = float(yx.min()), float(yx.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        bad = int((~np.isfinite(yx)).sum())
        raise ValueError(
            f"yx: expected finite values, found {bad} NaN or infinite pixels of {yx.size}; "
            "replace them (by the median, say) before this step"
        )
    return low, high


def grey_levels(yx: NDArray[np.generic], low: float, high: float) -> NDArray[np.uint16]:
    """Bring values to whole grey levels 0 to 16383.

    Parameters
    ----------
    yx
        A plane or a part of one, axes y x, any real dtype, finite.
    low, high
        Lowest and highest value of the whole plane; values beyond become the first and the last level.

    Returns
    -------
    Levels, uint16, axes y x.

    Raises
    ------
    ValueError
        If it is no plane, or low is above high.

    Notes
    -----
    As scikit-image does it: integers go straight from `low..high` to the levels, halves to even. Floats
    within [0, 1] are first rounded to 65536 steps. Other floats, which scikit-image refuses or cuts at 0,
    are treated as integers are. A constant plane keeps its value, as 16 bits, up to the last level.
    """
    require_plane(yx)
    if not low <= high:
        raise ValueError(f"range: expected low <= high, found {low} and {high}; pass the plane's own range")
    if yx.dtype == np.float16:
        yx = yx.astype(np.float32)
    elif yx.dtype.name not in _COMPILED:
        yx = yx.astype(np.float64)
    if yx.dtype.kind == "f" and low >= 0 and high <= 1:
        bottom, top = (float(end) for end in np.rint(np.array([low, high], yx.dtype) * _TOP_STEP))
        quantise = partial(_levels_of_steps, yx, np.array(_TOP_STEP, yx.dtype)[()])
    else:
        bottom, top = low, high
        quantise = partial(_levels_of_values, yx)
    if bottom == top:
        as_16_bits = bottom * 257 if yx.dtype == np.uint8 else bottom
        return np.full(yx.shape, np.clip(as_16_bits, 0, LEVELS - 1), np.uint16)
    levels = np.empty(yx.shape, np.uint16)
    quantise(bottom, top, levels)
    return levels


def level_counts(levels: NDArray[np.uint16]) -> NDArray[np.int64]:
    """Count the pixels of every level.

    Parameters
    ----------
    levels
        Levels 0 to 16383, uint16, any shape.

    Returns
    -------
    Counts of the 16384 levels, int64. Those of parts add up to those of the whole.

    Raises
    ------
    ValueError
        If there is a higher level.
    TypeError
        If they are not uint16.
    """
    require_levels(levels)
    counts = np.zeros((2, _SHORT), np.int64)
    _count(levels.ravel(), counts)
    if counts[:, LEVELS:].any():
        raise ValueError(f"levels: expected 0 to {LEVELS - 1}, found {levels.max()}; see grey_levels")
    together: NDArray[np.int64] = counts.sum(axis=0)[:LEVELS]
    return together


def require_levels(levels: NDArray[Any]) -> None:
    """Raise TypeError unless the array holds grey levels, which are uint16."""
    if levels.dtype != np.uint16:
        raise TypeError(f"levels: expected uint16, found {levels.dtype}; see grey_levels")


def limits_from_counts(
    counts: NDArray[np.int64], low_percentile: float, high_percentile: float
) -> tuple[float, float]:
    """Find two percentiles of levels from the levels' counts; 0 and 100 give their range.

    Parameters
    ----------
    counts
        Counts of the levels, one axis.
    low_percentile, high_percentile
        0 <= low < high <= 100.

    Returns
    -------
    Both, in levels: those that `np.percentile` (linear) gives for the levels themselves.

    Raises
    ------
    ValueError
        If the percentiles are out of order, or nothing was counted.
    """
    below = np.cumsum(counts)
    if below[-1] == 0:
        raise ValueError("percentiles: expected at least one pixel, found none; count the levels of one")
    require_percentiles(low_percentile, high_percentile)
    ranks, shares = neighbours(int(below[-1]), low_percentile, high_percentile)
    return between(np.searchsorted(below, ranks, side="right").astype(np.float64), shares)


def stretch(
    levels: NDArray[np.uint16], low: float, high: float, limits: tuple[float, float] | None = None
) -> NDArray[np.float32]:
    """Stretch equalised levels to [0, 1] and clip them.

    Parameters
    ----------
    levels
        Levels of a plane or a part of one, uint16, axes y x.
    low, high
        Lowest and highest level of the whole plane.
    limits
        Levels, whole or not, to which those beyond are set (see `limits_from_counts`); None clips nothing.

    Returns
    -------
    Float32 in [0, 1], axes y x: (level - low) / (high - low). Where the plane is constant, as in
    scikit-image, 0 for level 0 and 1 for any other.

    Raises
    ------
    TypeError
        If the levels are not uint16.
    """
    require_levels(levels)
    table = np.arange(_SHORT, dtype=np.float64)
    if limits is not None:
        table = np.clip(table, *limits)
    if low < high:
        table = (table - low) / (high - low)
    values = np.empty(levels.shape, np.float32)
    _look_up(levels, np.clip(table, 0, 1).astype(np.float32), values)
    return values


@compiled
def _levels_of_values(yx: NDArray[Any], low: float, high: float, levels: NDArray[np.uint16]) -> None:
    top = np.float64(LEVELS - 1)
    for y in range(yx.shape[0]):
        for x in range(yx.shape[1]):
            level = np.float64(yx[y, x])
            level = np.rint((level - low) / (high - low) * top)
            levels[y, x] = np.uint16(np.int32(min(max(level, 0.0), top)))


@compiled
def _levels_of_steps(
    yx: NDArray[Any], steps: Any, low: float, high: float, levels: NDArray[np.uint16]
) -> None:
    top = np.float64(LEVELS - 1)
    for y in range(yx.shape[0]):
        for x in range(yx.shape[1]):
            level = np.float64(np.rint(yx[y, x] * steps))
            level = np.rint((level - low) / (high - low) * top)
            levels[y, x] = np.uint16(np.int32(min(max(level, 0.0), top)))


@compiled
def _count(levels: NDArray[np.uint16], counts: NDArray[np.int64]) -> None:
    # Two rows of counts in turn: one pixel need not wait for the sum of its equal neighbour.
    for i in range(levels.size):
        counts[i & 1, levels[i]] += 1


@compiled
def _look_up(levels: NDArray[np.uint16], table: NDArray[np.float32], values: NDArray[np.float32]) -> None:
    for y in range(levels.shape[0]):
        for x in range(levels.shape[1]):
            values[y, x] = table[levels[y, x]]
