"""A plane cut into overlapping patches of the size that a network likes, and put together from what it says.

The patches lie on a grid of their own, from the plane's first pixel on, in the plane rescaled so that nuclei
have the diameter the network knows. The grid follows from the plane and the network alone: each patch is
computed once, whatever part of the plane somebody wants labels of, so every part finds the same numbers.

    plane --scaled--> patches --network--> maps of patches --joined--> maps of any part of the plane
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tasks.kernels.resampling import Box, needed_box, resample

Float32 = NDArray[np.float32]
Place = tuple[int, int]


@dataclass(frozen=True)
class Patchwork:
    """The grid of patches of one plane.

    Attributes
    ----------
    shape_yx
        The plane's, px.
    scale
        Pixels of the rescaled plane for one of the plane.
    counts_yx, patch_yx
        How many patches there are, and their edges, rescaled px. They begin every `patch - overlap`; the
        first and the last ones reach beyond the plane, where they are 0.
    overlap_px
        How much of two neighbours is the same, rescaled px.
    margin_px
        How far the patches reach beyond the plane at least, on each side, rescaled px.
    """

    shape_yx: tuple[int, int]
    scale: float
    counts_yx: tuple[int, int]
    patch_yx: tuple[int, int]
    overlap_px: int
    margin_px: int = 0

    @property
    def scaled_yx(self) -> tuple[int, int]:
        """Shape of the rescaled plane."""
        height, width = (max(1, round(size * self.scale)) for size in self.shape_yx)
        return height, width

    @property
    def level(self) -> int:
        """How often the plane is halved before patches are taken from it, so that no pixel is left out."""
        return max(0, math.floor(-math.log2(self.scale) + 1e-9))

    @property
    def level_yx(self) -> tuple[int, int]:
        """Shape of the plane halved so often."""
        height, width = (-(-size // 2**self.level) for size in self.shape_yx)
        return height, width

    @property
    def places(self) -> list[Place]:
        """Row and column of every patch."""
        return [(row, column) for row in range(self.counts_yx[0]) for column in range(self.counts_yx[1])]

    def box(self, place: Place) -> Box:
        """Part of the rescaled plane that a patch shows; it may begin before it and end beyond it."""
        starts = [
            at * (edge - self.overlap_px) - self.margin_px
            for at, edge in zip(place, self.patch_yx, strict=True)
        ]
        rows, columns = (slice(a, a + edge) for a, edge in zip(starts, self.patch_yx, strict=True))
        return rows, columns

    def source_box(self, place: Place) -> Box:
        """Part of the halved plane (`level`) that a patch is made of."""
        return needed_box(
            self.box(place), shape_yx=self.level_yx, matrix=self._to_level(), order=1, mirror=True
        )

    def scaled(self, source_yx: Float32, source_box: Box, place: Place) -> Float32:
        """Return the pixels of a patch from those of the halved plane in `source_box`; both float32."""
        seen: Float32 = resample(
            source_yx,
            source_box,
            self.box(place),
            shape_yx=self.level_yx,
            matrix=self._to_level(),
            order=1,
            fill=None,
        ).astype(np.float32, copy=False)
        inside = tuple(
            slice(max(0, -part.start), min(part.stop, size) - part.start)
            for part, size in zip(self.box(place), self.scaled_yx, strict=True)
        )
        patch = np.zeros_like(seen)
        patch[inside] = seen[inside]
        return patch

    def needed(self, window: Box) -> list[Place]:
        """Patches that decide about a part of the plane, px of the plane."""
        return [place for place in self.places if self._meets(place, self._maps_box(window))]

    def joined(self, maps_by_place: Mapping[Place, NDArray[np.floating]], window: Box) -> Float32:
        """Return the maps of a part of the plane.

        Parameters
        ----------
        maps_by_place
            Maps, axes c y x, of at least the `needed` patches.
        window
            The part, px of the plane.

        Returns
        -------
        Maps at the plane's own pixels, bilinear, float32, axes c y x. Where patches overlap, the share of the
        one falls evenly from 1 to 0 while the other's rises, in the middle half of the overlap; pixels near
        a patch's border, which lack what lies beyond, have none.
        """
        box = self._maps_box(window)
        joined: Float32 | None = None
        for place in self.needed(window):
            maps = maps_by_place[place]
            if joined is None:
                joined = np.zeros((maps.shape[0], *(part.stop - part.start for part in box)), np.float32)
            self._add(joined, box, maps, place)
        assert joined is not None, "every part of a plane lies in a patch"
        return self._at_pixels(joined, box, window)

    def _add(self, joined: Float32, box: Box, maps: NDArray[np.floating], place: Place) -> None:
        own = self.box(place)
        both = [slice(max(a.start, b.start), min(a.stop, b.stop)) for a, b in zip(own, box, strict=True)]
        here = tuple(slice(b.start - a.start, b.stop - a.start) for a, b in zip(own, both, strict=True))
        there = tuple(slice(b.start - a.start, b.stop - a.start) for a, b in zip(box, both, strict=True))
        y, x = (
            self._shares(at, count, edge)[part]
            for at, count, edge, part in zip(place, self.counts_yx, self.patch_yx, here, strict=True)
        )
        joined[:, *there] += maps[:, *here].astype(np.float32) * (y[:, None] * x)

    def _shares(self, at: int, count: int, edge: int) -> Float32:
        """Share of a patch at each of its pixels along one axis; those of all patches add up to 1."""
        shares = np.ones(edge, np.float32)
        ramp = self._ramp()
        if at > 0:
            shares[: self.overlap_px] = ramp
        if at < count - 1:
            shares[edge - self.overlap_px :] = 1 - ramp
        return shares

    def _ramp(self) -> Float32:
        quarter = self.overlap_px / 4
        rising = (np.arange(self.overlap_px) + 0.5 - quarter) / (2 * quarter)
        ramp: Float32 = np.clip(rising, 0, 1).astype(np.float32)
        return ramp

    def _at_pixels(self, maps: Float32, box: Box, window: Box) -> Float32:
        if self.scale == 1:
            return maps
        planes = [
            resample(one, box, window, shape_yx=self.scaled_yx, matrix=self._to_scaled(), order=1, fill=None)
            for one in maps
        ]
        return np.stack(planes).astype(np.float32, copy=False)

    def _maps_box(self, window: Box) -> Box:
        if self.scale == 1:
            return window
        return needed_box(window, shape_yx=self.scaled_yx, matrix=self._to_scaled(), order=1, mirror=True)

    def _meets(self, place: Place, box: Box) -> bool:
        return all(a.start < b.stop and b.start < a.stop for a, b in zip(self.box(place), box, strict=True))

    def _to_level(self) -> NDArray[np.float64]:
        return _rescaling(1 / (self.scale * 2**self.level))

    def _to_scaled(self) -> NDArray[np.float64]:
        return _rescaling(self.scale)


def patchwork(
    shape_yx: tuple[int, int],
    scale: float,
    *,
    longest_px: int,
    overlap_px: int,
    multiple_px: int,
    margin_px: int = 0,
) -> Patchwork:
    """Plan the patches of a plane: as few as possible, all of one shape.

    Parameters
    ----------
    shape_yx
        The plane's, px.
    scale
        Pixels of the rescaled plane for one of the plane.
    longest_px
        The longest edge of a patch, a multiple of `multiple_px`.
    overlap_px
        How much of two neighbours is the same; less than a patch, a multiple of 4.
    multiple_px
        What edges must be divisible by.
    margin_px
        How much of the outside the patches show at the plane's borders.

    Raises
    ------
    ValueError
        If the scale is not above 0, or the lengths do not fit.
    """
    if not 0 < scale < math.inf:
        raise ValueError(f"scale: expected a number above 0, found {scale}; give a diameter above 0 px")
    if longest_px % multiple_px or not 0 <= overlap_px < longest_px or overlap_px % 4:
        raise ValueError(
            f"expected longest_px a multiple of {multiple_px} and an overlap below it that 4 divides, "
            f"found {longest_px} and {overlap_px}"
        )
    sizes = [max(1, round(size * scale)) + 2 * margin_px for size in shape_yx]
    counts = [max(1, -(-(size - overlap_px) // (longest_px - overlap_px))) for size in sizes]
    edges = [
        -(-(size + (count - 1) * overlap_px) // (count * multiple_px)) * multiple_px
        for size, count in zip(sizes, counts, strict=True)
    ]
    return Patchwork(shape_yx, scale, (counts[0], counts[1]), (edges[0], edges[1]), overlap_px, margin_px)


def _rescaling(factor: float) -> NDArray[np.float64]:
    """Matrix (y, x, 1) to (y, x, 1) between planes whose corners, not pixel centres, lie on each other."""
    shift = (factor - 1) / 2
    return np.array([[factor, 0, shift], [0, factor, shift], [0, 0, 1]], np.float64)
