"""The compiled loops behind the quality numbers: one pass each, no array in between."""

from typing import Final

import numba
import numpy as np
from numpy.typing import NDArray

Plane = NDArray[np.float32]

BINS: Final = 4096
SSIM_WINDOW_PX: Final = 7
_C1, _C2 = 0.01**2, 0.03**2  # Wang's K1 and K2 for values in [0, 1]
# Sums in any order, and division by 0 as in IEEE 754: without these two no loop is vectorised.
_fast = numba.njit(cache=True, nogil=True, fastmath={"reassoc"}, error_model="numpy")


@_fast
def count_values(plane: Plane, histogram: NDArray[np.int64]) -> int:
    """Fill the histogram, and return the number of pixels at 1; NaN is passed over."""
    at_top = 0
    for y in range(plane.shape[0]):
        for x in range(plane.shape[1]):
            value = plane[y, x]
            if value == value:
                histogram[min(int(value * BINS), BINS - 1)] += 1
                at_top += value >= 1
    return at_top


@_fast
def sobel_sums(plane: Plane, top: int, bottom: int, left: int, right: int) -> tuple[int, float, float]:
    """Sum norm and squared norm of Sobel's gradient where all eight neighbours exist and none is NaN."""
    first, last = max(left, 1), min(right, plane.shape[1] - 1)
    pixels, norm, squared = 0, 0.0, 0.0
    for y in range(max(top, 1), min(bottom, plane.shape[0] - 1)):
        above, here = plane[y - 1, first - 1 : last + 1], plane[y, first - 1 : last + 1]
        below = plane[y + 1, first - 1 : last + 1]
        for x in range(last - first):
            ends_x = (above[x + 2] - above[x]) + (below[x + 2] - below[x])
            ends_y = (below[x] - above[x]) + (below[x + 2] - above[x + 2])
            slope_x = ends_x + 2 * (here[x + 2] - here[x])
            slope_y = ends_y + 2 * (below[x + 1] - above[x + 1])
            square = (slope_x * slope_x + slope_y * slope_y) / 64 + 0 * here[x + 1]
            known = square == square
            pixels += known
            norm += np.sqrt(square) if known else 0.0
            squared += square if known else 0.0
    return pixels, norm, squared


@_fast
def _move_down(
    sums: NDArray[np.float64],
    a_in: NDArray[np.float32],
    b_in: NDArray[np.float32],
    a_out: NDArray[np.float32],
    b_out: NDArray[np.float32],
) -> None:
    """Add a row to the columns' sums of a, b, aa + bb, ab, and take another off."""
    for x in range(a_in.size):
        a, b, c, d = np.float64(a_in[x]), np.float64(b_in[x]), np.float64(a_out[x]), np.float64(b_out[x])
        sums[0, x] += a - c
        sums[1, x] += b - d
        sums[2, x] += (a * a + b * b) - (c * c + d * d)
        sums[3, x] += a * b - c * d


@_fast
def _across(columns: NDArray[np.float64], windows: NDArray[np.float64]) -> None:
    """Write the sums of seven neighbouring columns; a loop of its own, or it is not vectorised."""
    for x in range(windows.size):
        left = (columns[x] + columns[x + 1]) + (columns[x + 2] + columns[x + 3])
        windows[x] = left + (columns[x + 4] + columns[x + 5]) + columns[x + 6]


@_fast
def _row_ssim(
    a: NDArray[np.float64],
    b: NDArray[np.float64],
    squares: NDArray[np.float64],
    products: NDArray[np.float64],
    whole: NDArray[np.uint8],
) -> tuple[int, float]:
    """Count a row's windows inside the frame, and sum their SSIM."""
    n = SSIM_WINDOW_PX**2
    windows, total = 0, 0.0
    for x in range(whole.size):
        p, q = a[x] / n, b[x] / n
        spread = (squares[x] - n * (p * p + q * q)) / (n - 1)
        common = (products[x] - n * p * q) / (n - 1)
        likeness = (2 * p * q + _C1) * (2 * common + _C2) / ((p * p + q * q + _C1) * (spread + _C2))
        windows += whole[x]
        total += likeness * whole[x]
    return windows, total


@_fast
def ssim_sums(
    first: Plane, second: Plane, whole: NDArray[np.uint8], top: int, bottom: int, left: int, right: int
) -> tuple[int, float]:
    """Sum the local SSIM over the core's pixels whose window lies in the plane and inside the frame.

    Four sums run down each column; a window is seven neighbouring columns' sums.
    """
    height, width = first.shape
    reach = SSIM_WINDOW_PX // 2
    start, stop = max(top, reach), min(bottom, height - reach)
    begin, end = max(left, reach), min(right, width - reach)
    windows, total = 0, 0.0
    if end <= begin:
        return windows, total
    low, high = begin - reach, end + reach
    sums, sevens = np.zeros((4, high - low)), np.zeros((4, end - begin))
    nothing = np.zeros(high - low, np.float32)
    for y in range(start - reach, stop + reach):
        out = y - SSIM_WINDOW_PX
        if out >= start - reach:
            _move_down(
                sums, first[y, low:high], second[y, low:high], first[out, low:high], second[out, low:high]
            )
        else:
            _move_down(sums, first[y, low:high], second[y, low:high], nothing, nothing)
        if y >= start + reach:
            for k in range(4):
                _across(sums[k], sevens[k])
            more, ssim = _row_ssim(sevens[0], sevens[1], sevens[2], sevens[3], whole[y - reach, begin:end])
            windows += more
            total += ssim
    return windows, total
