"""How dense the cells of a raw frame are, and which profile of preprocessing fits."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from tasks.kernels.checks import finite_float32
from tasks.kernels.histograms import otsu

Plane = NDArray[np.float32]
ProfileName = Literal["sparse", "medium", "dense"]

LARGEST_EDGE_PX: Final = 1024
NOMINAL_PIXEL_UM: Final = 0.5
SPARSE_BELOW_PER_MM2: Final = 250.0
SPARSE_BELOW_COVERED: Final = 0.05
DENSE_FROM_PER_MM2: Final = 900.0
DENSE_FROM_COVERED: Final = 0.2
_BINS = 1024
_GROUND_TILES = 8
_SMALLEST_CELL_PX = 9


@dataclass(frozen=True)
class Density:
    """Cells counted on some area.

    Attributes
    ----------
    cells
        Number of cells found.
    covered_px, area_px
        Area of the cells, and the area looked at; px of the raw frame.
    pixel_size_um
        Edge of a raw pixel; None where not known.
    """

    cells: int
    covered_px: float
    area_px: float
    pixel_size_um: float | None

    @property
    def covered(self) -> float:
        """Share of the area that cells cover, 0 to 1."""
        return self.covered_px / self.area_px

    @property
    def per_megapixel(self) -> float:
        """Cells in a million pixels of the raw frame."""
        return self.cells / self.area_px * 1e6

    @property
    def per_mm2(self) -> float | None:
        """Cells in a square millimetre; None where the pixel size is not known."""
        return None if self.pixel_size_um is None else self.per_megapixel / self.pixel_size_um**2


@dataclass(frozen=True)
class Choice:
    """The profile that fits, and why, as a sentence with the numbers."""

    name: ProfileName
    reason: str


def estimate_density(
    yx: NDArray[np.generic], *, pixel_size_um: float | None = None, reduced_by: int = 1
) -> Density:
    """Count the cells of a raw frame, or of a part of it, roughly and fast.

    Parameters
    ----------
    yx
        Raw plane, axes y x, any real dtype, cells brighter than their surroundings; before any equalisation.
        Above 1024 px it is reduced further by itself. A nucleus should stay 6 px wide or more after that:
        of a frame with edges of many thousand px give some parts, and pool them with `pool_densities`.
    pixel_size_um
        Edge of a pixel of the raw frame, not of the reduced one; None where not known.
    reduced_by
        How many raw pixels an edge of a pixel of `yx` is, such as 2 of the pyramid's first level.

    Returns
    -------
    Density
        An estimate: within a fifth of the truth on simulated chips.

    Raises
    ------
    ValueError
        If it is no plane, not finite, or a size is not positive.

    Notes
    -----
    Grooves and shading are no cells: a smooth background (percentile 20 of 8 x 8 tiles, interpolated) is
    taken off, and cells stand above Otsu's threshold (IEEE Trans. Syst. Man Cybern. 9:62, 1979) but never
    within five standard deviations of the background, which the groove pattern widens. Touching cells are
    counted by the peaks of the distance map, as far apart as a typical cell of this frame is wide; so no
    diameter is asked for.
    """
    if reduced_by < 1 or (pixel_size_um is not None and not 0 < pixel_size_um < math.inf):
        raise ValueError(
            "density: expected reduced_by of 1 or more and pixel_size_um above 0 or None, found "
            f"{reduced_by} and {pixel_size_um}; pass pixel_size_um=None if it is not known"
        )
    plane = finite_float32(yx)
    step = math.ceil(max(plane.shape) / LARGEST_EDGE_PX)
    mask = _cells_mask(_reduced(plane, step))
    scale_px = float(step * reduced_by) ** 2
    cells, covered = _count(mask)
    return Density(cells, covered * scale_px, mask.size * scale_px, pixel_size_um)


def pool_densities(densities: Sequence[Density]) -> Density:
    """Sum what was counted on several frames or parts.

    Parameters
    ----------
    densities
        At least one, all with the same pixel size.

    Raises
    ------
    ValueError
        If there is none, or pixel sizes differ.
    """
    sizes = {one.pixel_size_um for one in densities}
    if len(sizes) != 1:
        raise ValueError(f"densities: expected at least one, of one pixel size, found the sizes {sizes} um")
    return Density(
        sum(one.cells for one in densities),
        sum(one.covered_px for one in densities),
        sum(one.area_px for one in densities),
        sizes.pop(),
    )


def choose_profile(density: Density) -> Choice:
    """Choose the profile of preprocessing for a density.

    Parameters
    ----------
    density
        Of one acquisition. Without a pixel size the limits are those of 0.5 um pixels; the reason says so.

    Returns
    -------
    Choice
        "dense" from 900 cells per mm2 or a covered share of 0.2 on; "sparse" below 250 per mm2 and 0.05;
        else "medium".
    """
    found, unit, scale = density.per_mm2, "mm2", 1.0
    if found is None:
        found, unit, scale = density.per_megapixel, "megapixel", NOMINAL_PIXEL_UM**2
    sparse_below, dense_from = SPARSE_BELOW_PER_MM2 * scale, DENSE_FROM_PER_MM2 * scale
    covered = density.covered
    if found >= dense_from or covered >= DENSE_FROM_COVERED:
        name: ProfileName = "dense"
        rule = f"from {dense_from:.4g} per {unit} or {DENSE_FROM_COVERED:.0%} covered"
    elif found < sparse_below and covered < SPARSE_BELOW_COVERED:
        name = "sparse"
        rule = f"below {sparse_below:.4g} per {unit} and {SPARSE_BELOW_COVERED:.0%} covered"
    else:
        name = "medium"
        rule = f"between {sparse_below:.4g} and {dense_from:.4g} per {unit}, or by the covered share"
    reason = f"{name} ({rule}): about {found:.4g} cells per {unit}, {covered:.1%} of the frame covered"
    if density.per_mm2 is None:
        reason += f"; the pixel size is not known, so the limits are those of pixels of {NOMINAL_PIXEL_UM} um"
    return Choice(name, reason)


def _reduced(plane: Plane, step: int) -> Plane:
    """Mean of squares of pixels; a rest at the end that fills no square is left out."""
    if step == 1 or min(plane.shape) < step:
        return plane
    height, width = (edge // step for edge in plane.shape)
    whole = plane[: height * step, : width * step]
    return np.asarray(cv2.resize(whole, (width, height), interpolation=cv2.INTER_AREA), np.float32)


def _cells_mask(plane: Plane) -> NDArray[np.uint8]:
    """1 where cells are."""
    smooth = np.asarray(cv2.GaussianBlur(plane, (0, 0), 1.0), np.float32)
    flat = smooth - _background(smooth)
    low, high = (float(value) for value in np.percentile(flat, (0.1, 99.9)))
    if high <= low:
        return np.zeros(plane.shape, np.uint8)
    levels = ((flat - low) * (_BINS / (high - low))).clip(0, _BINS - 1).astype(np.int64)
    histogram = np.bincount(levels.ravel(), minlength=_BINS)
    threshold = low + otsu(histogram) * (high - low)
    ground = flat[flat <= threshold]
    fifth, median = (float(value) for value in np.percentile(ground, (5, 50)))
    mask = (flat > max(threshold, median + 3 * (median - fifth))).astype(np.uint8)
    return np.asarray(cv2.morphologyEx(mask, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8)), np.uint8)


def _background(plane: Plane) -> Plane:
    """Return a smooth surface below the cells: percentile 20 of each tile, interpolated between tiles."""
    tiles = [min(_GROUND_TILES, edge) for edge in plane.shape]
    rows, columns = (np.array_split(np.arange(edge), n) for edge, n in zip(plane.shape, tiles, strict=True))
    low = np.array(
        [[np.percentile(plane[r[0] : r[-1] + 1, c[0] : c[-1] + 1], 20) for c in columns] for r in rows],
        dtype=np.float32,
    )
    smooth = cv2.medianBlur(low, 3)
    surface = cv2.resize(smooth, plane.shape[::-1], interpolation=cv2.INTER_LINEAR)
    return np.asarray(surface, np.float32)


def _count(mask: NDArray[np.uint8]) -> tuple[int, int]:
    """Return the number of cells of a mask and its area, px, specks left out."""
    parts, found, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=4)
    labels, areas = np.asarray(found, np.int32), np.array(stats[:, cv2.CC_STAT_AREA], np.int64)
    areas[0] = 0
    kept = areas >= _SMALLEST_CELL_PX
    if parts < 2 or not kept.any():
        return 0, 0
    depth = np.asarray(cv2.distanceTransform(mask, cv2.DIST_L2, cv2.DIST_MASK_5), np.float32)
    deepest = np.zeros(parts, np.float32)
    np.maximum.at(deepest, labels.ravel(), depth.ravel())
    radius_px = _weighted_median(deepest[kept], areas[kept])
    kept &= areas >= radius_px**2  # a third of a disc
    return _peaks(depth, kept[labels], radius_px), int(areas[kept].sum())


def _peaks(depth: Plane, inside: NDArray[np.bool_], radius_px: float) -> int:
    """Count the tops of the distance map that are the highest point within a radius."""
    smooth = cv2.GaussianBlur(depth, (0, 0), max(radius_px / 3, 0.5))
    reach = 2 * max(round(radius_px), 1) + 1
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (reach, reach))
    tops = (smooth >= cv2.dilate(smooth, disc)) & inside
    count, _ = cv2.connectedComponents(tops.astype(np.uint8), connectivity=8)
    return int(count) - 1


def _weighted_median(values: NDArray[Any], weights: NDArray[Any]) -> float:
    order = np.argsort(values)
    half = np.searchsorted(np.cumsum(weights[order]), weights.sum() / 2)
    return float(values[order][half])
