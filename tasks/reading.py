"""The raw frames of an image, read part by part, evenly lit."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

from storage import images, layout
from storage.errors import InputError
from storage.images import OmeImage
from storage.objects import open_store
from storage.regions import Region
from tasks.kernels.illumination import Illumination, correct_region
from tasks.kernels.preprocessing import Box, Read


@dataclass(frozen=True)
class RawFrames:
    """The frames of a raw image that are cleaned.

    Attributes
    ----------
    store, raw
        The store's URL and the image's key.
    channel
        Index of the channel.
    project
        Whether a frame is the maximum over z, or each plane is one.
    times
        Time points of the raw image; their order is the clean one's.
    flat
        How the chip was lit; None: taken to be even.
    """

    store: str
    raw: str
    channel: int
    project: bool
    times: tuple[int, ...]
    flat: Illumination | None = None

    def image(self) -> OmeImage:
        """Open the raw image."""
        return images.open_image(open_store(self.store), layout.image_path("raw", self.raw))

    def reader(self, t: int, z: int, level: int = 0) -> Read:
        """Return what reads parts of a frame, evenly lit; `t` counts the chosen time points."""
        image = self.image()
        depths = range(image.shape[2]) if self.project else (z,)
        height, width = image.levels[level].shape[-2:]

        def read(box: Box) -> NDArray[np.generic]:
            regions = (_region((self.times[t], self.channel, depth), box) for depth in depths)
            yx = _highest(image.read(region, level)[0, 0, 0] for region in regions)
            if yx.dtype.kind == "f" and not np.isfinite(yx).all():
                raise InputError(
                    f"{image.metadata.name}, time point {self.times[t]}: expected finite pixels, found NaN "
                    "or infinity; export the recording without them"
                )
            if self.flat is None:
                return yx
            origin_yx = (box[0].start, box[1].start)
            return correct_region(yx, self.flat, origin_yx=origin_yx, shape_yx=(height, width))

        return read


def spread(count: int, most: int) -> list[int]:
    """Return at most so many of the numbers from 0 to below `count`, evenly spread, both ends among them."""
    chosen: list[int] = np.unique(np.linspace(0, count - 1, min(count, most)).astype(int)).tolist()
    return chosen


def _region(place: tuple[int, int, int], box: Box) -> Region:
    (rows, columns), (t, c, z) = box, place
    return Region((t, c, z, rows.start, columns.start), (t + 1, c + 1, z + 1, rows.stop, columns.stop))


def _highest(planes: Iterable[NDArray[Any]]) -> NDArray[Any]:
    """Return the maximum of planes, of which two are held at a time."""
    return reduce(np.maximum, planes)
