"""Images and labels of a store as OME-TIFF, a plane at a time."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from storage import images, layout
from storage.images import OmeImage
from storage.objects import Objects
from storage.records import Record
from storage.regions import Region
from storage.staging import staged

KINDS = ("raw", "clean", "labels")
Listener = Callable[[int, int], None]


def opened(objects: Objects, record: Record) -> OmeImage:
    """Open the image of a raw, clean or labels artifact."""
    if record.kind != "labels":
        return images.open_image(objects, layout.image_path(record.kind, record.key))
    clean = next(parent.key for parent in record.parents if parent.kind == "clean")
    return images.open_image(objects, layout.labels_path(clean, record.key))


def export_ome_tiff(objects: Objects, record: Record, out: Path, listener: Listener | None = None) -> int:
    """Write an image, axes t c z y x, or a label image, axes t z y x, as one OME-TIFF at full size.

    Pixels are compressed without loss, in tiles of 512 px, in BigTIFF where they need it. What the image does
    not say (such as a pixel size) the file does not say either.

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
    leading = image.shape[:-2]
    count = int(np.prod(leading))
    with staged(objects, out, is_folder=False) as staging:
        tifffile.imwrite(
            staging,
            _told(_planes(image), count, listener),
            shape=image.shape,
            dtype=image.dtype,
            ome=True,
            bigtiff=int(np.prod(image.shape)) * image.dtype.itemsize > 2**31,
            photometric="minisblack",
            compression="zlib",
            software="chipcyte",
            metadata=_metadata(image, record),
        )
    return count


def _planes(image: OmeImage) -> Iterator[NDArray[Any]]:
    """Yield the planes in the order of the file: t, c, z."""
    height, width = image.shape[-2:]
    for place in np.ndindex(image.shape[:-2]):
        region = Region((*place, 0, 0), (*(number + 1 for number in place), height, width))
        yield image.read(region).reshape(height, width)


def _told(planes: Iterator[NDArray[Any]], count: int, listener: Listener | None) -> Iterator[NDArray[Any]]:
    for number, plane in enumerate(planes, start=1):
        yield plane
        if listener is not None:
            listener(number, count)


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
