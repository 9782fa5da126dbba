"""The compiled loops of CLAHE (see `tasks.kernels.clahe`, which says what they compute)."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.kernels.compiling import compiled


@compiled
def count_bins(
    levels: NDArray[np.uint16],
    bins: NDArray[np.uint16],
    runs_y: NDArray[np.intp],
    runs_x: NDArray[np.intp],
    counts: NDArray[np.uint32],
) -> None:
    """Count the pixels of every box of two runs in that box's tile."""
    for y0, y1, tile_y in runs_y:
        for y in range(y0, y1):
            for x0, x1, tile_x in runs_x:
                row, histogram = levels[y, x0:x1], counts[tile_y, tile_x]
                for x in range(row.size):
                    histogram[bins[row[x]]] += np.uint32(1)


@compiled
def map_histograms(
    counts: NDArray[np.uint32], limit: int, levels_per_pixel: float, top: int, maps: NDArray[np.uint16]
) -> None:
    """Cut every histogram, axes tile and bin, at the limit, spread what was cut, and sum it to a map."""
    histogram = np.empty(counts.shape[1], np.int64)
    for tile in range(counts.shape[0]):
        histogram[:] = counts[tile]
        left, open_bins = _clip(histogram, limit)
        _spread(histogram, limit, left, open_bins)
        total = 0
        for bin_ in range(histogram.size):
            total += histogram[bin_]
            maps[tile, bin_] = np.uint16(np.int32(min(total * levels_per_pixel, np.float64(top))))


@compiled
def _clip(histogram: NDArray[np.int64], limit: int) -> Any:
    """Cut, give every bin the same share; return what is left to give, and how many bins can take it."""
    left = 0
    for count in histogram:
        left += max(count - limit, 0)
    share = left // histogram.size
    open_bins = 0
    for bin_ in range(histogram.size):
        count = histogram[bin_]
        given = count + share if count + 2 * share < limit else limit
        histogram[bin_] = given
        left -= given - min(count, limit)
        open_bins += given < limit
    return left, open_bins


@compiled
def _spread(histogram: NDArray[np.int64], limit: int, left: int, open_bins: int) -> None:
    """Give what is left to evenly spaced bins, from ever later ones on, until it is gone or no bin is open.

    A round is given whole, so a few more pixels than are left may be given: as in scikit-image.
    """
    first = 0
    while left > 0 and open_bins > 0:
        spacing = max(1, open_bins // left)
        for bin_ in range(first, histogram.size, spacing):
            if histogram[bin_] < limit:
                histogram[bin_] += 1
                left -= 1
                open_bins -= histogram[bin_] == limit
        first = (first + 1) % histogram.size


@compiled
def blend_maps(
    levels: NDArray[np.uint16],
    bins: NDArray[np.uint16],
    maps: NDArray[np.uint16],
    runs_y: NDArray[np.intp],
    shares_y: NDArray[np.float64],
    runs_x: NDArray[np.intp],
    shares_x: NDArray[np.float64],
    equalised: NDArray[np.uint16],
) -> None:
    """Send every level through the maps of the four tiles around it, and blend by the shares."""
    corners = np.empty((runs_x.shape[0], maps.shape[2]), np.uint64)
    found = np.empty(levels.shape[1], np.uint64)
    for y0, y1, above, below in runs_y:
        _pack(maps[above], maps[below], runs_x, corners)
        for y in range(y0, y1):
            for run in range(runs_x.shape[0]):
                x0, x1 = runs_x[run, 0], runs_x[run, 1]
                row, here = levels[y, x0:x1], corners[run]
                for x in range(row.size):
                    found[x] = here[bins[row[x]]]
                _blend(found, shares_y[y], shares_x[x0:x1], equalised[y, x0:x1])


@compiled
def _pack(
    above: NDArray[np.uint16],
    below: NDArray[np.uint16],
    runs_x: NDArray[np.intp],
    corners: NDArray[np.uint64],
) -> None:
    """Put the levels of four tiles side by side in 64 bits: one look-up a pixel instead of four."""
    for run in range(runs_x.shape[0]):
        left, right = runs_x[run, 2], runs_x[run, 3]
        for bin_ in range(corners.shape[1]):
            upper = np.uint64(above[left, bin_]) | np.uint64(above[right, bin_]) << np.uint64(16)
            lower = np.uint64(below[left, bin_]) | np.uint64(below[right, bin_]) << np.uint64(16)
            corners[run, bin_] = upper | lower << np.uint64(32)


@compiled
def _blend(
    found: NDArray[np.uint64], lower: float, shares: NDArray[np.float64], equalised: NDArray[np.uint16]
) -> None:
    # Products in float64, rounded and summed in float32 in this order: what is cut off depends on it.
    upper = 1 - lower
    low_half, half = np.uint32(0xFFFF), np.uint32(16)
    for x in range(shares.size):
        right = shares[x]
        left = 1 - right
        above, below = np.uint32(found[x]), np.uint32(found[x] >> np.uint64(32))
        level = np.float32(np.int32(above & low_half) * (left * upper))
        level += np.float32(np.int32(above >> half) * (right * upper))
        level += np.float32(np.int32(below & low_half) * (left * lower))
        level += np.float32(np.int32(below >> half) * (right * lower))
        equalised[x] = np.uint16(np.int32(level))
