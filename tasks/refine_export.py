"""refine export: the frames most worth correcting, in the formats that people correct masks in."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from storage import arrays, images, layout, ome, pairs, pictures, records, seg_files, tables
from storage.errors import InputError, MissingInputError
from storage.objects import Objects, open_store
from storage.ome import ImageMetadata
from storage.pairs import Note, Origin
from storage.records import Record
from storage.regions import Region
from storage.samples import Sample
from storage.staging import staged
from tasks.annotations import annotated_planes, pixels_digest, write_plane
from tasks.kernels.choosing import choose_frames, doubt_by_label
from tasks.kernels.pictures.raster import outlines
from tasks.kernels.pyramid import downsample_labels, downsample_mean
from tasks.reading import spread
from tasks.samples import standing_samples
from tasks.stage import folder

MOST_LOOKED_AT = 200  # frames whose pixels are read to choose among them
FLOW_ERROR = "flow_error"  # column of a network's cells
FEATURES = ("area_px", "mean_intensity", "eccentricity")


@dataclass(frozen=True)
class Frame:
    """A plane of a clean image with its labels."""

    objects: Objects
    record: Record
    t: int
    z: int
    group: str

    @property
    def clean_key(self) -> str:
        """Key of the clean image."""
        return next(parent.key for parent in self.record.parents if parent.kind == "clean")

    @property
    def name(self) -> str:
        """A name that is unique in the store and safe for files."""
        plain = "".join(letter if letter.isalnum() or letter in "-_." else "-" for letter in self.record.name)
        stem = plain.removesuffix(".tif").removesuffix(".ome")
        return f"{stem}_{self.clean_key[:6]}_t{self.t:03d}_z{self.z:03d}"

    @cached_property
    def _image(self) -> images.OmeImage:
        return images.open_image(self.objects, layout.image_path("clean", self.clean_key))

    @property
    def metadata(self) -> ImageMetadata:
        """What is known of the image."""
        return self._image.metadata

    def picture(self) -> NDArray[Any]:
        """Return the clean plane, axes y x."""
        yx: NDArray[Any] = self._image.read(self._image.plane(self.t, 0, self.z))[0, 0, 0]
        return yx

    def labels(self) -> NDArray[np.uint32]:
        """Return the labels found, axes y x."""
        image = images.open_image(self.objects, layout.labels_path(self.clean_key, self.record.key))
        height, width = image.shape[-2:]
        region = Region((self.t, self.z, 0, 0), (self.t + 1, self.z + 1, height, width))
        yx: NDArray[np.uint32] = image.read(region)[0, 0].astype(np.uint32)
        return yx


def export_frames(objects: Objects, out: Path, *, count: int, keys: Sequence[str] = ()) -> dict[str, Any]:
    """Write the frames most worth correcting into a new folder.

    Parameters
    ----------
    out
        A folder that does not exist yet, or is empty; nothing is ever replaced.
    count
        How many frames.
    keys
        Keys of labels, or their first digits, to choose from; none takes the newest labels of every clean
        image. Frames that have an annotation already are left out.

    Returns
    -------
    `frames`: name, group, labels, doubt and cells of each, in the order of choice; `candidates`: of how many.

    Raises
    ------
    InputError
        The folder is not empty, or there are no frames to correct.
    """
    frames = _candidates(objects, keys)
    looked_at = [frames[number] for number in spread(len(frames), MOST_LOOKED_AT)]
    cells = _cells_of(looked_at)
    doubts = np.array([_doubt(frame, rows) for frame, rows in zip(looked_at, cells, strict=True)])
    features = np.array([_features(rows) for rows in cells])
    chosen = choose_frames(doubts, features, [one.group for one in looked_at], count)
    with staged(objects, out, is_folder=True) as staging:
        staging.mkdir()
        origins = {looked_at[number].name: _write(looked_at[number], staging) for number in chosen}
        note = Note(store=objects.url, frames=origins)
        pairs.write_note(staging, note)
    rows = [_row(looked_at[number], float(doubts[number]), features[number]) for number in chosen]
    return {"frames": rows, "candidates": len(frames)}


def _row(frame: Frame, doubt: float, features: NDArray[np.float64]) -> dict[str, Any]:
    """Return what people are told of a chosen frame."""
    return {
        "name": frame.name,
        "group": frame.group,
        "labels": frame.record.key,
        "doubt": None if np.isnan(doubt) else round(doubt, 4),
        "cells": int(features[0]),
    }


def _candidates(objects: Objects, keys: Sequence[str]) -> list[Frame]:
    chosen = [records.resolve(objects, key) for key in keys]
    for one in chosen:
        if one.kind != "labels":
            raise InputError(f"expected keys of labels, found {one.kind} {one.key}; `chipcyte list labels`")
    newest = {one.parents[0].key: one for one in chosen or records.listing(objects, "labels")}
    if not newest:
        raise MissingInputError(f"the store {objects.url} holds no labels; run `chipcyte segment` first")
    known, samples = annotated_planes(objects), standing_samples(objects)
    frames = [
        Frame(objects, record, t, z, group_of(objects, record, samples))
        for record in newest.values()
        for t in range(record.counts["frames"])
        for z in range(record.counts["planes"] // record.counts["frames"])
        if (record.parents[0].key, t, z) not in known
    ]
    if not frames:
        raise InputError(
            "every frame has an annotation already; go on with `chipcyte refine train`, or name labels by key"
        )
    return frames


def group_of(objects: Objects, labels: Record, samples: dict[str, Record]) -> str:
    """Return the chip that labels are of, or the recording where no chip is known."""
    raw = next(one for one in records.lineage(objects, labels) if one.kind == "raw")
    said = samples.get(raw.key)
    return (Sample.model_validate(said.settings).chip if said else "") or raw.name


def _doubt(frame: Frame, cells: Any) -> float:
    """Return how unsure the masks are: by the network's flows where there was one, or by the picture."""
    if FLOW_ERROR in cells and np.isfinite(cells[FLOW_ERROR]).any():
        return float(np.nanmean(cells[FLOW_ERROR]))
    doubts = doubt_by_label(frame.labels(), frame.picture())
    return float(np.nanmean(doubts)) if np.isfinite(doubts).any() else float("nan")


def _features(cells: Any) -> list[float]:
    """Return what a frame is like: how many cells it has, and how large, bright and long they are."""
    return [len(cells), *(float(cells[name].median()) if len(cells) else np.nan for name in FEATURES)]


def _cells_of(frames: Sequence[Frame]) -> list[Any]:
    """Return the rows of each frame's cells."""
    tables_read = {
        one.record.key: _cells(one.objects, one.record.key)
        for one in {one.record.key: one for one in frames}.values()
    }
    rows = []
    for frame in frames:
        table = tables_read[frame.record.key]
        rows.append(table[(table["t"] == frame.t) & (table["z"] == frame.z)])
    return rows


def _cells(objects: Objects, labels_key: str) -> Any:
    return tables.read_table(objects, folder("labels", labels_key, "cells.zarr")).obs


def _write(frame: Frame, out: Path) -> Origin:
    """Write one frame in every format."""
    yx, labels = frame.picture(), frame.labels()
    picture = shown(yx)
    masks = labels.astype(np.uint16) if labels.max(initial=0) < 2**16 else labels
    pictures.write_tiff(out / f"{frame.name}.tif", picture)
    pictures.write_tiff(out / f"{frame.name}{pairs.MASKS}.tif", masks)
    seg = seg_files.write_seg(labels, outlines(labels), f"{frame.name}.tif")
    (out / f"{frame.name}{seg_files.ENDING}").write_bytes(seg)
    _write_zarr(frame, picture, labels, out)
    return Origin(
        clean=frame.clean_key,
        labels=frame.record.key,
        t=frame.t,
        z=frame.z,
        group=frame.group,
        masks=pixels_digest(labels),
    )


def shown(yx: NDArray[Any]) -> NDArray[Any]:
    """Return a clean plane as programs show it best: 16 bits in place of floats in [0, 1]."""
    if yx.dtype.kind != "f":
        return yx
    grey: NDArray[np.uint16] = np.round(np.clip(yx, 0, 1) * 65535).astype(np.uint16)
    return grey


def _write_zarr(frame: Frame, picture: NDArray[Any], labels: NDArray[np.uint32], out: Path) -> None:
    """Write the frame as an OME-Zarr with labels, through a store of its own that is gone afterwards."""
    name = f"{frame.name}{pairs.ZARR}"
    metadata = ImageMetadata(
        frame.name, frame.metadata.pixel_size_um, channel_names=("picture",), windows=((0.0, 65535.0),)
    )
    with tempfile.TemporaryDirectory(dir=out) as place:
        objects = open_store(place, create=True)
        for path, plane, leading, halve in (
            (name, picture, (1, 1, 1), downsample_mean),
            (f"{name}/labels/masks", labels, (1, 1), downsample_labels),
        ):
            shape = (*leading, *plane.shape)
            image = images.create_image(
                objects, path, shape=shape, dtype=str(plane.dtype), metadata=metadata, written={}
            )
            write_plane(image, plane, halve)
        arrays.create_group(objects, f"{name}/labels", ome.labels_group_attributes(["masks"]), {})
        (Path(place) / name).rename(out / name)
