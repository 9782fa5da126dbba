"""The direction of a chip's grooves, and the rotation that makes them vertical.

Method: edges by Canny (IEEE PAMI 8:679, 1986), votes by the straight-line Hough transform (Duda and Hart,
CACM 15:11, 1972). Grooves are many, parallel and evenly spaced, so no single line is sought: the vote of an
angle is the energy that its accumulator column has along the distance, which is largest where edges line up.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation, gaussian_filter, gaussian_filter1d
from skimage.feature import canny
from skimage.measure import block_reduce
from skimage.transform import hough_line, warp

from tasks.kernels.checks import finite_float32

STEP_DEG = 0.25
ANGLES_DEG: NDArray[np.float64] = np.arange(-90.0, 90.0, STEP_DEG)
_MAX_SIDE_PX = 1024


@dataclass(frozen=True)
class Orientation:
    """The direction of the grooves of one image, or of several together.

    Attributes
    ----------
    angle_deg
        Counter-clockwise rotation, in (-90, 90], that makes the grooves vertical.
    confidence
        In [0, 1]: 1 - (best vote more than 10 degrees away) / (best vote). 0 where nothing voted.
    votes
        Votes of `ANGLES_DEG`, float64, not negative, sum 1 (all 0 where nothing voted).
    """

    angle_deg: float
    confidence: float
    votes: NDArray[np.float64]


def estimate_rotation_deg(
    yx: NDArray[np.generic],
    *,
    edge_sigma_px: float = 2.0,
    edge_quantile: float = 0.85,
    bright_mads: float = 6.0,
) -> Orientation:
    """Find the rotation that makes the grooves of an image vertical.

    Parameters
    ----------
    yx
        Image, axes y x, any real dtype. A side above 1024 px is reduced by whole factors, which keeps angles.
    edge_sigma_px
        Gaussian smoothing of Canny, px of the (reduced) image.
    edge_quantile
        Share of the background pixels whose gradient is too weak to start an edge, in (0, 1).
    bright_mads
        Pixels this many median absolute deviations above the median are nuclei; their edges do not vote.

    Returns
    -------
    Orientation
        Angle in degrees (counter-clockwise), confidence in [0, 1], votes. Without any edge: 0 degrees,
        confidence 0.

    Raises
    ------
    ValueError
        If the image is no plane or holds NaN.
    """
    small = _reduced(finite_float32(yx))
    edges = _groove_edges(small, edge_sigma_px, edge_quantile, bright_mads)
    return _orientation(_votes(edges))


def pool_orientations(orientations: Sequence[Orientation]) -> Orientation:
    """Join the votes of several images of one position: every image counts the same.

    Parameters
    ----------
    orientations
        At least one; those without any vote add nothing.

    Returns
    -------
    Orientation
        Angle and confidence of the mean of the votes.

    Raises
    ------
    ValueError
        If there is none.
    """
    if not orientations:
        raise ValueError(
            "expected at least one orientation to pool, found none; estimate one per time point first"
        )
    return _orientation(np.mean([orientation.votes for orientation in orientations], axis=0))


def rotate(
    yx: NDArray[np.generic], angle_deg: float, *, order: int = 1, grow: bool = True, fill: float | None = None
) -> NDArray[np.generic]:
    """Rotate an image counter-clockwise, as seen on a screen, about its centre, in one interpolation.

    Parameters
    ----------
    yx
        Image or labels, axes y x.
    angle_deg
        Degrees, counter-clockwise.
    order
        0 nearest (for labels: keeps the dtype), 1 linear, 3 cubic.
    grow
        Enlarge the result so that no pixel is lost (`rotated_shape`), else keep the shape.
    fill
        Value outside the image; None mirrors the image there, so that no edge arises.

    Returns
    -------
    Rotated image: float32, or the dtype of `yx` for order 0. The geometry is that of
    `skimage.transform.rotate`.

    Raises
    ------
    ValueError
        If `yx` is no plane, or the order is not 0, 1 or 3.
    """
    plane = finite_float32(yx) if order else yx
    if order not in (0, 1, 3):
        raise ValueError(f"order: expected 0 (nearest), 1 (linear) or 3 (cubic), found {order}")
    shape = rotated_shape(yx.shape, angle_deg) if grow else yx.shape
    matrix = _swap_xy(rotation_matrix(yx.shape, angle_deg, grow))
    outside = {"mode": "symmetric"} if fill is None else {"mode": "constant", "cval": fill}
    warped = warp(plane, matrix, output_shape=shape, order=order, preserve_range=True, **outside)
    kept: NDArray[np.generic] = warped.astype(np.float32 if order else yx.dtype, copy=False)
    return kept


def rotated_shape(shape_yx: Sequence[int], angle_deg: float) -> tuple[int, int]:
    """Shape (y, x) in px of the smallest upright box that holds the rotated image.

    Parameters
    ----------
    shape_yx
        Shape of the image, px.
    angle_deg
        Degrees, counter-clockwise.
    """
    corners_yx = _rotated_corners(shape_yx, angle_deg)
    height, width = np.around(np.ptp(corners_yx, axis=0) + 1).astype(int)
    return int(height), int(width)


def rotation_matrix(shape_yx: Sequence[int], angle_deg: float, grow: bool = True) -> NDArray[np.float64]:
    """Affine 3 x 3 that takes (y, x, 1) of the rotated image to (y, x, 1) of the image before, px.

    Parameters
    ----------
    shape_yx
        Shape of the image before, px.
    angle_deg
        Degrees, counter-clockwise.
    grow
        As in `rotate`.
    """
    corner_yx = _rotated_corners(shape_yx, angle_deg).min(axis=0) if grow else np.zeros(2)
    centre_yx = _centre(shape_yx)
    turn = _turn(angle_deg)
    matrix = np.eye(3)
    matrix[:2, :2] = turn
    matrix[:2, 2] = turn @ (corner_yx - centre_yx) + centre_yx
    return matrix


def valid_region(shape_yx: Sequence[int], angle_deg: float, *, grow: bool = True) -> NDArray[np.bool_]:
    """Tell the pixels of the rotated image that stem from the image, without any part from outside.

    Parameters
    ----------
    shape_yx
        Shape of the image before, px.
    angle_deg
        Degrees, counter-clockwise.
    grow
        As in `rotate`.

    Returns
    -------
    Boolean mask, axes y x, of the rotated image's shape.
    """
    height, width = rotated_shape(shape_yx, angle_deg) if grow else shape_yx
    matrix = rotation_matrix(shape_yx, angle_deg, grow)
    y, x = np.ogrid[:height, :width]
    inside = np.ones((height, width), bool)
    for axis, side_px in enumerate(shape_yx):
        source_px = matrix[axis, 0] * y + matrix[axis, 1] * x + matrix[axis, 2]
        inside &= (source_px > -1e-6) & (source_px < side_px - 1 + 1e-6)
    return inside


def _reduced(yx: NDArray[np.float32]) -> NDArray[np.float32]:
    factor = math.ceil(max(yx.shape) / _MAX_SIDE_PX)
    height, width = (max(side // factor, 1) * factor for side in yx.shape)
    if factor == 1 or min(yx.shape) < factor:
        return yx
    reduced: NDArray[np.float32] = block_reduce(yx[:height, :width], factor, np.mean)
    return reduced


def _groove_edges(
    yx: NDArray[np.float32], sigma_px: float, quantile: float, bright_mads: float
) -> NDArray[np.bool_]:
    if min(yx.shape) < 3:  # too narrow for a gradient
        return np.zeros(yx.shape, bool)
    smooth = gaussian_filter(yx, sigma_px)
    median = float(np.median(smooth))
    spread = float(np.median(np.abs(smooth - median)))
    bright = smooth > median + bright_mads * max(spread, 1e-9 * abs(median))
    ground = ~binary_dilation(bright, iterations=math.ceil(3 * sigma_px))
    # Canny weighs its smoothing by the mask, so the nuclei that are cut out leave no edge behind.
    gy, gx = np.gradient(smooth)
    slope = np.hypot(gx, gy)[ground]
    if slope.size == 0 or slope.max() <= 0:
        return np.zeros(yx.shape, bool)
    start = float(np.quantile(slope, quantile)) * 2
    edges: NDArray[np.bool_] = canny(
        yx, sigma_px, low_threshold=0.5 * start, high_threshold=start, mask=ground, mode="nearest"
    )
    return edges


def _votes(edges: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Energy along the distance of each angle's Hough accumulator, above what edges at random would have."""
    angles_rad = np.deg2rad(ANGLES_DEG)
    distances_by_angles, _, _ = hough_line(edges, angles_rad)
    # Smoothing by 1.5 px undoes the beat between pixels and distances; taking off the wide mean leaves the
    # lines.
    counts = distances_by_angles.astype(np.float64)
    lines = gaussian_filter1d(counts, 1.5, axis=0) - gaussian_filter1d(counts, 8.0, axis=0)
    energy = np.square(lines).sum(axis=0)
    votes: NDArray[np.float64] = np.clip(energy - np.median(energy), 0, None)
    return votes / max(float(votes.sum()), np.finfo(float).tiny)


def _orientation(votes: NDArray[np.float64]) -> Orientation:
    if not votes.any():
        return Orientation(angle_deg=0.0, confidence=0.0, votes=votes)
    smooth = gaussian_filter1d(votes, 0.5 / STEP_DEG, mode="wrap")
    best = int(smooth.argmax())
    left, middle, right = (smooth[(best + shift) % smooth.size] for shift in (-1, 0, 1))
    bend = left - 2 * middle + right
    offset = 0.5 * (left - right) / bend if bend < 0 else 0.0
    angle_deg = _half_turn(float(ANGLES_DEG[best]) + offset * STEP_DEG)
    apart_deg = np.abs((ANGLES_DEG - ANGLES_DEG[best] + 90) % 180 - 90)
    rival = float(smooth[apart_deg > 10].max())
    return Orientation(angle_deg=angle_deg, confidence=1 - rival / float(smooth[best]), votes=votes)


def _half_turn(angle_deg: float) -> float:
    """Bring an angle of a line into (-90, 90]."""
    return 90.0 - (90.0 - angle_deg) % 180.0


def _turn(angle_deg: float) -> NDArray[np.float64]:
    """Rotation of (y, x) offsets from the rotated image back to the image before, rows counting downwards."""
    quarter, rest = divmod(angle_deg, 90.0)
    if rest == 0:  # exact for quarter turns, where cos would leave 6e-17
        cos, sin = [(1.0, 0.0), (0.0, 1.0), (-1.0, 0.0), (0.0, -1.0)][int(quarter) % 4]
    else:
        cos, sin = math.cos(math.radians(angle_deg)), math.sin(math.radians(angle_deg))
    return np.array([[cos, sin], [-sin, cos]])


def _centre(shape_yx: Sequence[int]) -> NDArray[np.float64]:
    return (np.asarray(shape_yx, float) - 1) / 2


def _rotated_corners(shape_yx: Sequence[int], angle_deg: float) -> NDArray[np.float64]:
    """Corners (y, x) of the image after the rotation about its centre."""
    bottom, right = shape_yx[0] - 1, shape_yx[1] - 1
    corners_yx = np.array([[0, 0], [0, right], [bottom, 0], [bottom, right]], float)
    centre_yx = _centre(shape_yx)
    return (corners_yx - centre_yx) @ _turn(angle_deg) + centre_yx


def _swap_xy(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """The same map for coordinates in the order x y that scikit-image wants."""
    return matrix[np.ix_([1, 0, 2], [1, 0, 2])]
