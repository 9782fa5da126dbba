"""Contrast of one plane: stretching and clipping."""

import numpy as np
from numpy.typing import NDArray

from tasks.kernels.checks import finite_float32
from tasks.kernels.percentiles import percentiles_of, require_percentiles


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
    return unit_range(plane, float(plane.min()), float(plane.max()))


def unit_range(yx: NDArray[np.generic], low: float, high: float) -> NDArray[np.float32]:
    """Stretch a plane, or a part of one, by the range of the whole: (yx - low) / (high - low).

    Parameters
    ----------
    yx
        Axes y x, any real dtype, finite.
    low, high
        What becomes 0 and 1.

    Returns
    -------
    Float32; all 0 where the range is empty. Values beyond the range are not cut.
    """
    if high <= low:
        return np.zeros(yx.shape, np.float32)
    stretched: NDArray[np.float32] = yx.astype(np.float32)
    stretched -= np.float32(low)
    stretched /= np.float32(high - low)
    return stretched


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
    require_percentiles(low, high)
    plane = finite_float32(yx)
    pixels = plane if inside is None or inside.all() else plane[inside]
    if pixels.size == 0:
        raise ValueError("percentiles: expected at least one pixel inside, found none; pass inside=None")
    limits = percentiles_of(pixels, low, high)
    return np.clip(plane, np.float32(limits[0]), np.float32(limits[1]))
