"""OME-Zarr images of a store: a pyramid whose levels are sharded alike, so a unit owns its shard in each."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from storage import arrays, layout, ome, records
from storage.arrays import ArraySpec, Digests, ZarrArray, power_of_two_shards
from storage.errors import DamagedStoreError, MissingInputError
from storage.objects import Objects
from storage.ome import ImageMetadata
from storage.regions import Region, grid_regions

SMALLEST_LEVEL_PX = 256
Halve = Callable[[NDArray[Any]], NDArray[Any]]


@dataclass(frozen=True)
class OmeImage:
    """A multiscale image: `levels[0]` is full size, each next one half in y and x."""

    path: str
    levels: tuple[ZarrArray, ...]
    metadata: ImageMetadata

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape at full size."""
        return self.levels[0].shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """The pixels' data type."""
        return np.dtype(self.levels[0].spec.dtype)

    def units(self) -> list[Region]:
        """Return the regions of the full-size array that have one writer each: its shards."""
        return grid_regions(self.shape, self.levels[0].spec.shards)

    def read(self, region: Region, level: int = 0) -> NDArray[Any]:
        """Return the pixels of a region of one level."""
        return self.levels[level].read(region)

    def write(self, region: Region, values: NDArray[Any], halve: Halve) -> None:
        """Write one unit into every level; `halve` takes an array to half its size in y and x."""
        for number, level in enumerate(self.levels):
            if number:
                values = halve(values)
            level.write(region.halved(number), values)

    def plane(self, t: int, c: int, z: int) -> Region:
        """Return the region of one plane of an image with axes t c z y x."""
        height, width = self.shape[-2:]
        return Region((t, c, z, 0, 0), (t + 1, c + 1, z + 1, height, width))


def level_count(shape: tuple[int, ...]) -> int:
    """Return how many levels bring the longer edge to 256 px or less, each shard edge staying whole."""
    longest, levels = max(shape[-2:]), 1
    while longest > SMALLEST_LEVEL_PX and levels < 6:
        longest, levels = math.ceil(longest / 2), levels + 1
    return levels


def _level_spec(shape: tuple[int, ...], dtype: str, level: int, shard_px: int) -> ArraySpec:
    chunks, shards = power_of_two_shards(shape, largest=shard_px)
    factor = 2**level
    leading = len(shape) - 2
    level_shards = shards[:leading] + tuple(max(1, edge // factor) for edge in shards[leading:])
    return ArraySpec(
        shape=shape[:leading] + tuple(math.ceil(size / factor) for size in shape[leading:]),
        dtype=dtype,
        chunks=tuple(min(pair) for pair in zip(chunks, level_shards, strict=True)),
        shards=level_shards,
        axes=ome.AXES if len(shape) == len(ome.AXES) else ome.LABEL_AXES,
    )


def create_image(
    objects: Objects,
    path: str,
    *,
    shape: tuple[int, ...],
    dtype: str,
    metadata: ImageMetadata,
    written: Digests,
    shard_px: int = 4096,
) -> OmeImage:
    """Create an image t c z y x (or a label image t z y x), final in all but its pixels.

    Parameters
    ----------
    shard_px
        Longest edge of a shard in y and x, a power of two; a plane that fits is one shard.
    """
    levels = level_count(shape)
    if len(shape) == len(ome.AXES):
        attributes = ome.image_attributes(metadata, levels, _limits(np.dtype(dtype)))
    else:
        attributes = ome.label_attributes(metadata, levels)
    arrays.create_group(objects, path, attributes, written)
    made = [
        arrays.create_array(objects, f"{path}/{n}", _level_spec(shape, dtype, n, shard_px), written)
        for n in range(levels)
    ]
    return OmeImage(path, tuple(made), metadata)


def open_image(objects: Objects, path: str, written: Digests | None = None) -> OmeImage:
    """Open an image that chipcyte wrote; MissingInputError if there is none at `path`."""
    attributes = arrays.group_attributes(objects, path)
    try:
        datasets = attributes["ome"]["multiscales"][0]["datasets"]
        metadata = ome.read_metadata(attributes)
    except (KeyError, IndexError) as error:
        raise MissingInputError(f"expected an OME-Zarr image at {objects.uri(path)}, found none") from error
    levels = tuple(arrays.open_array(objects, f"{path}/{d['path']}", written) for d in datasets)
    return OmeImage(path, levels, metadata)


def list_labels(objects: Objects, clean_key: str, names: list[str]) -> None:
    """Write the list of a clean image's label images, which NGFF readers look for.

    The list is derived from the records, so writing it again is harmless; one that is right stays untouched.
    """
    path = layout.labels_group_path(clean_key)
    if not names:
        objects.delete([f"{path}/zarr.json"])
    elif listed_labels(objects, clean_key) != sorted(names):
        arrays.create_group(objects, path, ome.labels_group_attributes(sorted(names)), {})


def label_keys(objects: Objects, clean_key: str) -> list[str]:
    """Return the keys of the finished label images that lie in a clean image; looks at no other image."""
    group = layout.labels_group_path(clean_key)
    inside = {name.removeprefix(f"{group}/").partition("/")[0] for name in objects.names(group)}
    return sorted(key for key in inside - {"zarr.json"} if records.find(objects, "labels", key))


def listed_labels(objects: Objects, clean_key: str) -> list[str]:
    """Return the label images that NGFF readers are told of; none if the list is missing or damaged."""
    try:
        attributes = arrays.group_attributes(objects, layout.labels_group_path(clean_key))
        return [str(name) for name in attributes["ome"]["labels"]]
    except (MissingInputError, DamagedStoreError, KeyError, TypeError):
        return []


def _limits(dtype: np.dtype[Any]) -> tuple[float, float]:
    if dtype.kind in "ui":
        info = np.iinfo(dtype)
        return float(info.min), float(info.max)
    return 0.0, 1.0
