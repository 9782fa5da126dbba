"""What every kernel asks of its input: a plane of finite numbers."""

import numpy as np
from numpy.typing import NDArray


def require_plane(yx: NDArray[np.generic], name: str = "yx") -> None:
    """Raise unless the array is a plane.

    Parameters
    ----------
    yx
        Any array.
    name
        What the error calls it.

    Raises
    ------
    ValueError
        If the array has not two axes, or no pixel.
    TypeError
        If it holds neither integers, nor floats, nor booleans.
    """
    if yx.ndim != 2 or 0 in yx.shape:
        raise ValueError(
            f"{name}: expected a plane with axes y x and at least one pixel, found shape {yx.shape}; "
            "pass one t, c, z of the image at a time"
        )
    if yx.dtype.kind not in "biuf":
        raise TypeError(f"{name}: expected integers, floats or booleans, found {yx.dtype}; convert it first")


def finite_float32(yx: NDArray[np.generic], name: str = "yx") -> NDArray[np.float32]:
    """Return the plane as float32, sure to be finite.

    Parameters
    ----------
    yx
        A plane, axes y x, any numeric dtype.
    name
        What the error calls it.

    Returns
    -------
    The same values, float32; the array itself where it was float32 already.

    Raises
    ------
    ValueError
        If the array is no plane, or holds NaN or infinity.
    TypeError
        If it holds no real numbers.
    """
    require_plane(yx, name)
    plane = yx.astype(np.float32, copy=False)
    if not np.isfinite(plane).all():
        bad = int((~np.isfinite(plane)).sum())
        raise ValueError(
            f"{name}: expected finite values, found {bad} NaN or infinite pixels of {plane.size}; "
            "replace them (by the median, say) before this step"
        )
    return plane
