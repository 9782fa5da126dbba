"""Statistics of a plane that can be summed up from its parts: a histogram in fixed bins of [0, 1]."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from skimage.filters import threshold_otsu

from tasks.kernels.checks import finite_float32

BINS = 1024


def plane_histogram(yx: NDArray[np.generic], bins: int = BINS) -> NDArray[np.int64]:
    """Count the pixels of a clean plane, or of a part of it, in even bins of [0, 1].

    Parameters
    ----------
    yx
        Plane, axes y x, values in [0, 1]. Pixels that are exactly 0 lie outside the frame and are not
        counted.
    bins
        Number of bins; 1 belongs to the last.

    Returns
    -------
    Counts, int64, shape (bins,). Histograms of disjoint parts add up to that of the whole, exactly.

    Raises
    ------
    ValueError
        If a value lies outside [0, 1] or is not finite.
    """
    plane = finite_float32(yx)
    if plane.min() < 0 or plane.max() > 1:
        raise ValueError(
            f"histogram: expected values in [0, 1], found {plane.min()} to {plane.max()}; normalise first"
        )
    indices = np.minimum((plane[plane > 0] * bins).astype(np.int64), bins - 1)
    return np.bincount(indices, minlength=bins).astype(np.int64)


def add_histograms(histograms: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    """Sum the histograms of a plane's parts.

    Parameters
    ----------
    histograms
        At least one; all with the same number of bins.

    Raises
    ------
    ValueError
        If there is none, or their bins differ.
    """
    sizes = {histogram.shape for histogram in histograms}
    if len(sizes) != 1:
        raise ValueError(f"expected histograms with the same bins, found the shapes {sorted(sizes)}")
    total: NDArray[np.int64] = np.sum(histograms, axis=0, dtype=np.int64)
    return total


def otsu(histogram: NDArray[np.int64]) -> float:
    """Threshold in [0, 1] that parts the pixels best into dark and bright.

    Parameters
    ----------
    histogram
        Counts in even bins of [0, 1].

    Returns
    -------
    Centre of the last dark bin. Of a histogram with a single filled bin its centre; of an empty one 1.

    Notes
    -----
    Otsu, IEEE Trans. Syst. Man Cybern. 9:62, 1979: the largest variance between the classes.
    """
    if not histogram.any():
        return 1.0
    centres = (np.arange(histogram.size) + 0.5) / histogram.size
    if np.count_nonzero(histogram) == 1:
        return float(centres[histogram.argmax()])
    return float(threshold_otsu(hist=(histogram, centres)))


def histogram_percentiles(histogram: NDArray[np.int64], percentiles: Sequence[float]) -> tuple[float, ...]:
    """Percentiles of the counted values, right to within one bin.

    Parameters
    ----------
    histogram
        Counts in even bins of [0, 1].
    percentiles
        In [0, 100].

    Raises
    ------
    ValueError
        If nothing was counted.
    """
    if not histogram.any():
        raise ValueError("percentiles: expected a counted pixel, found none; is the whole plane 0?")
    cumulated = np.concatenate([[0], np.cumsum(histogram)])
    wanted = np.asarray(percentiles, float) / 100 * cumulated[-1]
    wanted = wanted.clip(min=np.finfo(float).tiny)  # the smallest value lies in a filled bin, too
    bins = np.searchsorted(cumulated[1:], wanted, side="left").clip(max=histogram.size - 1)
    share = (wanted - cumulated[bins]) / histogram[bins].clip(min=1)
    return tuple(float(value) for value in (bins + np.clip(share, 0, 1)) / histogram.size)
