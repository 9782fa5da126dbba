"""Contrast of one plane: stretching, local equalisation, clipping, denoising."""

import numpy as np
from numpy.typing import NDArray
from skimage import exposure, restoration

from tasks.kernels.checks import finite_float32


def normalise(yx: NDArray[np.generic]) -> NDArray[np.float32]:
    """Stretch a plane to [0, 1]: (yx - minimum) / (maximum - minimum).

    Parameters
    ----------
    yx
        Plane, axes y x, any real dtype.

    Returns
    -------
    Float32 in [0, 1]; all 0 where the plane is constant.

    Raises
    ------
    ValueError
        If it is no plane, or not finite.
    """
    plane = finite_float32(yx)
    low, high = float(plane.min()), float(plane.max())
    if high <= low:
        return np.zeros_like(plane)
    stretched: NDArray[np.float32] = ((plane - np.float32(low)) / np.float32(high - low)).astype(np.float32)
    return np.clip(stretched, 0, 1, out=stretched)


def equalize_adapthist(
    yx: NDArray[np.generic], kernel_size: int | None = None, clip_limit: float = 0.01, nbins: int = 256
) -> NDArray[np.float32]:
    """Equalise the histogram locally with limited contrast (CLAHE).

    Parameters
    ----------
    yx
        Plane, axes y x, any real dtype; its own range is stretched to [0, 1] first.
    kernel_size
        Side of the square in which a histogram is taken, px; None takes an eighth of each side.
    clip_limit
        In [0, 1]: the share above which a bin is cut; higher gives more contrast, and more noise.
    nbins
        Grey levels of the histograms.

    Returns
    -------
    Float32 in [0, 1]; all 0 where the plane is constant. A pixel depends on the whole plane through its
    range, and on its neighbourhood of 1.5 kernels through the histograms.

    Raises
    ------
    ValueError
        If the plane is not finite, or an option is out of range.

    Notes
    -----
    Zuiderveld, Contrast limited adaptive histogram equalization, Graphics Gems IV, 1994, as scikit-image
    computes it.
    """
    if not 0 <= clip_limit <= 1 or nbins < 2 or (kernel_size is not None and kernel_size < 1):
        raise ValueError(
            "CLAHE: expected clip_limit in [0, 1], nbins of 2 or more, kernel_size of 1 px or more or None, "
            f"found {clip_limit}, {nbins}, {kernel_size}"
        )
    plane = normalise(yx)
    if not plane.any():
        return plane
    equalised = exposure.equalize_adapthist(plane, kernel_size, clip_limit, nbins)
    kept: NDArray[np.float32] = np.clip(equalised, 0, 1).astype(np.float32)
    return kept


def clip_percentile(
    yx: NDArray[np.generic], low: float, high: float, *, inside: NDArray[np.bool_] | None = None
) -> NDArray[np.float32]:
    """Limit the values to the range between two percentiles.

    Parameters
    ----------
    yx
        Plane, axes y x, any real dtype.
    low, high
        Percentiles, 0 <= low < high <= 100.
    inside
        Pixels whose percentiles are taken, boolean, axes y x; None takes all.

    Returns
    -------
    Float32, values below the low percentile set to it and above the high one likewise.

    Raises
    ------
    ValueError
        If the percentiles are out of order, the plane is not finite, or no pixel is inside.
    """
    if not 0 <= low < high <= 100:
        raise ValueError(f"percentiles: expected 0 <= low < high <= 100, found {low} and {high}")
    plane = finite_float32(yx)
    pixels = plane if inside is None else plane[inside]
    if pixels.size == 0:
        raise ValueError("percentiles: expected at least one pixel inside, found none; pass inside=None")
    limits = np.percentile(pixels, (low, high))
    return np.clip(plane, np.float32(limits[0]), np.float32(limits[1]))


def denoise_tv_chambolle(
    yx: NDArray[np.generic], weight: float = 0.02, eps: float = 2e-4, max_num_iter: int = 200
) -> NDArray[np.float32]:
    """Smooth a plane but keep its edges: the minimum of total variation plus squared distance to the plane.

    Parameters
    ----------
    yx
        Plane, axes y x, values of the order of 1.
    weight
        Strength, in the units of the values; more smooths more.
    eps
        Stop where the cost changes by less than this share of the first cost.
    max_num_iter
        Stop after so many iterations at the latest.

    Returns
    -------
    Float32, smoothed.

    Raises
    ------
    ValueError
        If the plane is not finite, or an option is not positive.

    Notes
    -----
    Chambolle, An algorithm for total variation minimization, J. Math. Imaging Vis. 20:89, 2004, as scikit-
    image computes it.
    """
    if weight <= 0 or eps <= 0 or max_num_iter < 1:
        raise ValueError(
            "TV denoising: expected weight and eps above 0 and at least 1 iteration, "
            f"found {weight}, {eps}, {max_num_iter}"
        )
    plane = finite_float32(yx)
    if plane.min() == plane.max():
        return plane
    smooth = restoration.denoise_tv_chambolle(plane, weight=weight, eps=eps, max_num_iter=max_num_iter)
    kept: NDArray[np.float32] = np.asarray(smooth, np.float32)
    return kept
