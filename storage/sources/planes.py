"""A folder of single-plane TIFFs that are one acquisition, read a plane at a time."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from storage.errors import FormatError
from storage.ome import ImageMetadata
from storage.sources.base import Acquisition, check_dtype
from storage.sources.tiff_metadata import tiff_metadata

# The tokens that instruments put into names: _t001 time001 TimePoint_1 / _z01 ZStep_2 / _c1 ch00 w2
TOKENS = {
    "t": re.compile(r"(?:^|[_\-. ])(?:t|time|timepoint[_ ]?|frame[_ ]?)(\d+)(?=[_\-. ]|$)", re.IGNORECASE),
    "z": re.compile(r"(?:^|[_\-. ])(?:z|zstep[_ ]?|slice[_ ]?)(\d+)(?=[_\-. ]|$)", re.IGNORECASE),
    "c": re.compile(r"(?:^|[_\-. ])(?:c|ch|channel[_ ]?|w)(\d+)(?=[_\-. ]|$)", re.IGNORECASE),
}
NUMBER = re.compile(r"\d+")


class PlanesSource:
    """An open folder of planes: the numbers in the names say which of t, c, z each plane is."""

    def __init__(self, acquisition: Acquisition) -> None:
        self._acquisition = acquisition
        places = plane_places(acquisition.files, acquisition.pages_are)
        levels = [sorted({place[axis] for place in places.values()}) for axis in range(3)]
        self._files = {
            tuple(levels[axis].index(place[axis]) for axis in range(3)): path
            for path, place in places.items()
        }
        count = tuple(len(level) for level in levels)
        if len(self._files) != len(places) or len(places) != count[0] * count[1] * count[2]:
            raise FormatError(
                f"{acquisition.location}: expected a file for each of {count[0]} time points, {count[1]} "
                f"channels and {count[2]} z planes, found {len(places)} files; add the missing ones"
            )
        first = acquisition.files[0]
        yx = read_plane_file(first)
        self.dtype = check_dtype(yx.dtype, first)
        self.shape = (*count, *yx.shape)
        self.metadata: ImageMetadata = _metadata(acquisition, first, count[1])

    def read_plane(self, t: int, c: int, z: int) -> NDArray[Any]:
        """Return one plane (y, x); FormatError if its shape or type differs from the first plane's."""
        path = self._files[t, c, z]
        yx = read_plane_file(path)
        if yx.shape != self.shape[-2:] or yx.dtype.newbyteorder("=") != self.dtype:
            raise FormatError(
                f"{path}: expected a plane of {self.shape[-2:]} {self.dtype} like its neighbours, "
                f"found {yx.shape} {yx.dtype}"
            )
        return np.ascontiguousarray(yx, dtype=self.dtype)

    def close(self) -> None:
        """Nothing stays open between planes."""


def read_plane_file(path: Path) -> NDArray[Any]:
    """Return the only plane (y, x) of an image file."""
    try:
        yx = np.asarray(tifffile.imread(path))
    except Exception as error:
        raise FormatError(f"{path}: expected a TIFF plane, found something else: {error}") from error
    if yx.ndim != 2:
        raise FormatError(f"{path}: expected one plane (y, x), found an array of shape {yx.shape}")
    return yx


def plane_places(files: Sequence[Path], unnamed_is: str) -> dict[Path, tuple[int, int, int]]:
    """Return (t, c, z) numbers of each file from the tokens in its name.

    Where no name has a token, the one number in which the names differ counts along `unnamed_is`.
    """
    tokens = {path: {axis: _token(rule, path.stem) for axis, rule in TOKENS.items()} for path in files}
    if any(value is not None for found in tokens.values() for value in found.values()):
        return {path: (found["t"] or 0, found["c"] or 0, found["z"] or 0) for path, found in tokens.items()}
    return {
        path: (number, 0, 0) if unnamed_is == "t" else (0, 0, number)
        for path, number in zip(files, running_numbers(files), strict=True)
    }


def running_numbers(files: Sequence[Path]) -> list[int]:
    """Return the one number in which the names of a series differ.

    FormatError if the names are not alike but for one number.
    """
    names = [path.name for path in files]
    shapes = {NUMBER.sub("#", name) for name in names}
    numbers = [tuple(int(text) for text in NUMBER.findall(name)) for name in names]
    columns = list(zip(*numbers, strict=True)) if len(shapes) == 1 else []
    changing = [column for column in columns if len(set(column)) > 1]
    if len(changing) != 1 or len(set(changing[0])) != len(files):
        raise FormatError(
            f"{files[0].parent}: expected names that differ in one number (or have t, z, c numbers such as "
            f"_t001_z02), found {names[0]} and {names[-1]}; rename them or ingest them as files of their own"
        )
    return list(changing[0])


def _token(rule: re.Pattern[str], stem: str) -> int | None:
    found = rule.search(stem)
    return None if found is None else int(found.group(1))


def _metadata(acquisition: Acquisition, first: Path, channels: int) -> ImageMetadata:
    with tifffile.TiffFile(first) as file:
        return tiff_metadata(file, acquisition.name, channels)
