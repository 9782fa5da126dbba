"""What the quality numbers of a frame are made of: sums over pixels, so that parts of a frame add up."""

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from tasks.kernels.checks import finite_float32
from tasks.kernels.contrast import unit_range
from tasks.kernels.quality_scans import BINS, SSIM_WINDOW_PX, count_values, sobel_sums, ssim_sums

Plane = NDArray[np.float32]
Core = tuple[slice, slice]

HALO_PX: Final = 4


@dataclass(frozen=True)
class Slopes:
    """Sums of the Sobel gradient's norm g: number of pixels, sum of g, sum of g squared."""

    pixels: int = 0
    norm: float = 0.0
    squared: float = 0.0

    def __add__(self, other: "Slopes") -> "Slopes":
        return Slopes(self.pixels + other.pixels, self.norm + other.norm, self.squared + other.squared)


@dataclass(frozen=True)
class FrameSums:
    """Sums over a frame, or a part of it, whose values were brought to [0, 1].

    Attributes
    ----------
    histogram, halved_histogram
        Counts in 4096 even bins, int64: of the frame, and of the frame halved by 2 x 2 means.
    at_top
        Pixels that are exactly 1.
    slopes, halved_slopes
        Of the frame, and of the halved frame.
    """

    histogram: NDArray[np.int64]
    halved_histogram: NDArray[np.int64]
    at_top: int
    slopes: Slopes
    halved_slopes: Slopes

    def __add__(self, other: "FrameSums") -> "FrameSums":
        return FrameSums(
            self.histogram + other.histogram,
            self.halved_histogram + other.halved_histogram,
            self.at_top + other.at_top,
            self.slopes + other.slopes,
            self.halved_slopes + other.halved_slopes,
        )


@dataclass(frozen=True)
class SimilaritySums:
    """Sums over a clean frame, or a part, against its reference: squared differences, local SSIM."""

    pixels: int
    squared_error: float
    windows: int
    ssim: float

    def __add__(self, other: "SimilaritySums") -> "SimilaritySums":
        return SimilaritySums(
            self.pixels + other.pixels,
            self.squared_error + other.squared_error,
            self.windows + other.windows,
            self.ssim + other.ssim,
        )


def frame_sums(
    yx: NDArray[np.generic], *, low: float, high: float, zero_is_outside: bool, core: Core | None = None
) -> FrameSums:
    """Sum what `quality_numbers` needs over a frame or a part of it.

    Parameters
    ----------
    yx
        Plane or part, axes y x, any real dtype.
    low, high
        Least and greatest value of the whole frame: its own range if raw, 0 and 1 if clean.
    zero_is_outside
        True of a clean frame: pixels that are exactly 0 lie outside it and are left out, as is any gradient
        that touches one.
    core
        Rows and columns of `yx` that are summed, with even starts; what is round them is a halo of 4 px where
        the frame goes on, and nothing at its border. None: all.

    Returns
    -------
    FrameSums
        Those of parts add up to that of the whole: counts exactly, sums to rounding.

    Raises
    ------
    ValueError
        If it is no plane or not finite, or values lie outside low to high.
    """
    plane = _unit_range(finite_float32(yx), low, high)
    if zero_is_outside:
        plane = np.where(plane == 0, np.float32(np.nan), plane)  # and so is each gradient that touches one
    top, bottom, left, right = _bounds(plane.shape, core)
    bounds_2 = top // 2, bottom // 2, left // 2, right // 2
    halved = _halved(plane)
    histogram, halved_histogram = np.zeros(BINS, np.int64), np.zeros(BINS, np.int64)
    at_top = count_values(plane[top:bottom, left:right], histogram)
    count_values(halved[bounds_2[0] : bounds_2[1], bounds_2[2] : bounds_2[3]], halved_histogram)
    return FrameSums(
        histogram,
        halved_histogram,
        at_top,
        Slopes(*sobel_sums(plane, top, bottom, left, right)),
        Slopes(*sobel_sums(halved, *bounds_2)),
    )


def similarity_sums(
    clean_yx: NDArray[np.generic], reference_yx: NDArray[np.generic], *, core: Core | None = None
) -> SimilaritySums:
    """Sum squared differences and local SSIM of a clean frame, or a part, against a reference.

    Parameters
    ----------
    clean_yx
        Clean plane or part, axes y x, in [0, 1]; exactly 0 lies outside.
    reference_yx
        The raw frame, turned the same way and stretched to [0, 1], same shape.
    core
        As of `frame_sums`.

    Returns
    -------
    SimilaritySums
        Local SSIM is taken where the whole window of 7 x 7 px lies inside the frame.

    Raises
    ------
    ValueError
        If shapes differ, or it is no plane or not finite.

    Notes
    -----
    Wang, Bovik, Sheikh and Simoncelli, IEEE Trans. Image Process. 13:600, 2004, with uniform windows, sample
    covariance and a data range of 1: the defaults of scikit-image's structural_similarity.
    """
    clean, reference = finite_float32(clean_yx, "clean_yx"), finite_float32(reference_yx, "reference_yx")
    if clean.shape != reference.shape:
        raise ValueError(
            f"reference_yx: expected the clean frame's shape {clean.shape}, found {reference.shape}; "
            "turn the raw frame as the clean one was"
        )
    inside = (clean != 0).astype(np.uint8)
    top, bottom, left, right = _bounds(clean.shape, core)
    place = slice(top, bottom), slice(left, right)
    error = cv2.norm(clean[place], reference[place], cv2.NORM_L2SQR, inside[place])
    window = np.ones((SSIM_WINDOW_PX, SSIM_WINDOW_PX), np.uint8)
    whole = np.asarray(cv2.erode(inside, window), np.uint8)
    windows, ssim = ssim_sums(clean, reference, whole, top, bottom, left, right)
    return SimilaritySums(int(np.count_nonzero(inside[place])), float(error), windows, ssim)


def _unit_range(plane: Plane, low: float, high: float) -> Plane:
    unit = plane if (low, high) == (0, 1) else unit_range(plane, low, high)
    if unit.min() < 0 or unit.max() > 1:
        raise ValueError(
            f"quality: expected values from {low} to {high}, found {plane.min()} to {plane.max()}; "
            "give the whole frame's range"
        )
    return unit


def _bounds(shape: tuple[int, ...], core: Core | None) -> tuple[int, int, int, int]:
    rows, columns = core or (slice(None), slice(None))
    (top, bottom, _), (left, right, _) = rows.indices(shape[0]), columns.indices(shape[1])
    if top % 2 or left % 2:
        raise ValueError(f"core: expected even starts, found row {top} and column {left}; move it by one px")
    return top, bottom, left, right


def _halved(plane: Plane) -> Plane:
    """Mean of squares of 2 x 2 pixels; an odd last row or column is left out."""
    height, width = plane.shape[0] // 2, plane.shape[1] // 2
    if 0 in (height, width):
        return np.zeros((height, width), np.float32)
    even = plane[: 2 * height, : 2 * width]
    return np.asarray(cv2.resize(even, (width, height), interpolation=cv2.INTER_AREA), np.float32)
