"""Nuclei by a network: flows of patches, put together, and followed to the middle of each nucleus."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from tasks.kernels.checks import finite_float32
from tasks.kernels.dynamics import halo_px, labels_from_flows
from tasks.kernels.patchwork import Patchwork, Place, patchwork
from tasks.kernels.percentiles import Parts, percentiles_in_parts
from tasks.kernels.pyramid import downsample_mean
from tasks.kernels.resampling import Box
from tasks.models.diameter import Picture, find_diameters, pooled_diameter
from tasks.models.networks import FLOW_SCALE, FlowNetwork

PERCENTILES = (1.0, 99.0)
LONGEST_NUCLEUS = 3.0
"""Longest axis, in diameters, of a nucleus that a tile sees whole; longer ones are merged from parts."""
SMALLEST_SHARE = 0.15
"""Objects below this share of a disc of the diameter are dropped: the edges of turned frames give specks."""
MARGIN_PX = 16
"""How much darkness networks see around the frame, px of their own, as in Cellpose. Where their view ends,
they take a nucleus to go on, and lead to a middle outside: such flows do not fit what is visible of it."""
_LEAST_STEPS = 100

Maps = NDArray[np.float16]


@dataclass(frozen=True)
class ArrayPicture:
    """A plane in memory; see `Picture`."""

    yx: NDArray[np.float32]
    grey: tuple[float, float]

    @property
    def shape_yx(self) -> tuple[int, int]:  # noqa: D102
        return self.yx.shape[0], self.yx.shape[1]

    def part(self, box: Box, level: int) -> NDArray[np.float32]:  # noqa: D102
        rows, columns = (slice(one.start << level, one.stop << level) for one in box)
        return normalised(halved(self.yx[rows, columns], level), self.grey)


def as_picture(yx: NDArray[np.generic]) -> ArrayPicture | None:
    """Return a plane as a picture; None where all pixels are the same.

    Raises
    ------
    ValueError
        If it is no plane, or not finite.
    TypeError
        If it holds no real numbers.
    """
    plane = single_precision(np.asarray(yx))
    grey = grey_range(lambda: [plane])
    return None if grey is None else ArrayPicture(plane, grey)


def single_precision(yx: NDArray[np.generic]) -> NDArray[np.float32]:
    """Return a plane as float32; of a type that holds more, its range as 0 to 1.

    Raises
    ------
    ValueError
        If it is no plane, or not finite.
    TypeError
        If it holds no real numbers.
    """
    if yx.dtype.itemsize < 4 or yx.dtype.kind not in "iuf" or yx.dtype == np.float32 or yx.size == 0:
        return finite_float32(yx)
    wide = yx.astype(np.float64)
    low, high = float(wide.min()), float(wide.max())
    return finite_float32((wide / 2 - low / 2) / max(high / 2 - low / 2, np.finfo(np.float64).tiny))


def grey_range(parts: Parts) -> tuple[float, float] | None:
    """Return what becomes 0 and 1 of a plane that is given in parts: its 1st and 99th percentile.

    Where these are the same, its lowest and highest value: a few bright pixels on an even ground are not to
    be lost. None where all pixels are the same.
    """
    for percentiles in (PERCENTILES, (0.0, 100.0)):
        low, high = percentiles_in_parts(parts, *percentiles)
        if high > low:
            return low, high
    return None


def normalised(yx: NDArray[np.float32], grey: tuple[float, float]) -> NDArray[np.float32]:
    """Scale grey values so that the two given become 0 and 1."""
    low, high = np.float32(grey[0]), np.float32(grey[1])
    return (yx - low) / (high - low)


def halved(yx: NDArray[np.float32], times: int) -> NDArray[np.float32]:
    """Halve a plane, or a part that begins at a multiple of 2^times, so many times."""
    for _ in range(times):
        yx = downsample_mean(yx)
    return yx


@dataclass(frozen=True)
class NetworkSegmenter:
    """Segment with a network that predicts flows.

    Attributes
    ----------
    network
        What predicts them.
    diameter_px
        Typical diameter of a nucleus, px. None: found by a first pass over parts of the plane.
    flow_threshold
        Nuclei whose flows disagree more with their own shape are dropped, mean squared distance of unit
        vectors; 0 keeps all.
    cellprob_threshold
        Pixels above it belong to nuclei; the logit of the probability.
    min_area_px, max_area_px
        Smaller and larger objects are dropped. None: SMALLEST_SHARE of a disc of the diameter, and no limit.
    """

    network: FlowNetwork
    diameter_px: float | None = None
    flow_threshold: float = 0.4
    cellprob_threshold: float = 0.0
    min_area_px: int | None = None
    max_area_px: int | None = None

    algorithm: ClassVar[int] = 3

    def __post_init__(self) -> None:
        if self.diameter_px is not None and not 1 <= self.diameter_px <= 10_000:
            raise ValueError(
                f"diameter_px: expected 1 to 10000 px, or None, found {self.diameter_px}; give the typical "
                "diameter of a nucleus"
            )

    @property
    def name(self) -> str:  # noqa: D102
        return self.network.name

    @property
    def version(self) -> str:
        """Of what is done with the network, and of its weights."""
        return f"{self.algorithm}-{self.network.digest}"

    def segment(self, yx: NDArray[np.generic]) -> NDArray[np.uint32]:
        """Label the nuclei of a plane.

        Parameters
        ----------
        yx
            Image, axes y x, any real dtype and range, finite; nuclei bright.

        Returns
        -------
        Labels, uint32, axes y x: 0 background, 1 to n without a gap, in the order of their first pixels.

        Raises
        ------
        ValueError
            If `yx` is no plane, or not finite.
        """
        picture = as_picture(yx)
        if picture is None:
            return np.zeros(np.shape(yx), np.uint32)
        diameter_px = self.diameter_of([picture])
        patches = self.patches(picture.shape_yx, diameter_px)
        maps = {place: self.maps(picture, patches, [place])[0] for place in patches.places}
        whole = (slice(0, yx.shape[0]), slice(0, yx.shape[1]))
        labels = self.labels(patches.joined(maps, whole), diameter_px)
        return labels if self.max_area_px is None else _without_larger(labels, self.max_area_px)

    def diameter_of(self, pictures: Sequence[Picture]) -> float:
        """Return the diameter of nuclei, px: the one given, or one found in pictures of a recording."""
        if self.diameter_px is not None:
            return self.diameter_px
        if self.network.any_diameter:
            return self.network.diameter_px
        return pooled_diameter(self.network, [find_diameters(self.network, one) for one in pictures])

    def patches(self, shape_yx: tuple[int, int], diameter_px: float) -> Patchwork:
        """Plan what the network is given of a plane."""
        return patchwork(
            shape_yx,
            self.network.diameter_px / diameter_px,
            longest_px=self.network.patch_px,
            overlap_px=self.network.overlap_px,
            multiple_px=self.network.multiple_px,
            margin_px=MARGIN_PX,
        )

    def maps(self, picture: Picture, patches: Patchwork, places: Sequence[Place]) -> Maps:
        """Return what the network says of patches; float16, shape (n, 3, y, x)."""
        images = []
        for place in places:
            box = patches.source_box(place)
            images.append(patches.scaled(picture.part(box, patches.level), box, place))
        return self.network.maps(np.stack(images)).astype(np.float16)

    def labels(self, maps_cyx: NDArray[np.float32], diameter_px: float) -> NDArray[np.uint32]:
        """Label a part of a plane from its maps; as the whole but for the numbers, `halo_px` inside."""
        return labels_from_flows(
            maps_cyx[:2] / np.float32(FLOW_SCALE),
            maps_cyx[2],
            cellprob_threshold=self.cellprob_threshold,
            flow_threshold=self.flow_threshold,
            niter=max(_LEAST_STEPS, math.ceil(LONGEST_NUCLEUS * diameter_px)),
            min_area_px=self.smallest_px(diameter_px),
        )

    def smallest_px(self, diameter_px: float) -> int:
        """Area below which an object is dropped, px."""
        if self.min_area_px is not None:
            return self.min_area_px
        return math.ceil(SMALLEST_SHARE * math.pi / 4 * diameter_px**2)

    @property
    def halo_px(self) -> int:
        """Margin with which a part of the plane has the labels of the whole, px."""
        return halo_px(LONGEST_NUCLEUS / 2 * (self.diameter_px or self.network.diameter_px))


def _without_larger(labels_yx: NDArray[np.uint32], most_px: int) -> NDArray[np.uint32]:
    kept = np.bincount(labels_yx.ravel()) <= most_px
    kept[0] = False
    numbers: NDArray[np.uint32] = (np.cumsum(kept) * kept).astype(np.uint32)[labels_yx]
    return numbers
