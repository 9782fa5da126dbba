"""Zeiss CZI and Leica LIF through the bioio plugins of the optional extra chipcyte[formats]."""

from datetime import datetime
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from storage.errors import FormatError, MissingInputError
from storage.ome import ImageMetadata
from storage.sources.base import Acquisition, as_pixels, check_dtype, said_of
from storage.sources.tiff_metadata import metadata_of
from storage.sources.units import number

SUFFIXES = {".czi": "bioio_czi", ".lif": "bioio_lif"}


class BioioSource:
    """One scene of an open CZI or LIF file."""

    def __init__(self, acquisition: Acquisition) -> None:
        self.path = acquisition.location
        self._image = _open(self.path)
        try:
            if isinstance(acquisition.scene, int):
                self._image.set_scene(acquisition.scene)
            sizes = dict(zip(self._image.dims.order, self._image.shape, strict=True))
            self._samples = int(sizes.get("S", 1))
            stored = np.dtype(self._image.dtype)
            self.dtype = check_dtype(stored, self.path)
            t, c, z, y, x = (int(sizes[axis]) for axis in "TCZYX")
            self.shape = (t, c * self._samples, z, y, x)
            said = metadata_of(acquisition.name, self.shape[1], _facts(self._image))
            self.metadata: ImageMetadata = said_of(said, stored)
        except FormatError:
            raise
        except Exception as error:
            raise FormatError(
                f"{self.path}: its header cannot be read ({error}); copy the file again"
            ) from error

    def read_plane(self, t: int, c: int, z: int) -> NDArray[Any]:
        """Return one plane (y, x); FormatError if it cannot be decoded."""
        place = {"T": t, "C": c // self._samples, "Z": z}
        if self._samples > 1:
            place["S"] = c % self._samples
        try:
            lazy = self._image.get_image_dask_data("YX", **place)
            return as_pixels(lazy.compute(scheduler="synchronous"), self.dtype, self.path)
        except FormatError:
            raise
        except Exception as error:
            raise FormatError(
                f"{self.path}: the plane t {t}, c {c}, z {z} cannot be decoded ({error}); copy the file again"
            ) from error

    def close(self) -> None:
        """Let go of the reader; it opens the file anew for each plane."""
        self._image = None


def bioio_acquisitions(path: Path) -> list[Acquisition]:
    """Return the scenes of a file; one that cannot be opened is one, and its reader says what is wrong."""
    try:
        count = len(_open(path).scenes)
    except (FormatError, MissingInputError):
        count = 1
    if count < 2:
        return [Acquisition(path.name, path, (path,), "bioio")]
    return [
        Acquisition(f"{path.name}#{scene}", path, (path,), "bioio", scene=scene) for scene in range(count)
    ]


def _open(path: Path) -> Any:
    plugin = SUFFIXES[path.suffix.lower()]
    try:
        image_class, reader = import_module("bioio").BioImage, import_module(plugin).Reader
    except ImportError as error:
        raise FormatError(
            f'{path}: to read {path.suffix.lower()} files, install the extra: pip install "chipcyte[formats]"'
        ) from error
    try:
        image = image_class(path, reader=reader)
        listed, there = len(image.scenes), _scenes_there(path)
    except FileNotFoundError as error:
        raise MissingInputError(f"expected the file {path}, found nothing there") from error
    except Exception as error:
        raise FormatError(f"{path}: it cannot be opened ({error}); copy the file again") from error
    if there > listed:
        raise FormatError(
            f"{path}: expected the {there} scenes that lie in it in its metadata, found {listed}; "
            "export each scene as an OME-TIFF"
        )
    return image


def _scenes_there(path: Path) -> int:
    """Return how many scenes a CZI holds; the plugin offers those alone that the metadata lists."""
    if path.suffix.lower() != ".czi":
        return 0
    shapes = import_module("aicspylibczi").CziFile(str(path)).get_dims_shape()
    spans = [one.get("S", (0, 1)) for one in shapes]
    return sum(stop - start for start, stop in spans)


def _facts(image: Any) -> dict[str, Any]:
    sizes, interval, said = image.physical_pixel_sizes, image.time_interval, _summary(image)
    stage = {axis: number(getattr(said, f"stage_position_{axis}", None), signed=True) for axis in "xy"}
    moment, objective = getattr(said, "imaging_datetime", None), getattr(said, "objective", None)
    extra = {"objective": {"name": objective}, "stage_position_um": stage}
    return {
        "pixel_size_um": tuple(number(getattr(sizes, axis)) for axis in "ZYX"),
        "time_interval_s": number(interval.total_seconds()) if hasattr(interval, "total_seconds") else None,
        "channel_names": [str(name) for name in image.channel_names or ()],
        "acquired": moment.isoformat() if isinstance(moment, datetime) else None,
        "extra": {name: facts for name, facts in extra.items() if None not in facts.values()},
    }


def _summary(image: Any) -> Any:
    """Return what the plugin says in short; None where it stumbles over a file that says little."""
    try:
        return image.standard_metadata
    except Exception:  # noqa: BLE001 - what cannot be found is unknown
        return None
