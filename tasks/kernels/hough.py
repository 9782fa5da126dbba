"""The straight-line Hough transform (Duda and Hart, CACM 15:11, 1972), a line of votes for each angle."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.kernels.compiling import compiled


def hough_counts(edges_yx: NDArray[np.bool_], angles_rad: NDArray[np.float64]) -> NDArray[np.int32]:
    """Count the edge pixels at each distance from the origin, for each direction of a normal.

    Parameters
    ----------
    edges_yx
        Edge pixels, axes y x.
    angles_rad
        Directions of the normals: a pixel's distance is x cos(angle) + y sin(angle), px.

    Returns
    -------
    Axes angle, distance: distance n is n minus half of the axis's length, rounded. The transpose of what
    `skimage.transform.hough_line` gives, but for pixels halfway between two distances.
    """
    y, x = (places.astype(np.int32) for places in np.nonzero(edges_yx))
    farthest_px = int(np.ceil(np.hypot(*edges_yx.shape)))
    counts = np.zeros((angles_rad.size, 2 * farthest_px + 1), np.int32)
    _count(counts, y, x, np.cos(angles_rad), np.sin(angles_rad), farthest_px + 0.5)
    return counts


@compiled
def _count(counts: Any, y: Any, x: Any, cosines: Any, sines: Any, middle: float) -> None:
    places = np.empty(y.size, np.int32)
    for angle in range(cosines.size):
        line, cosine, sine = counts[angle], cosines[angle], sines[angle]
        for n in range(y.size):  # apart from the counting, so that this loop is vectorised
            places[n] = np.int32(x[n] * cosine + y[n] * sine + middle)
        for n in range(y.size):
            line[np.uint64(places[n])] += 1
