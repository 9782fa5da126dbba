"""The direction of a chip's grooves, and the rotation that makes them vertical.

Method: edges by Canny (IEEE PAMI 8:679, 1986), votes by the straight-line Hough transform (Duda and Hart,
CACM 15:11, 1972). Grooves are many, parallel and evenly spaced, so no single line is sought: the vote of an
angle is the energy that its accumulator line has along the distance, which is largest where edges line up.
Where no groove shows, the nuclei vote: they lie along the grooves.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d
from skimage.feature import canny

from tasks.kernels.alignment import nuclei_votes
from tasks.kernels.checks import finite_float32
from tasks.kernels.hough import hough_counts

STEP_DEG = 0.25
ANGLES_DEG: NDArray[np.float64] = np.arange(-90.0, 90.0, STEP_DEG)
MIN_CONFIDENCE = 0.4
_MAX_SIDE_PX = 1024
_GROOVES_BLUR_DEG, _GROOVES_APART_DEG = 0.5, 10.0
_NUCLEI_BLUR_DEG, _NUCLEI_APART_DEG = 10.0, 45.0


def _no_votes() -> NDArray[np.float64]:
    return np.zeros(ANGLES_DEG.size)


@dataclass(frozen=True)
class Orientation:
    """The direction of the grooves of one image, or of several together.

    Attributes
    ----------
    angle_deg
        Counter-clockwise rotation, in (-90, 90], that makes the grooves vertical.
    confidence
        In [0, 1]: 1 - (best vote elsewhere) / (best vote), where elsewhere is more than 10 degrees away for
        grooves, 45 for nuclei. 0 where nothing voted.
    votes
        The grooves' votes of `ANGLES_DEG`, float64, not negative, sum 1 (all 0 where nothing voted).
    nuclei_votes
        The nuclei's votes, the same way.
    source
        Which of the two the angle and the confidence are of.
    """

    angle_deg: float
    confidence: float
    votes: NDArray[np.float64]
    nuclei_votes: NDArray[np.float64] = field(default_factory=_no_votes)
    source: Literal["grooves", "nuclei"] = "grooves"


def estimate_rotation_deg(
    yx: NDArray[np.generic],
    *,
    edge_sigma_px: float = 2.0,
    edge_quantile: float = 0.85,
    bright_mads: float = 6.0,
    min_confidence: float = MIN_CONFIDENCE,
) -> Orientation:
    """Find the rotation that makes the grooves of an image vertical, by the nuclei where no groove shows.

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
    min_confidence
        Below it the grooves are not believed; the nuclei then are, if their own confidence reaches it.

    Returns
    -------
    Orientation
        Angle in degrees (counter-clockwise), confidence in [0, 1], votes, source. Without any edge: 0
        degrees, confidence 0.

    Raises
    ------
    ValueError
        If the image is no plane or holds NaN.
    """
    small = _reduced(finite_float32(yx))
    if min(small.shape) < 3:  # too narrow for a gradient
        return Orientation(angle_deg=0.0, confidence=0.0, votes=_no_votes())
    smooth = _blurred(small, edge_sigma_px)
    if np.ptp(smooth) <= 1e-5 * np.abs(smooth).max():  # no more than rounding
        return Orientation(angle_deg=0.0, confidence=0.0, votes=_no_votes())
    edges = _groove_edges(small, smooth, edge_sigma_px, edge_quantile, bright_mads)
    return _decided(_groove_votes(edges), nuclei_votes(smooth, ANGLES_DEG), min_confidence)


def pool_orientations(
    orientations: Sequence[Orientation], *, min_confidence: float = MIN_CONFIDENCE
) -> Orientation:
    """Join the votes of several images of one position: every image counts the same.

    Parameters
    ----------
    orientations
        At least one; those without any vote add nothing.
    min_confidence
        As in `estimate_rotation_deg`; held against the joint votes.

    Returns
    -------
    Orientation
        Angle and confidence of the mean of the votes: of the grooves', or of the nuclei's where the grooves'
        are not to be believed and the nuclei's are.

    Raises
    ------
    ValueError
        If there is none.
    """
    if not orientations:
        raise ValueError(
            "expected at least one orientation to pool, found none; estimate one per time point first"
        )
    grooves = np.mean([orientation.votes for orientation in orientations], axis=0)
    nuclei = np.mean([orientation.nuclei_votes for orientation in orientations], axis=0)
    return _decided(grooves, nuclei, min_confidence)


def _decided(grooves: NDArray[np.float64], nuclei: NDArray[np.float64], min_confidence: float) -> Orientation:
    angle_deg, confidence = _peak(grooves, _GROOVES_BLUR_DEG, _GROOVES_APART_DEG)
    if confidence < min_confidence:
        by_nuclei_deg, nuclei_confidence = _peak(nuclei, _NUCLEI_BLUR_DEG, _NUCLEI_APART_DEG)
        if nuclei_confidence >= min_confidence:
            return Orientation(by_nuclei_deg, nuclei_confidence, grooves, nuclei, source="nuclei")
    return Orientation(angle_deg, confidence, grooves, nuclei)


def _reduced(yx: NDArray[np.float32]) -> NDArray[np.float32]:
    """Reduce a large image to means of squares."""
    factor = math.ceil(max(yx.shape) / _MAX_SIDE_PX)
    if factor == 1 or min(yx.shape) < factor:
        return yx
    height, width = (side // factor for side in yx.shape)
    kept = yx[: height * factor, : width * factor]
    return cv2.resize(kept, (width, height), interpolation=cv2.INTER_AREA).astype(np.float32, copy=False)


def _blurred(
    yx: NDArray[np.float32], sigma_px: float, border: int = cv2.BORDER_REFLECT
) -> NDArray[np.float32]:
    """Gaussian blur, cut off where scipy cuts it off."""
    side = 2 * int(4 * sigma_px + 0.5) + 1
    return cv2.GaussianBlur(yx, (side, side), sigma_px, borderType=border).astype(np.float32, copy=False)


def _groove_edges(
    yx: NDArray[np.float32], smooth: NDArray[np.float32], sigma_px: float, quantile: float, bright_mads: float
) -> NDArray[np.bool_]:
    median = float(np.median(smooth))
    spread = float(np.median(np.abs(smooth - median)))
    bright = smooth > median + bright_mads * max(spread, 1e-9 * abs(median))
    cross = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    ground = cv2.dilate(bright.astype(np.uint8), cross, iterations=math.ceil(3 * sigma_px)) == 0
    gy, gx = np.gradient(smooth)
    slope = np.hypot(gx, gy)[ground]
    if slope.size == 0 or slope.max() <= 0:
        return np.zeros(yx.shape, bool)
    start = float(np.quantile(slope, quantile)) * 2
    # The smoothing of Canny, weighed by the mask so that the nuclei that are cut out leave no edge behind;
    # done here because canny's own takes twice as long as all the rest.
    weight = _blurred(ground.astype(np.float32), sigma_px, cv2.BORDER_REPLICATE)
    level = _blurred(np.where(ground, yx, np.float32(0)), sigma_px, cv2.BORDER_REPLICATE)
    level /= np.maximum(weight, np.finfo(np.float32).eps)
    edges: NDArray[np.bool_] = canny(level, 0, low_threshold=0.5 * start, high_threshold=start, mask=ground)
    return edges


def _groove_votes(edges: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Energy along the distance of each angle's Hough accumulator, above what edges at random would have."""
    counts = hough_counts(edges, np.deg2rad(ANGLES_DEG)).astype(np.float32)
    # Smoothing by 1.5 px undoes the beat between pixels and distances; taking off the wide mean leaves the
    # lines.
    one = np.eye(1, 65, 32)[0]
    ripple = (gaussian_filter1d(one, 1.5) - gaussian_filter1d(one, 8.0)).astype(np.float32)
    nothing = np.ones(1, np.float32)
    lines = cv2.sepFilter2D(counts, cv2.CV_32F, ripple, nothing, borderType=cv2.BORDER_REFLECT)
    energy = np.square(lines).sum(axis=1, dtype=np.float64)
    votes: NDArray[np.float64] = np.clip(energy - np.median(energy), 0, None)
    return votes / max(float(votes.sum()), np.finfo(float).tiny)


def _peak(votes: NDArray[np.float64], blur_deg: float, apart_deg: float) -> tuple[float, float]:
    """Angle of the most votes and the confidence in it."""
    if not votes.any():
        return 0.0, 0.0
    smooth = gaussian_filter1d(votes, blur_deg / STEP_DEG, mode="wrap")
    best = int(smooth.argmax())
    left, middle, right = (float(smooth[(best + shift) % smooth.size]) for shift in (-1, 0, 1))
    bend = left - 2 * middle + right
    offset = 0.5 * (left - right) / bend if bend < 0 else 0.0
    away_deg = np.abs((ANGLES_DEG - ANGLES_DEG[best] + 90) % 180 - 90)
    rival = float(smooth[away_deg > apart_deg].max())
    return _half_turn(float(ANGLES_DEG[best]) + offset * STEP_DEG), 1 - rival / middle


def _half_turn(angle_deg: float) -> float:
    """Bring an angle of a line into (-90, 90]."""
    return 90.0 - (90.0 - angle_deg) % 180.0
