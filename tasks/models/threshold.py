"""Nuclei by classic means: a threshold of each nucleus's own, then touching nuclei parted by their necks."""

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.filters import threshold_otsu
from skimage.morphology import remove_small_holes

from tasks.models.touching import split_hills

Plane = NDArray[np.float32]
Mask = NDArray[np.bool_]

_BINS = 1024
_CROSS = ndimage.generate_binary_structure(2, 1)
_GREY_LEVELS = 65535


@dataclass(frozen=True)
class ThresholdSegmenter:
    """Segment nuclei that are brighter than what is round them.

    Attributes
    ----------
    diameter_px
        Typical diameter of a nucleus, px; nuclei from half to twice that are found. All lengths below scale
        with it.
    min_area_px
        Smaller objects are dropped. None: a fifth of a disc of that diameter.
    half_height
        A nucleus ends where its contrast falls to this share of its own brightness, in (0, 1).
    neck
        Two parts are two nuclei if the neck between them is narrower than this share of the smaller one's
        width, in (0, 1].

    Notes
    -----
    Otsu (IEEE Trans. Syst. Man Cybern. 9:62, 1979) on the plane's histogram tells nuclei from background, but
    never within three times the background's spread, so noise and grooves alone give no nuclei. A local
    background, the mean of the background pixels in a square of 3 diameters, is taken off. Each hill of the
    smoothed image gets a threshold of its own. Touching nuclei are parted in the distance map by watershed
    (Vincent and Soille, IEEE PAMI 13:583, 1991); parts with a wide neck are joined again, so elongated, bent
    and lobed nuclei stay whole.

    Every step looks at a bounded neighbourhood; sums are of integers or in a fixed order, so a tile gives the
    plane's numbers.
    """

    diameter_px: float = 24.0
    min_area_px: int | None = None
    half_height: float = 0.48
    neck: float = 0.93

    name: ClassVar[str] = "threshold"
    version: ClassVar[int] = 1

    def __post_init__(self) -> None:
        if not 4 <= self.diameter_px <= 1000:
            raise ValueError(
                f"diameter_px: expected 4 to 1000 px, found {self.diameter_px}; "
                "give the typical diameter of a nucleus, or rescale the image"
            )
        if self.min_area_px is not None and self.min_area_px < 1:
            raise ValueError(f"min_area_px: expected 1 px or more, or None, found {self.min_area_px}")
        if not (0 < self.half_height < 1 and 0 < self.neck <= 1):
            raise ValueError(
                f"expected half_height in (0, 1) and neck in (0, 1], found {self.half_height} and {self.neck}"
            )

    @property
    def halo_px(self) -> int:
        """Margin that a tile needs: 4 diameters."""
        return math.ceil(4 * self.diameter_px)

    @property
    def smallest_px(self) -> int:
        """Area below which an object is dropped, px."""
        if self.min_area_px is not None:
            return self.min_area_px
        return math.ceil(0.2 * math.pi / 4 * self.diameter_px**2)

    def segment(
        self, yx: NDArray[np.generic], *, histogram: NDArray[np.int64] | None = None
    ) -> NDArray[np.uint32]:
        """Label the nuclei of a plane or tile.

        Parameters
        ----------
        yx
            Image, axes y x, any real dtype. Floats in [0, 1] are taken as they are, and exactly 0 lies
            outside the frame; anything else is stretched by its own range.
        histogram
            Counts of the whole plane's pixels above 0, in even bins of [0, 1]; None: taken from `yx`.

        Returns
        -------
        Labels, uint32, axes y x: 0 background, 1 to n without a gap, in the order of their first pixels.

        Raises
        ------
        ValueError
            If `yx` is no plane, or not finite.
        """
        plane = to_unit_range(yx)
        levels = plane_levels(_histogram(plane) if histogram is None else histogram, self.smallest_px)
        if levels is None:
            return np.zeros(plane.shape, np.uint32)
        mask = self._foreground(plane, levels)
        depth = ndimage.distance_transform_edt(mask)
        depth = ndimage.gaussian_filter(depth, self.diameter_px / 20, truncate=3) * mask
        nuclei = split_hills(depth, mask, least_rise=0.02 * self.diameter_px, neck=self.neck)
        return dense_labels(nuclei, self.smallest_px)

    def _foreground(self, plane: Plane, levels: "Levels") -> Mask:
        inside = plane > 0
        filled = np.where(inside, plane, np.float32(levels.dark))
        smooth = ndimage.gaussian_filter(filled, self.diameter_px / 20, truncate=3)
        ground = inside & (smooth < (levels.dark + levels.bright) / 2)
        side_px = 2 * round(1.5 * self.diameter_px) + 1
        contrast = smooth - _masked_mean(smooth, ground, side_px, levels.dark)
        mask = inside & (contrast > levels.least_contrast / 2)
        blurred = ndimage.gaussian_filter(filled, self.diameter_px / 8, truncate=3)
        hills = split_hills(blurred, mask, least_rise=0.01 * (levels.bright - levels.dark))
        brightness = _own_brightness(contrast, hills)
        brightness[brightness < levels.least_contrast] = np.inf
        mask &= contrast > self.half_height * brightness[hills]
        mask = ndimage.binary_opening(mask, _CROSS)
        whole: Mask = remove_small_holes(mask, max_size=self.smallest_px)
        return whole


@dataclass(frozen=True)
class Levels:
    """Grey levels of a plane, in [0, 1].

    Attributes
    ----------
    dark, bright
        Mean of the background and of the nuclei.
    least_contrast
        What a nucleus must at least stand above the background round it; its rim, half of that.
    """

    dark: float
    bright: float
    least_contrast: float


def plane_levels(histogram: NDArray[np.int64], smallest_px: int) -> Levels | None:
    """Tell background and nuclei apart in a plane's histogram.

    Parameters
    ----------
    histogram
        Counts in even bins of [0, 1].
    smallest_px
        Nuclei cover at least so many pixels.

    Returns
    -------
    Levels, or None where no pixels stand out of the background.

    Notes
    -----
    The background's spread is the distance from its median down to its percentile 5, for Otsu's dark class:
    no nucleus is so dark. A groove pattern is part of that spread.
    """
    if np.count_nonzero(histogram) < 2:
        return None
    centres = (np.arange(histogram.size) + 0.5) / histogram.size
    otsu = threshold_otsu(hist=(histogram, centres))
    dark_counts = np.cumsum(np.where(centres <= otsu, histogram, 0))
    fifth, median = np.interp((0.05, 0.5), dark_counts / dark_counts[-1], centres)
    spread = float(median - fifth)
    is_bright = centres > max(otsu, median + 3 * spread)
    if histogram[is_bright].sum() < smallest_px:
        return None
    dark = float(np.average(centres[~is_bright], weights=histogram[~is_bright]))
    bright = float(np.average(centres[is_bright], weights=histogram[is_bright]))
    return Levels(dark, bright, least_contrast=max(0.2 * (bright - dark), 2 * spread))


def to_unit_range(yx: NDArray[np.generic]) -> Plane:
    """Bring a plane to [0, 1], where 0 means outside.

    Parameters
    ----------
    yx
        Image, axes y x, any real dtype.

    Returns
    -------
    Float32. Floats in [0, 1] unchanged; anything else stretched by its own range to [1/65535, 1].

    Raises
    ------
    ValueError
        If it is no plane of real numbers, or not finite.
    """
    if yx.ndim != 2 or 0 in yx.shape or yx.dtype.kind not in "biuf":
        raise ValueError(f"yx: expected a plane of numbers with axes y x, found shape {yx.shape}, {yx.dtype}")
    plane = yx.astype(np.float32, copy=False)
    if not np.isfinite(plane).all():
        raise ValueError("yx: expected finite values, found NaN or infinity; replace them first")
    low, high = float(np.min(plane)), float(np.max(plane))
    if yx.dtype.kind == "f" and low >= 0 and high <= 1:
        return plane
    span = np.float32(max(high - low, float(np.finfo(np.float32).tiny)))
    stretched: Plane = np.clip((plane - np.float32(low)) / span, 1 / _GREY_LEVELS, 1).astype(np.float32)
    return stretched


def dense_labels(labels_yx: NDArray[np.signedinteger[Any]], smallest_px: int) -> NDArray[np.uint32]:
    """Drop small objects and number the others from 1, in the order of their first pixels.

    Parameters
    ----------
    labels_yx
        Labels, axes y x, 0 is background.
    smallest_px
        Least area that is kept, px.
    """
    flat = labels_yx.ravel()
    kept = np.bincount(flat) >= smallest_px
    kept[0] = False
    first = np.full(kept.size, flat.size)
    # The last assignment to a place wins, so backwards the first pixel of each label stays.
    first[flat[::-1]] = np.arange(flat.size - 1, -1, -1)
    order = np.argsort(np.where(kept, first, flat.size), kind="stable")[: np.count_nonzero(kept)]
    numbers = np.zeros(kept.size, np.uint32)
    numbers[order] = np.arange(1, order.size + 1)
    dense: NDArray[np.uint32] = numbers[labels_yx]
    return dense


def _histogram(plane: Plane) -> NDArray[np.int64]:
    indices = np.minimum((plane[plane > 0] * _BINS).astype(np.int64), _BINS - 1)
    return np.bincount(indices, minlength=_BINS).astype(np.int64)


def _own_brightness(contrast: Plane, hills: NDArray[np.int32]) -> NDArray[np.float64]:
    """Mean contrast of each hill's brighter part: of its pixels above its mean."""
    flat, values = hills.ravel(), contrast.ravel().astype(np.float64)
    count = int(flat.max()) + 1
    mean = np.bincount(flat, values, count) / np.maximum(np.bincount(flat, minlength=count), 1)
    upper = values >= mean[flat]
    upper_count = np.bincount(flat[upper], minlength=count)
    return np.asarray(np.bincount(flat[upper], values[upper], count) / np.maximum(upper_count, 1))


def _masked_mean(values: Plane, mask: Mask, side_px: int, otherwise: float) -> Plane:
    """Mean of the masked pixels in a square, from sums of integers: a tile's are exactly its plane's."""
    grey = np.where(mask, np.rint(values * _GREY_LEVELS), 0).astype(np.int64)
    total, count = _box_sum(grey, side_px), _box_sum(mask.astype(np.int64), side_px)
    mean = np.where(count > 0, total / (_GREY_LEVELS * np.maximum(count, 1)), otherwise)
    return mean.astype(np.float32)


def _box_sum(values: NDArray[np.int64], side_px: int) -> NDArray[np.int64]:
    half = side_px // 2
    for _ in range(2):  # down the rows, then, turned over, along them
        sums = np.cumsum(np.pad(values, ((half + 1, half), (0, 0))), axis=0)
        values = (sums[side_px:] - sums[:-side_px]).T
    return values
