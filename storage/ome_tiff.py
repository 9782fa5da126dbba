"""Images and labels of a store as OME-TIFF with a pyramid, a row of tiles at a time."""

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from storage import images, layout
from storage.arrays import ZarrArray
from storage.images import OmeImage
from storage.objects import Objects
from storage.records import Record
from storage.regions import Region, grid_regions
from storage.staging import staged

KINDS = ("raw", "clean", "labels")
TILE_PX = 512
HELD_BYTES = 2**22  # of tiles that wait for the compressor
Listener = Callable[[int, int], None]


def opened(objects: Objects, record: Record) -> OmeImage:
    """Open the image of a raw, clean or labels artifact."""
    if record.kind != "labels":
        return images.open_image(objects, layout.image_path(record.kind, record.key))
    clean = next(parent.key for parent in record.parents if parent.kind == "clean")
    return images.open_image(objects, layout.labels_path(clean, record.key))


def export_ome_tiff(objects: Objects, record: Record, out: Path, listener: Listener | None = None) -> int:
    """Write an image, axes t c z y x, or a label image, axes t z y x, as one OME-TIFF with its pyramid.

    Pixels are compressed without loss, in tiles of 512 px, in BigTIFF where they need it; a plane's smaller
    levels are its SubIFDs, where OME-TIFF 6.0 has them. Held at a time is a row of tiles, never a plane. What
    the image does not say (such as a pixel size) the file does not say either.

    Returns
    -------
    The number of planes.

    Raises
    ------
    InputError
        `out` exists, or lies in the store.
    StoreError
        The image cannot be read, or the file not be written.
    """
    image = opened(objects, record)
    total = sum(len(_rows(level)) for level in image.levels)
    told = _counting(total, listener)
    with (
        staged(objects, out, is_folder=False) as staging,
        tifffile.TiffWriter(staging, bigtiff=_size_bytes(image) > 2**31, ome=True) as file,
    ):
        for number, level in enumerate(image.levels):
            place: dict[str, Any] = {"subfiletype": 1, "metadata": None}
            if number == 0:
                place = {"subifds": len(image.levels) - 1, "metadata": _metadata(image, record)}
            file.write(
                _tiles(level, told),
                shape=level.shape,
                dtype=image.dtype,
                tile=_tile(level),
                photometric="minisblack",
                compression="zlib",
                buffersize=HELD_BYTES,
                software="chipcyte",
                **place,
            )
    return int(np.prod(image.shape[:-2]))


def _size_bytes(image: OmeImage) -> int:
    return sum(int(np.prod(level.shape)) for level in image.levels) * image.dtype.itemsize


def _tile(level: ZarrArray) -> tuple[int, int]:
    """Return the edges of a tile: TIFF asks for multiples of 16, and a small image for no more."""
    height, width = (min(TILE_PX, -(-size // 16) * 16) for size in level.shape[-2:])
    return height, width


def _rows(level: ZarrArray) -> list[Region]:
    """Return the rows of tiles in the order of the file: t, c, z, y."""
    shape = level.shape
    return grid_regions(shape, (*(1 for _ in shape[:-2]), _tile(level)[0], shape[-1]))


def _tiles(level: ZarrArray, told: Callable[[], None]) -> Iterator[NDArray[Any]]:
    """Yield the tiles of a level, cut at its right and lower border."""
    for row in _rows(level):
        pixels = level.read(row).reshape(row.shape[-2:])
        told()
        for left in range(0, row.shape[-1], _tile(level)[1]):
            yield pixels[:, left : left + _tile(level)[1]]


def _counting(total: int, listener: Listener | None) -> Callable[[], None]:
    """Return what tells a listener that one more of all is done."""
    done = itertools.count(1)
    return lambda: listener(next(done), total) if listener is not None else None


def _metadata(image: OmeImage, record: Record) -> dict[str, Any]:
    said = image.metadata
    found: dict[str, Any] = {"axes": "TCZYX" if len(image.shape) == 5 else "TZYX", "Name": said.name}
    found["Description"] = f"chipcyte {record.kind} {record.key}"
    for axis, size_um in zip("ZYX", said.pixel_size_um, strict=True):
        if size_um is not None:
            found |= {f"PhysicalSize{axis}": size_um, f"PhysicalSize{axis}Unit": "µm"}
    if said.time_interval_s is not None:
        found |= {"TimeIncrement": said.time_interval_s, "TimeIncrementUnit": "s"}
    if len(image.shape) == 5 and said.channel_names:
        found["Channel"] = {"Name": list(said.channel_names)}
    return found
