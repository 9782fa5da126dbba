"""Local equalisation with limited contrast (CLAHE), whole or in passes over parts of a plane.

Zuiderveld, Contrast limited adaptive histogram equalization, Graphics Gems IV, 1994, with the numbers that
`skimage.exposure.equalize_adapthist` gives, to the last grey level. A plane that never fits memory takes four
passes over its parts, in any order: `value_range`, `tile_histograms` (they add up), `level_counts` of
`equalize_region` (they add up), `stretch` of `equalize_region`.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tasks.kernels.clahe_loops import blend_maps, count_bins, map_histograms
from tasks.kernels.levels import LEVELS, grey_levels, require_levels, stretch, value_range

KernelSize = int | tuple[int, int] | None
Tiles = tuple[slice, slice]

_MOST_KERNEL_PX = 65535  # a tile's counts fit uint32


@dataclass(frozen=True)
class Grid:
    """Tiles that cover a plane, each with a histogram.

    Attributes
    ----------
    shape_yx
        Of the plane, px.
    kernel_yx
        Sides of a tile, px. The first begins at the plane's first pixel; the last may stand out, and then
        counts the plane's mirror image there.
    nbins
        Bins of a histogram.
    """

    shape_yx: tuple[int, int]
    kernel_yx: tuple[int, int]
    nbins: int

    @classmethod
    def over(cls, shape_yx: tuple[int, ...], kernel_size: KernelSize = None, nbins: int = 256) -> "Grid":
        """Lay the grid that scikit-image takes for a kernel's side, sides, or None (an eighth of each side).

        Raises
        ------
        ValueError
            If a side is not in 1 to 65535 px, or there are less than 2 bins.
        """
        height, width = shape_yx
        if kernel_size is None:
            kernel_size = max(height // 8, 1), max(width // 8, 1)
        y, x = (kernel_size, kernel_size) if isinstance(kernel_size, int) else kernel_size
        if not (1 <= min(y, x) <= max(y, x) <= _MOST_KERNEL_PX and nbins >= 2):
            raise ValueError(
                f"CLAHE: expected kernel sides of 1 to {_MOST_KERNEL_PX} px and nbins of 2 or more, "
                f"found {kernel_size} and {nbins}"
            )
        return cls((height, width), (y, x), nbins)

    @property
    def tiles_yx(self) -> tuple[int, int]:
        """Number of tiles along y and x."""
        return -(-self.shape_yx[0] // self.kernel_yx[0]), -(-self.shape_yx[1] // self.kernel_yx[1])

    def counted_tiles(self, origin_yx: tuple[int, int], shape_yx: tuple[int, ...]) -> Tiles:
        """Tiles along y and x in whose histograms the pixels of a region count."""
        y, x = (_counted_runs(self, axis, origin_yx[axis], shape_yx[axis])[:, 2] for axis in (0, 1))
        return slice(int(y.min()), int(y.max()) + 1), slice(int(x.min()), int(x.max()) + 1)

    def needed_tiles(self, origin_yx: tuple[int, int], shape_yx: tuple[int, ...]) -> Tiles:
        """Tiles along y and x whose maps equalise a region."""
        y, x = (_surroundings(self, axis, origin_yx[axis], shape_yx[axis]) for axis in (0, 1))
        return slice(int(y[0][0]), int(y[1][-1]) + 1), slice(int(x[0][0]), int(x[1][-1]) + 1)


def equalize_adapthist(
    yx: NDArray[np.generic], kernel_size: KernelSize = None, clip_limit: float = 0.01, nbins: int = 256
) -> NDArray[np.float32]:
    """Equalise the histogram locally with limited contrast (CLAHE).

    Parameters
    ----------
    yx
        Plane, axes y x, any real dtype; see `grey_levels` for how each is read.
    kernel_size
        Side, or sides along y and x, of the tiles whose histograms are taken, px; None takes an eighth of
        each side of the plane. May exceed the plane.
    clip_limit
        In [0, 1]: the share of a tile's pixels above which a bin is cut; higher gives more contrast, and more
        noise. 0 cuts nothing.
    nbins
        Bins of the histograms.

    Returns
    -------
    Float32 in [0, 1]. A pixel depends on the whole plane through its range, and on its neighbourhood of 1.5
    kernels through the histograms.

    Raises
    ------
    ValueError
        If the plane is not finite, or an option is out of range.
    TypeError
        If the plane holds no real numbers.

    Notes
    -----
    Equal to scikit-image also where that is of no use: on a constant plane rounding errors of one level, in
    which pixels may differ, are stretched to 0 and 1.
    """
    low, high = value_range(yx)
    grid = Grid.over(yx.shape, kernel_size, nbins)
    levels = grey_levels(yx, low, high)
    maps = tile_maps(tile_histograms(levels, (0, 0), grid), grid, clip_limit)
    equalised = equalize_region(levels, (0, 0), grid, maps)
    return stretch(equalised, float(equalised.min()), float(equalised.max()))


def tile_histograms(levels: NDArray[np.uint16], origin_yx: tuple[int, int], grid: Grid) -> NDArray[np.uint32]:
    """Count a region's levels in the histograms of the tiles that it touches.

    Parameters
    ----------
    levels
        Levels 0 to 16383 of a region, uint16, axes y x.
    origin_yx
        Where the region begins in the plane, px.
    grid
        The plane's tiles.

    Returns
    -------
    Counts, axes tile y, tile x, bin, of `grid.counted_tiles`. Summed over the regions of any partition they
    are the plane's histograms, of which each counts as many pixels as a kernel has.

    Raises
    ------
    ValueError
        If the region is not within the plane.
    TypeError
        If the levels are not uint16.
    """
    _require_region(levels, origin_yx, grid)
    tiles = grid.counted_tiles(origin_yx, levels.shape)
    counts = np.zeros((*(part.stop - part.start for part in tiles), grid.nbins), np.uint32)
    y, x = (
        _counted_runs(grid, axis, origin_yx[axis], levels.shape[axis]) - [0, 0, tiles[axis].start]
        for axis in (0, 1)
    )
    count_bins(levels, _bins(grid), y, x, counts)
    return counts


def tile_maps(histograms: NDArray[np.generic], grid: Grid, clip_limit: float = 0.01) -> NDArray[np.uint16]:
    """Turn the tiles' histograms into maps from bin to equalised level.

    Parameters
    ----------
    histograms
        Complete counts, integers, last axis bin; any number of tiles.
    grid
        The plane's tiles.
    clip_limit
        In [0, 1], see `equalize_adapthist`.

    Returns
    -------
    Levels 0 to 16383, uint16, same shape.

    Raises
    ------
    ValueError
        If the limit is out of range, or the bins are not the grid's.
    """
    if not 0 <= clip_limit <= 1:
        raise ValueError(f"CLAHE: expected clip_limit in [0, 1], found {clip_limit}")
    if histograms.shape[-1] != grid.nbins:
        raise ValueError(f"histograms: expected {grid.nbins} bins on the last axis, found {histograms.shape}")
    pixels = grid.kernel_yx[0] * grid.kernel_yx[1]
    limit = max(int(clip_limit * pixels), 1) if clip_limit > 0 else pixels
    counts = np.ascontiguousarray(histograms.reshape(-1, grid.nbins), np.uint32)
    maps = np.empty(counts.shape, np.uint16)
    map_histograms(counts, limit, (LEVELS - 1) / pixels, LEVELS - 1, maps)
    return maps.reshape(histograms.shape)


def equalize_region(
    levels: NDArray[np.uint16], origin_yx: tuple[int, int], grid: Grid, maps: NDArray[np.uint16]
) -> NDArray[np.uint16]:
    """Equalise a region's levels: each goes through the maps of the four nearest tiles, blended bilinearly.

    Parameters
    ----------
    levels
        Levels 0 to 16383 of a region, uint16, axes y x.
    origin_yx
        Where the region begins in the plane, px.
    grid
        The plane's tiles.
    maps
        Of `grid.needed_tiles`, axes tile y, tile x, bin.

    Returns
    -------
    Equalised levels 0 to 16383, uint16, axes y x. The fraction of a level is cut off, as in scikit-image.

    Raises
    ------
    ValueError
        If the region is not within the plane, or other tiles' maps are given.
    TypeError
        If the levels are not uint16.
    """
    _require_region(levels, origin_yx, grid)
    tiles = grid.needed_tiles(origin_yx, levels.shape)
    expected = (*(part.stop - part.start for part in tiles), grid.nbins)
    if maps.shape != expected:
        raise ValueError(f"maps: expected shape {expected} of the region's tiles, found {maps.shape}")
    y, x = (_surroundings(grid, axis, origin_yx[axis], levels.shape[axis]) for axis in (0, 1))
    runs_y, runs_x = _runs(y, tiles[0].start), _runs(x, tiles[1].start)
    equalised = np.empty(levels.shape, np.uint16)
    blend_maps(levels, _bins(grid), maps, runs_y, y[2], runs_x, x[2], equalised)
    return equalised


def _require_region(levels: NDArray[np.uint16], origin_yx: tuple[int, int], grid: Grid) -> None:
    require_levels(levels)
    inside = levels.ndim == 2 and all(
        0 <= first < first + side <= whole
        for first, side, whole in zip(origin_yx, levels.shape, grid.shape_yx, strict=True)
    )
    if not inside:
        raise ValueError(
            f"region: expected at least one pixel within a plane of shape {grid.shape_yx}, "
            f"found shape {levels.shape} at {origin_yx}"
        )


def _bins(grid: Grid) -> NDArray[np.uint16]:
    """Bin of every level; as long as uint16 goes, so that no index is ever outside."""
    bins = np.arange(LEVELS) // (1 + LEVELS // grid.nbins)
    return np.pad(bins, (0, 65536 - LEVELS), mode="edge").astype(np.uint16)


def _counted_runs(grid: Grid, axis: int, first: int, size: int) -> NDArray[np.intp]:
    """Runs of a region's coordinates that count in one tile, as they are or mirrored: begin, end, tile."""
    whole, side = grid.shape_yx[axis], grid.kernel_yx[axis]
    own = np.arange(first, first + size)
    beyond = np.arange(whole, grid.tiles_yx[axis] * side)
    mirrored = np.sort(whole - 1 - abs(beyond % max(2 * (whole - 1), 1) - (whole - 1)))
    here = mirrored[(mirrored >= first) & (mirrored < first + size)]
    counted = np.append(own, here)
    tiles = np.append(own // side, np.full(here.size, grid.tiles_yx[axis] - 1))
    begins = np.append(0, np.flatnonzero((np.diff(counted) != 1) | (np.diff(tiles) != 0)) + 1)
    ends = np.append(begins[1:], counted.size) - 1
    return np.stack([counted[begins] - first, counted[ends] + 1 - first, tiles[begins]], axis=1)


def _surroundings(
    grid: Grid, axis: int, first: int, size: int
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float64]]:
    """Tiles whose centres lie before and after every coordinate of a region, and the share of the latter."""
    side = grid.kernel_yx[axis]
    after, past = np.divmod(np.arange(first, first + size) + side // 2, side)
    last = grid.tiles_yx[axis] - 1
    return np.maximum(after - 1, 0), np.minimum(after, last), past / side


def _runs(
    surroundings: tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float64]], first_tile: int
) -> NDArray[np.intp]:
    """Runs of coordinates between the same two tiles: begin, end, tile before, tile after."""
    before, after, _ = surroundings
    changes = np.flatnonzero((np.diff(before) != 0) | (np.diff(after) != 0)) + 1
    begins, ends = np.append(0, changes), np.append(changes, len(before))
    return np.stack([begins, ends, before[begins] - first_tile, after[begins] - first_tile], axis=1)
