"""Corrected masks as artifacts: the picture beside them, so that learning needs nothing else."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from storage import arrays, images, layout, ome, records
from storage.arrays import Digests
from storage.images import Halve, OmeImage
from storage.objects import Objects
from storage.ome import ImageMetadata
from storage.records import Record, Reference
from storage.regions import Region
from tasks.kernels.pyramid import downsample_labels, downsample_mean
from tasks.stage import Handle, Outcome, Question, handle, produce

ALGORITHM = 1
LABELS = "annotation"


@dataclass(frozen=True)
class Annotation:
    """A picture and its masks as a person left them.

    Attributes
    ----------
    name
        What people call the picture.
    group
        Chip or field of view; what is held out is held out by group.
    yx, labels_yx
        Picture, and labels 0 to n.
    """

    name: str
    group: str
    yx: NDArray[np.generic]
    labels_yx: NDArray[np.uint32]

    @property
    def statement(self) -> dict[str, Any]:
        """What goes into the key: which masks which picture has."""
        return {
            "name": self.name,
            "group": self.group,
            "picture": pixels_digest(self.yx),
            "masks": pixels_digest(self.labels_yx),
        }


def pixels_digest(yx: NDArray[np.generic]) -> str:
    """Return the SHA-256 of a plane: its type, shape and values."""
    plain = np.ascontiguousarray(yx)
    head = f"{plain.dtype.str} {plain.shape} ".encode()
    return hashlib.sha256(head + plain.tobytes()).hexdigest()


def keep_annotation(
    objects: Objects,
    annotation: Annotation,
    *,
    made_from: Sequence[Reference],
    standing: Record | None,
    counts: dict[str, int],
    metrics: dict[str, Any],
    details: dict[str, Any],
) -> Handle:
    """Store the masks of a picture; the same masks twice are stored once.

    Parameters
    ----------
    made_from
        The clean image and labels that were corrected; none for a picture from outside.
    standing
        What holds for this picture so far. New masks follow it, so that the last statement always holds.
    counts, metrics, details
        What changed, who said so and when.
    """
    if standing is not None and standing.settings == annotation.statement:
        return handle(objects, standing)
    parents = (*made_from, *((standing.reference,) if standing is not None else ()))
    asked = Question("annotation", annotation.name, parents, annotation.statement, ALGORITHM)
    return produce(
        objects, asked, lambda key: Outcome(*_write(objects, key, annotation), counts, metrics, details)
    )


def _write(objects: Objects, key: str, annotation: Annotation) -> tuple[str, Digests]:
    path = layout.image_path("annotation", key)
    written: Digests = {}
    yx = _storable(annotation.yx)
    metadata = ImageMetadata(annotation.name, windows=(_window(yx),), channel_names=("picture",))
    height, width = yx.shape
    picture = images.create_image(
        objects, path, shape=(1, 1, 1, height, width), dtype=str(yx.dtype), metadata=metadata, written=written
    )
    labels = images.create_image(
        objects,
        f"{path}/labels/{LABELS}",
        shape=(1, 1, height, width),
        dtype="uint32",
        metadata=metadata,
        written=written,
    )
    write_plane(picture, yx, downsample_mean)
    write_plane(labels, annotation.labels_yx, downsample_labels)
    arrays.create_group(objects, f"{path}/labels", ome.labels_group_attributes([LABELS]), written)
    return path, written | labels.levels[0].written


def write_plane(image: OmeImage, yx: NDArray[Any], halve: Halve) -> None:
    """Write the one plane of an image, shard by shard."""
    for unit in image.units():
        image.write(unit, yx[unit.slices[-2:]].reshape(unit.shape), halve)


def _window(yx: NDArray[np.generic]) -> tuple[float, float]:
    return float(yx.min()), float(yx.max())


def _storable(yx: NDArray[np.generic]) -> NDArray[np.generic]:
    """Return the picture as a type that every reader of OME-Zarr shows."""
    if yx.dtype.kind == "b":
        return yx.astype(np.uint8)
    known = yx.dtype.kind == "u" and yx.dtype.itemsize <= 2
    return yx if known or yx.dtype == np.float32 else yx.astype(np.float32)


def read_annotation(objects: Objects, record: Record) -> Annotation:
    """Return a stored annotation."""
    picture = images.open_image(objects, record.path)
    labels = images.open_image(objects, f"{record.path}/labels/{LABELS}")
    said = record.settings
    return Annotation(
        said["name"], said["group"], _whole(picture)[0, 0, 0], _whole(labels)[0, 0].astype(np.uint32)
    )


def _whole(image: OmeImage) -> NDArray[Any]:
    return image.read(Region((0,) * len(image.shape), image.shape))


def standing_annotations(objects: Objects) -> dict[str, Record]:
    """Return the last annotation of each picture, by the picture's digest, the first picture first."""
    every = {one.key: one for one in records.listing(objects, "annotation")}
    last = sorted(every.values(), key=lambda one: (_statements_before(one, every), one.created, one.key))
    standing = {one.settings["picture"]: one for one in last}
    return dict(sorted(standing.items(), key=lambda item: (item[1].settings["name"], item[0])))


def _statements_before(one: Record, every: dict[str, Record]) -> int:
    before = [every[parent.key] for parent in one.parents if parent.key in every]
    return 1 + _statements_before(before[0], every) if before else 0


def annotated_planes(objects: Objects) -> set[tuple[str, int, int]]:
    """Return the planes of clean images that have annotations: key, t, z."""
    found = [one.details.get("origin") for one in records.listing(objects, "annotation")]
    return {(one["clean"], one["t"], one["z"]) for one in found if one}
