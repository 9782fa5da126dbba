"""From a raw frame to a clean one: rotate, equalise, normalise, clip, denoise."""

import numpy as np
from numpy.typing import NDArray

from tasks.kernels.checks import finite_float32
from tasks.kernels.contrast import clip_percentile, denoise_tv_chambolle, equalize_adapthist, normalise
from tasks.kernels.orientation import rotate, valid_region

DARKEST_INSIDE = 1 / 65535


def preprocess_frame(
    yx: NDArray[np.generic],
    *,
    angle_deg: float | None = None,
    clahe_kernel_px: int | None = 128,
    clahe_clip_limit: float = 0.01,
    percentiles: tuple[float, float] | None = (0.5, 99.95),
    tv_weight: float | None = 0.02,
    tv_eps: float = 2e-4,
    tv_max_num_iter: int = 200,
) -> NDArray[np.float32]:
    """Clean one frame, so that frames of different chips look alike.

    Parameters
    ----------
    yx
        Raw frame, axes y x, any real dtype.
    angle_deg
        Counter-clockwise rotation that makes the grooves vertical, degrees; the frame grows to hold it. None:
        no rotation.
    clahe_kernel_px
        Side of the square of local equalisation, px. None: no equalisation.
    clahe_clip_limit
        Limit of its contrast, in [0, 1].
    percentiles
        Low and high percentile to which the values are clipped. None: no clipping.
    tv_weight
        Strength of the total-variation denoising. None: no denoising.
    tv_eps, tv_max_num_iter
        When the denoising stops.

    Returns
    -------
    Float32, axes y x. Outside the rotated frame exactly 0; inside in [1/65535, 1], so 0 tells the outside.

    Raises
    ------
    ValueError
        If the frame is no plane, is not finite, or a setting is out of range.

    Notes
    -----
    The whole frame at once, no halo. While it is worked on, the outside holds the frame's mirror image: it
    has the frame's own statistics, so neither equalisation nor denoising sees an edge there.
    """
    plane = finite_float32(yx)
    inside = np.ones(plane.shape, bool)
    if angle_deg is not None:
        inside = valid_region(plane.shape, angle_deg)
        plane = finite_float32(rotate(plane, angle_deg))
    if clahe_kernel_px is not None:
        plane = equalize_adapthist(plane, clahe_kernel_px, clahe_clip_limit)
    plane = normalise(plane)
    if percentiles is not None:
        plane = clip_percentile(plane, *percentiles, inside=inside if inside.any() else None)
    if tv_weight is not None:
        plane = denoise_tv_chambolle(plane, tv_weight, tv_eps, tv_max_num_iter)
    return np.where(inside, np.clip(plane, DARKEST_INSIDE, 1), 0).astype(np.float32)
