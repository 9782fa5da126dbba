"""The common direction of bright nuclei, voted from the second moments of each."""

import cv2
import numpy as np
from numpy.typing import NDArray
from skimage.filters import threshold_otsu

SMALLEST_PX = 20
_LEAST_SHARE, _LARGEST_SHARE = 0.4, 1.7  # of the median area: neither debris nor nuclei that touch
_UNDECIDED = 12.0


def nuclei_votes(smooth_yx: NDArray[np.float32], angles_deg: NDArray[np.float64]) -> NDArray[np.float64]:
    """Vote for the rotation that makes the long axes of the nuclei vertical.

    Each bright spot (above the threshold of Otsu, IEEE SMC 9:62, 1979) that is whole and of about the usual
    area has one vote. The share e = (a - b) / (a + b) of it, where a and b are the larger and smaller second
    moment, goes to the direction of its long axis; the rest is spread over all directions, and so are twelve
    votes more. So round nuclei, few nuclei and nuclei that point anywhere leave the votes about level.

    Parameters
    ----------
    smooth_yx
        Image with bright nuclei, smoothed, finite, not constant, axes y x.
    angles_deg
        The directions voted for: equal steps from -90 to 90, the end left out; counter-clockwise rotations.

    Returns
    -------
    Votes of `angles_deg`, not negative, sum 1; all 0 without any nucleus.
    """
    votes = np.zeros(angles_deg.size)
    directions_deg, shares = _axes(smooth_yx)
    if not directions_deg.size:
        return votes
    nearest = np.rint((directions_deg - angles_deg[0]) / (180 / votes.size)).astype(int) % votes.size
    np.add.at(votes, nearest, shares)
    votes += (_UNDECIDED + (1 - shares).sum()) / votes.size
    total: NDArray[np.float64] = votes / votes.sum()
    return total


def _axes(yx: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Rotation that makes it vertical, degrees, and elongation in [0, 1], of each usable nucleus."""
    bright = (yx > threshold_otsu(yx)).astype(np.uint8)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(bright, connectivity=4)
    area = stats[:, cv2.CC_STAT_AREA]
    usual = _whole(stats, yx.shape) & (area >= SMALLEST_PX)
    usual[0] = False
    if not usual.any():
        return np.empty(0), np.empty(0)
    share = area / np.median(area[usual])
    usual &= (share > _LEAST_SHARE) & (share < _LARGEST_SHARE)
    yy, xx, xy = _second_moments(labels, count, area)[:, usual]
    spread = np.hypot(xx - yy, 2 * xy)
    along_deg = np.rad2deg(0.5 * np.arctan2(2 * xy, xx - yy))  # of the long axis from x, clockwise
    return along_deg - 90, spread / np.maximum(xx + yy, np.finfo(float).tiny)


def _whole(stats: NDArray[np.int32], shape_yx: tuple[int, ...]) -> NDArray[np.bool_]:
    """Spots that touch no edge of the image, which would cut them along it."""
    left, top = stats[:, cv2.CC_STAT_LEFT], stats[:, cv2.CC_STAT_TOP]
    right, bottom = left + stats[:, cv2.CC_STAT_WIDTH], top + stats[:, cv2.CC_STAT_HEIGHT]
    whole: NDArray[np.bool_] = (left > 0) & (top > 0) & (right < shape_yx[1]) & (bottom < shape_yx[0])
    return whole


def _second_moments(labels: NDArray[np.int32], count: int, area: NDArray[np.int32]) -> NDArray[np.float64]:
    """Central moments yy, xx, xy of each label, shape (3, count), px^2."""
    y, x = (places.astype(float) for places in np.nonzero(labels))
    label = labels[labels > 0]

    def mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.bincount(label, weights=values, minlength=count) / area

    mean_y, mean_x = mean(y), mean(x)
    y, x = y - mean_y[label], x - mean_x[label]
    return np.stack([mean(y * y), mean(x * x), mean(x * y)])
