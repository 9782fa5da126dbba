"""The diameter of a picture's nuclei, found by showing a network a part of it at several scales.

A network of Cellpose's kind knows nuclei of one diameter, and those half or twice as wide less well. So a
scale is right if most of what is found at it has the diameter that it is made for, and covers more of the
part than what is found at others. From the best of four scales the estimate goes on to where it does not
change.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter

from tasks.kernels.dynamics import labels_from_flows
from tasks.kernels.patchwork import patchwork
from tasks.kernels.resampling import Box
from tasks.models.networks import FLOW_SCALE, FlowNetwork

FIRST_PX = (8.5, 17.0, 34.0, 68.0)
LOOKED_AT_PX = 256  # edge, in the network's pixels, of the part that is looked at
ALIKE = 1.5  # at its scale, a nucleus has the network's diameter within this factor
LOOKS = 3  # after the first four
SETTLED = 0.08  # a change of the estimate that ends the search
OVERVIEW_PX = 256
STEPS = 60  # of the dynamics: nuclei that need more are too large for the scale
_ALIGNED_PX = 64  # where parts begin: whole pixels of the halved picture

Diameters = NDArray[np.float64]


class Picture(Protocol):
    """A plane that is read in parts, scaled so that 0 and 1 are its 1st and 99th percentile."""

    @property
    def shape_yx(self) -> tuple[int, int]: ...  # noqa: D102

    def part(self, box: Box, level: int) -> NDArray[np.float32]:
        """Return a part, axes y x, of the plane halved `level` times; the box is in px of that."""
        ...


def pooled_diameter(network: FlowNetwork, found: Sequence[Diameters]) -> float:
    """Return the median of all diameters of nuclei, px; the network's own if there is none."""
    every = np.concatenate([np.zeros(0), *found])
    return float(np.median(every)) if every.size else network.diameter_px


def find_diameters(network: FlowNetwork, picture: Picture) -> Diameters:
    """Return diameters of some nuclei of a picture, px; of discs of their areas, empty if none is found."""
    overview = _Overview.of(picture)

    def look(expected_px: float) -> _Seen:
        scale = network.diameter_px / expected_px
        box = overview.brightest(math.ceil(LOOKED_AT_PX / scale))
        return _Seen(expected_px, _diameters(network, picture, box, scale), _area(box))

    best = max(map(look, FIRST_PX), key=lambda seen: seen.fit)
    for _ in range(LOOKS if best.alike_px.size else 0):
        again = look(float(np.median(best.alike_px)))
        if again.alike_px.size == 0:
            break
        best = again
        if abs(math.log(np.median(best.alike_px) / best.expected_px)) < SETTLED:
            break
    return best.alike_px


@dataclass(frozen=True)
class _Seen:
    """What was found in a part of a picture when nuclei were taken to have one diameter; px."""

    expected_px: float
    diameters_px: Diameters
    area_px: int

    @property
    def alike_px(self) -> Diameters:
        """Diameters of the nuclei that have about the expected one."""
        apart = np.abs(np.log(self.diameters_px / self.expected_px))
        return self.diameters_px[apart < math.log(ALIKE)]

    @property
    def fit(self) -> float:
        """Share of the part that these cover, but for a factor, times their share of all that was found.

        At too coarse a scale a patch of ground may be taken for one large nucleus, which covers more than all
        the true ones do.
        """
        alike_px = self.alike_px
        share = alike_px.size / max(self.diameters_px.size, 1)
        return share * float((alike_px**2).sum()) / self.area_px


@dataclass(frozen=True)
class _Overview:
    """A small version of a picture, halved `level` times, in which a bright part is chosen."""

    picture: Picture
    yx: NDArray[np.float32]
    level: int

    @classmethod
    def of(cls, picture: Picture) -> "_Overview":
        level = max(0, math.ceil(math.log2(max(picture.shape_yx) / OVERVIEW_PX)))
        height, width = (-(-size // 2**level) for size in picture.shape_yx)
        whole = picture.part((slice(0, height), slice(0, width)), level)
        return cls(picture, np.clip(whole, 0, 1), level)

    def brightest(self, edge_px: int) -> Box:
        """Return the brightest square of the picture with this edge, or all of it along a shorter side."""
        sides = [max(1, min(size, edge_px >> self.level)) for size in self.yx.shape]
        means = uniform_filter(self.yx, sides, mode="constant")
        rows, columns = (slice(k // 2, k // 2 + n - k + 1) for k, n in zip(sides, self.yx.shape, strict=True))
        start = np.unravel_index(np.argmax(means[rows, columns]), means[rows, columns].shape)
        top, left = (
            max(0, min(int(at) << self.level, size - edge_px)) // _ALIGNED_PX * _ALIGNED_PX
            for at, size in zip(start, self.picture.shape_yx, strict=True)
        )
        height, width = self.picture.shape_yx
        return slice(top, min(height, top + edge_px)), slice(left, min(width, left + edge_px))


def _area(box: Box) -> int:
    rows, columns = box
    return len(range(rows.start, rows.stop)) * len(range(columns.start, columns.stop))


def _diameters(network: FlowNetwork, picture: Picture, box: Box, scale: float) -> Diameters:
    """Return diameters of the nuclei found in a part at a scale, px of the picture."""
    maps = _maps(network, picture, box, scale)
    labels = labels_from_flows(maps[:2] / np.float32(FLOW_SCALE), maps[2], niter=STEPS)
    areas = np.bincount(labels.ravel())[1:]
    return np.asarray(np.sqrt(areas * 4 / np.pi) / scale)


def _maps(network: FlowNetwork, picture: Picture, box: Box, scale: float) -> NDArray[np.float32]:
    """Return the maps of a part at a scale, in rescaled px."""
    patches = patchwork(
        (box[0].stop - box[0].start, box[1].stop - box[1].start),
        scale,
        longest_px=network.multiple_px * math.ceil(2 * LOOKED_AT_PX / network.multiple_px),
        overlap_px=0,
        multiple_px=network.multiple_px,
    )
    starts = [one.start >> patches.level for one in box]
    rows, columns = (slice(a, a + n) for a, n in zip(starts, patches.level_yx, strict=True))
    source = np.ascontiguousarray(picture.part((rows, columns), patches.level))
    whole = (slice(0, source.shape[0]), slice(0, source.shape[1]))
    height, width = patches.scaled_yx
    return network.maps(patches.scaled(source, whole, (0, 0))[None])[0, :, :height, :width]
