"""OME-Zarr images (NGFF 0.4 and 0.5) that other programs wrote, as input: the full-size level is read."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from storage.arrays import open_outside
from storage.errors import FormatError, MissingInputError
from storage.ome import ImageMetadata
from storage.sources.base import Acquisition, as_pixels, check_dtype, natural, said_of
from storage.sources.tiff_metadata import metadata_of
from storage.sources.units import LENGTHS_UM, SECONDS, number

AXES = "tczyx"
BIOFORMATS2RAW = "bioformats2raw.layout"
DESCRIPTIONS = ("zarr.json", ".zattrs")


class OmeZarrSource:
    """The largest level of one image of an OME-Zarr folder; lower ones are left aside."""

    def __init__(self, acquisition: Acquisition) -> None:
        self.path = acquisition.location / str(acquisition.scene or "")
        described = _described(self.path)
        image = _first_multiscale(described, self.path)
        self._axes = _axes(image, self.path)
        dataset = image["datasets"][0]
        self._array = _open_array(self.path / str(dataset["path"]))
        if len(self._array.shape) != len(self._axes):
            raise FormatError(
                f"{self.path}: expected an array with axes {', '.join(self._axes)}, found the shape "
                f"{self._array.shape}; write the image again"
            )
        sizes = dict(zip(self._axes, self._array.shape, strict=True))
        stored = np.dtype(self._array.dtype)
        self.dtype = check_dtype(stored, self.path)
        self.shape = (sizes.get("t", 1), sizes.get("c", 1), sizes.get("z", 1), sizes["y"], sizes["x"])
        facts = _facts(image, dataset, described, self._axes)
        said = metadata_of(acquisition.name, self.shape[1], facts)
        self.metadata: ImageMetadata = said_of(said, stored)

    def read_plane(self, t: int, c: int, z: int) -> NDArray[Any]:
        """Return one plane (y, x); FormatError if its chunks cannot be decoded."""
        place = {"t": t, "c": c, "z": z}
        index = tuple(place[axis] for axis in self._axes if axis in place)
        try:
            return as_pixels(np.asarray(self._array[index]), self.dtype, self.path)
        except FormatError:
            raise
        except Exception as error:
            raise FormatError(
                f"{self.path}: the plane t {t}, c {c}, z {z} cannot be decoded ({error}); copy it again"
            ) from error

    def close(self) -> None:
        """Nothing stays open between planes."""


def is_zarr(folder: Path) -> bool:
    """Return whether a folder's name says that it is a zarr."""
    return folder.name.lower().endswith(".zarr") and folder.is_dir()


def ome_zarr_acquisitions(folder: Path) -> list[Acquisition]:
    """Return the images of an OME-Zarr folder: one, a plate's fields, or the series of bioformats2raw."""
    scenes = _scenes(folder)
    if len(scenes) < 2 and not any(scenes):
        return [Acquisition(folder.resolve().name, folder, _files(folder, ""), "ome_zarr")]
    return [
        Acquisition(
            f"{folder.resolve().name}#{scene}", folder, _files(folder, scene), "ome_zarr", scene=scene
        )
        for scene in scenes
    ]


def _scenes(folder: Path) -> list[str]:
    try:
        described = _described(folder)
        if "plate" in described:
            wells = [str(well["path"]) for well in described["plate"]["wells"]]
            return [
                f"{well}/{field['path']}"
                for well in wells
                for field in _described(folder / well)["well"]["images"]
            ]
    except (FormatError, MissingInputError, KeyError, TypeError):
        return [""]
    if BIOFORMATS2RAW not in described:
        return [""]
    inside = [one for one in folder.iterdir() if one.name.isdecimal() and one.is_dir()]
    return [one.name for one in sorted(inside, key=natural)] or [""]


def _files(folder: Path, scene: str) -> tuple[Path, ...]:
    """Return the descriptions and full-size chunks of an image, in the order of their names."""
    root = folder / scene
    try:
        image = _first_multiscale(_described(root), root)
        full_size = root / str(image["datasets"][0]["path"])
    except (FormatError, MissingInputError):
        full_size = root
    walked = [Path(parent) / name for parent, _, names in os.walk(full_size) for name in names]
    return tuple(sorted({*(root / name for name in DESCRIPTIONS if (root / name).is_file()), *walked}))


def _described(folder: Path) -> dict[str, Any]:
    """Return a group's OME attributes, where 0.5 or 0.4 puts them."""
    found = next((folder / name for name in DESCRIPTIONS if (folder / name).is_file()), None)
    if found is None:
        raise MissingInputError(
            f"expected an OME-Zarr at {folder}, found neither zarr.json nor .zattrs in it"
        )
    try:
        content = json.loads(found.read_bytes())
        attributes = content.get("attributes", {}).get("ome", {}) if found.name == "zarr.json" else content
        return dict(attributes)
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise FormatError(f"{found}: expected JSON of an OME-Zarr, found something else ({error})") from error


def _first_multiscale(described: Mapping[str, Any], path: Path) -> dict[str, Any]:
    try:
        image = dict(described["multiscales"][0])
        inside = Path(str(image["datasets"][0]["path"]))
    except (KeyError, IndexError, TypeError) as error:
        raise FormatError(
            f"{path}: expected an OME-Zarr image with multiscales, found none; name the image's own folder"
        ) from error
    if inside.is_absolute() or ".." in inside.parts:
        raise FormatError(f"{path}: its multiscales lead out of the folder ({inside}); write the image again")
    return image


def _axes(image: Mapping[str, Any], path: Path) -> list[str]:
    given = image.get("axes", [])
    names = [str(axis.get("name", "")) if isinstance(axis, dict) else str(axis) for axis in given]
    if names != [axis for axis in AXES if axis in names] or names[-2:] != ["y", "x"]:
        raise FormatError(
            f"{path}: expected the axes t, c, z, y, x in this order, y and x at least, found {names}; "
            "write it again as OME-Zarr 0.4 or 0.5"
        )
    return names


def _open_array(folder: Path) -> Any:
    try:
        array = open_outside(str(folder))
        _ = array.shape, array.dtype
    except Exception as error:
        raise FormatError(f"{folder}: expected a zarr array, found something else ({error})") from error
    return array


def _facts(
    image: Mapping[str, Any], dataset: Mapping[str, Any], described: Mapping[str, Any], axes: list[str]
) -> dict[str, Any]:
    """Return pixel sizes and interval in our units; an axis without a unit is not known."""
    scales = [_scale(dataset, len(axes)), _scale(image, len(axes))]
    known: dict[str, float | None] = {}
    for place, (name, axis) in enumerate(zip(axes, image["axes"], strict=True)):
        unit = axis.get("unit") if isinstance(axis, dict) else None
        factor = (SECONDS if name == "t" else LENGTHS_UM).get(str(unit))
        known[name] = None if factor is None else number(scales[0][place] * scales[1][place] * factor)
    return {
        "pixel_size_um": tuple(known.get(axis) for axis in "zyx"),
        "time_interval_s": known.get("t"),
        "channel_names": _labels(described),
    }


def _scale(holder: Mapping[str, Any], count: int) -> list[float]:
    for transformation in holder.get("coordinateTransformations", []):
        if transformation.get("type") == "scale" and len(transformation.get("scale", ())) == count:
            return [number(value) or 0.0 for value in transformation["scale"]]
    return [1.0] * count


def _labels(described: Mapping[str, Any]) -> list[str]:
    channels = (described.get("omero") or {}).get("channels", [])
    return [str(channel["label"]) for channel in channels if channel.get("label") is not None]
