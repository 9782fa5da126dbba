"""Regions of an array: pure index arithmetic, the language of units, halos and shards."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from storage.errors import MisalignedRegionError


@dataclass(frozen=True, order=True)
class Region:
    """A box of an array: `start` inclusive, `stop` exclusive, one number an axis."""

    start: tuple[int, ...]
    stop: tuple[int, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """The lengths of the box."""
        return tuple(stop - start for start, stop in zip(self.start, self.stop, strict=True))

    @property
    def slices(self) -> tuple[slice, ...]:
        """The box as an index for numpy or zarr."""
        return tuple(slice(start, stop) for start, stop in zip(self.start, self.stop, strict=True))

    def expanded(self, halo: Sequence[int], shape: Sequence[int]) -> "Region":
        """Return the box grown by `halo` on every side, cut at the borders of an array of `shape`."""
        return Region(
            tuple(max(0, start - grow) for start, grow in zip(self.start, halo, strict=True)),
            tuple(min(size, stop + grow) for stop, grow, size in zip(self.stop, halo, shape, strict=True)),
        )

    def within(self, outer: "Region") -> tuple[slice, ...]:
        """Return where this box lies in an array that holds exactly `outer`."""
        return tuple(
            slice(start - origin, stop - origin)
            for start, stop, origin in zip(self.start, self.stop, outer.start, strict=True)
        )

    def halved(self, times: int, axes: int = 2) -> "Region":
        """Return the box in a level of the pyramid that is `times` steps down in the last `axes` axes."""
        factor = 2**times
        keep = len(self.start) - axes
        start = self.start[:keep] + tuple(value // factor for value in self.start[keep:])
        stop = self.stop[:keep] + tuple(math.ceil(value / factor) for value in self.stop[keep:])
        return Region(start, stop)

    @property
    def name(self) -> str:
        """A short name that sorts and is safe in a path: the box's first corner."""
        return ".".join(f"{value:06d}" for value in self.start)


def grid_regions(shape: Sequence[int], steps: Sequence[int]) -> list[Region]:
    """Return the boxes of a regular grid that cover `shape` exactly once, in row-major order."""
    starts = [range(0, size, step) for size, step in zip(shape, steps, strict=True)]
    return [
        Region(corner, tuple(min(a + s, n) for a, s, n in zip(corner, steps, shape, strict=True)))
        for corner in itertools.product(*starts)
    ]


def check_aligned(region: Region, shape: Sequence[int], grid: Sequence[int]) -> None:
    """Raise MisalignedRegionError unless `region` covers whole cells of `grid` in an array of `shape`."""
    for start, stop, size, step in zip(region.start, region.stop, shape, grid, strict=True):
        ends_whole = stop == size or stop % step == 0
        if start % step or not ends_whole or not 0 <= start < stop <= size:
            raise MisalignedRegionError(
                f"expected a region of whole shards of {tuple(grid)} in an array of shape {tuple(shape)}, "
                f"found {region.start} to {region.stop}; write exactly one shard at a time"
            )
