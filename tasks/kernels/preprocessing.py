"""From a raw frame to a clean one: rotate, equalise, normalise, clip, denoise; whole, or part by part.

Some steps need to know the whole frame: its range, its tiles' histograms, its percentiles, when the denoising
stops. A frame that never fits memory is therefore gone through several times, a part at a time; what the
parts tell adds up exactly (`Facts`), so the result is that of the whole frame.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.kernels.checks import require_plane
from tasks.kernels.clahe import Grid, equalize_region, tile_histograms, tile_maps
from tasks.kernels.cleanup import remove_background, remove_grooves, sigmoid_contrast
from tasks.kernels.contrast import unit_range
from tasks.kernels.geometry import rotated_shape, valid_region
from tasks.kernels.levels import LEVELS, grey_levels, level_counts, limits_from_counts, stretch, value_range
from tasks.kernels.recipe import Facts, Recipe
from tasks.kernels.rotation import rotate_region
from tasks.kernels.tv import denoise_tv_chambolle, tv_energies, tv_halo_px, tv_iterations

Box = tuple[slice, slice]
Read = Callable[[Box], NDArray[np.generic]]
DARKEST_INSIDE = 1 / 65535


@dataclass(frozen=True)
class Cleaner:
    """The steps of a recipe for parts of one frame; a part is a box of the clean frame.

    Attributes
    ----------
    recipe
        What is done.
    raw_shape_yx
        Shape of the raw frame, px.
    """

    recipe: Recipe
    raw_shape_yx: tuple[int, int]

    @property
    def shape_yx(self) -> tuple[int, int]:
        """Shape of the clean frame, px."""
        if self.recipe.angle_deg is None or not self.recipe.grow:
            return self.raw_shape_yx
        return rotated_shape(self.raw_shape_yx, self.recipe.angle_deg)

    @property
    def whole(self) -> Box:
        """The box of all of the clean frame."""
        height, width = self.shape_yx
        return slice(0, height), slice(0, width)

    @property
    def grid(self) -> Grid | None:
        """The tiles of the equalisation; None without."""
        clahe = self.recipe.equalisation
        if clahe is None:
            return None
        return Grid.over(self.shape_yx, clahe.kernel_px or max(self.shape_yx[0] // 10, 1), clahe.nbins)

    def inside(self, box: Box) -> NDArray[np.bool_] | None:
        """Tell which pixels of a part stem from the raw frame; None: all."""
        if self.recipe.angle_deg is None:
            return None
        mask = valid_region(self.raw_shape_yx, self.recipe.angle_deg, grow=self.recipe.grow, region=box)
        return None if mask.all() else mask

    def values(self, read: Read, box: Box) -> NDArray[np.generic]:
        """Read a part, turn it and clean it up; `read` gives the raw frame inside two slices."""
        recipe = self.recipe
        wide = expanded(box, cleanup_halo_px(recipe), self.shape_yx)
        part = read(wide) if recipe.angle_deg is None else self._turned(read, wide)
        if recipe.grooves is not None:
            part = remove_grooves(part, recipe.grooves.threshold, recipe.grooves.radius_px)
        if recipe.background is not None:
            part = remove_background(part, recipe.background.radius_px, recipe.background.shape)
        return part[within(box, wide)]

    def levels(self, values: NDArray[np.generic], facts: Facts) -> NDArray[Any]:
        """Bring a part to the whole frame's range: grey levels if they are equalised next, else [0, 1]."""
        if self.recipe.equalisation is not None:
            return grey_levels(values, facts.low, facts.high)
        unit = unit_range(values, facts.low, facts.high)
        return np.clip(unit, 0, 1, out=unit)

    def histograms(self, levels: NDArray[Any], box: Box) -> NDArray[np.uint32]:
        """Count a part in the histograms of the tiles it touches, `counted_tiles` of the grid."""
        assert self.grid is not None
        return tile_histograms(levels, _origin(box), self.grid)

    def maps(self, histograms: NDArray[np.generic]) -> NDArray[np.uint16]:
        """Turn the frame's histograms into maps."""
        assert self.grid is not None
        assert self.recipe.equalisation is not None
        return tile_maps(histograms, self.grid, self.recipe.equalisation.clip_limit)

    def evened(self, levels: NDArray[Any], box: Box, facts: Facts) -> NDArray[Any]:
        """Equalise a part."""
        if self.grid is None:
            return levels
        assert facts.maps is not None
        tiles = self.grid.needed_tiles(_origin(box), levels.shape)
        return equalize_region(levels, _origin(box), self.grid, facts.maps[tiles])

    def counts(self, evened: NDArray[Any], inside: NDArray[np.bool_] | None) -> NDArray[np.int64]:
        """Count the pixels of each level, those outside the frame left out."""
        levels = evened if evened.dtype == np.uint16 else grey_levels(evened, 0, 1)
        return level_counts(levels if inside is None else levels[inside])

    def with_counts(self, facts: Facts, counts: NDArray[np.int64]) -> Facts:
        """Add what the frame's counts tell; where no pixel lies inside there is nothing to tell."""
        if not counts.any():
            return facts
        low, high = limits_from_counts(counts, 0, 100)
        limits = None
        if self.recipe.percentiles is not None:
            limits = limits_from_counts(counts, *self.recipe.percentiles)
        elif self.recipe.limits is not None:
            limits = (low + self.recipe.limits[0] * (high - low), low + self.recipe.limits[1] * (high - low))
        return replace(facts, level_range=(low, high), limits=limits)

    def stretched(self, evened: NDArray[Any], facts: Facts) -> NDArray[np.float32]:
        """Normalise a part to [0, 1], and clip it."""
        if facts.low == facts.high:
            return np.zeros(evened.shape, np.float32)
        if evened.dtype == np.uint16:
            return stretch(evened, *facts.level_range, facts.limits)
        limits = facts.limits or (0.0, LEVELS - 1.0)
        low, high = (np.float32(limit / (LEVELS - 1)) for limit in limits)
        clipped: NDArray[np.float32] = np.clip(evened, low, high)
        return clipped

    def undenoised(self, values: NDArray[np.generic], box: Box, facts: Facts) -> NDArray[np.float32]:
        """Go as far as denoising with a part."""
        levels = self.levels(values, facts)
        return self.stretched(self.evened(levels, box, facts), facts)

    def energies(self, read: Read, box: Box, facts: Facts, iterations: int) -> NDArray[np.float64]:
        """Return a part's share of the energy of the denoising, for each of the first iterations."""
        assert self.recipe.denoising is not None
        wide = expanded(box, tv_halo_px(iterations), self.shape_yx)
        plane = self.undenoised(self.values(read, wide), wide, facts)
        return tv_energies(plane, within(box, wide), self.recipe.denoising.weight, iterations)

    def clean(self, read: Read, box: Box, facts: Facts) -> tuple[NDArray[np.generic], NDArray[np.float32]]:
        """Clean a part, all being known of the frame; return its turned values, and the clean part."""
        denoising = self.recipe.denoising
        halo_px = 0 if denoising is None else tv_halo_px(facts.iterations)
        wide = expanded(box, halo_px, self.shape_yx)
        core, values = within(box, wide), self.values(read, wide)
        plane = self.undenoised(values, wide, facts)
        if denoising is not None:
            plane = tv_iterations(plane, denoising.weight, facts.iterations)
        return values[core], self.finished(plane[core], self.inside(box))

    def finished(self, plane: NDArray[np.float32], inside: NDArray[np.bool_] | None) -> NDArray[np.float32]:
        """Change the contrast a last time; set the outside to 0, and the inside not."""
        if self.recipe.sigmoid is not None:
            plane = sigmoid_contrast(plane, *self.recipe.sigmoid)
        plane = np.clip(plane, np.float32(DARKEST_INSIDE), np.float32(1))
        if inside is not None:
            plane *= inside
        return plane

    def _turned(self, read: Read, box: Box) -> NDArray[np.generic]:
        recipe = self.recipe
        assert recipe.angle_deg is not None
        return rotate_region(
            read,
            box,
            shape_yx=self.raw_shape_yx,
            angle_deg=recipe.angle_deg,
            order=recipe.order,
            grow=recipe.grow,
        )


def preprocess_frame(yx: NDArray[np.generic], recipe: Recipe | None = None) -> NDArray[np.float32]:
    """Clean one frame, so that frames of different chips look alike.

    Parameters
    ----------
    yx
        Raw frame, axes y x, any real dtype.
    recipe
        What is done; None: everything, as it is by default.

    Returns
    -------
    Float32, axes y x. Outside the rotated frame exactly 0; inside in [1/65535, 1], so 0 tells the outside.

    Raises
    ------
    ValueError
        If the frame is no plane, is not finite, or a setting is out of range.

    Notes
    -----
    While it is worked on, the outside holds the frame's mirror image: it has the frame's own statistics, so
    neither equalisation nor denoising sees an edge there.
    """
    require_plane(yx)
    cleaner = Cleaner(recipe or Recipe(), (yx.shape[0], yx.shape[1]))
    return clean_whole(cleaner, lambda box: yx[box])[2]


def clean_whole(cleaner: Cleaner, read: Read) -> tuple[NDArray[np.generic], Facts, NDArray[np.float32]]:
    """Clean a whole frame in one go; return its turned values, what was found of it, and the clean frame."""
    whole, denoising = cleaner.whole, cleaner.recipe.denoising
    inside = cleaner.inside(whole)
    values = cleaner.values(read, whole)
    facts = Facts(*value_range(values))
    levels = cleaner.levels(values, facts)
    if cleaner.grid is not None:
        facts = replace(facts, maps=cleaner.maps(cleaner.histograms(levels, whole)))
    evened = cleaner.evened(levels, whole, facts)
    facts = cleaner.with_counts(facts, cleaner.counts(evened, inside))
    plane = cleaner.stretched(evened, facts)
    if denoising is not None:
        plane = denoise_tv_chambolle(plane, denoising.weight, denoising.eps, denoising.max_num_iter)
    return values, facts, cleaner.finished(plane, inside)


def expanded(box: Box, halo_px: int, shape_yx: tuple[int, int]) -> Box:
    """Widen a box on every side, up to the frame's borders."""
    rows, columns = (
        slice(max(part.start - halo_px, 0), min(part.stop + halo_px, size))
        for part, size in zip(box, shape_yx, strict=True)
    )
    return rows, columns


def within(box: Box, wide: Box) -> Box:
    """Return where a box lies in a wider one."""
    rows, columns = (
        slice(part.start - around.start, part.stop - around.start)
        for part, around in zip(box, wide, strict=True)
    )
    return rows, columns


def cleanup_halo_px(recipe: Recipe) -> int:
    """Return the halo of the steps between turning and evening; a disc is gone over twice."""
    grooves = recipe.grooves.radius_px if recipe.grooves else 0
    return grooves + (2 * recipe.background.radius_px if recipe.background else 0)


def _origin(box: Box) -> tuple[int, int]:
    return box[0].start, box[1].start
