"""A folder of single-plane images that are one acquisition, read a plane at a time."""

import re
import struct
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import tifffile
from numpy.typing import NDArray

from storage.errors import FormatError
from storage.ome import ImageMetadata
from storage.sources.base import Acquisition, as_pixels, check_dtype, natural, ordinals, said_of
from storage.sources.ome_xml import images, parse_ome
from storage.sources.tiff_metadata import metadata_of, metaseries_facts, plane_info, tiff_metadata
from storage.sources.units import number

# The tokens that instruments put into names: _t001 time001 TimePoint_1 / _z01 ZStep_2 / _c1 ch00 w2
TOKENS = {
    "t": re.compile(r"(?:^|[_\-. ])(?:t|time|timepoint[_ ]?|frame[_ ]?)(\d+)(?=[_\-. ]|$)", re.IGNORECASE),
    "c": re.compile(r"(?:^|[_\-. ])(?:c|ch|channel[_ ]?|w)(\d+)(?=[_\-. ]|$)", re.IGNORECASE),
    "z": re.compile(r"(?:^|[_\-. ])(?:z|zstep[_ ]?|slice[_ ]?)(\d+)(?=[_\-. ]|$)", re.IGNORECASE),
}
NUMBER = re.compile(r"\d+")
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
LARGEST_PNG_RATIO = 1100  # deflate shrinks at most 1032 to 1

Place = tuple[int, int, int]


class PlanesSource:
    """An open folder of planes: each file is the plane (t, c, z) that the acquisition says it is."""

    def __init__(self, acquisition: Acquisition) -> None:
        self._files = _complete_grid(acquisition)
        count = tuple(1 + max(place[axis] for place in self._files) for axis in range(3))
        first = self._files[0, 0, 0]
        yx = read_plane_file(first)
        self.dtype, self._stored = check_dtype(yx.dtype, first), yx.dtype.newbyteorder("=")
        self.shape = (count[0], count[1], count[2], yx.shape[0], yx.shape[1])
        said = _metadata(acquisition, self._files, self.shape)
        self.metadata: ImageMetadata = said_of(said, self._stored)

    def read_plane(self, t: int, c: int, z: int) -> NDArray[Any]:
        """Return one plane (y, x); FormatError if its shape or type differs from the first plane's."""
        path = self._files[t, c, z]
        yx = read_plane_file(path)
        if yx.shape != self.shape[-2:] or yx.dtype.newbyteorder("=") != self._stored:
            raise FormatError(
                f"{path}: expected a plane of {self.shape[-2:]} {self._stored} like its neighbours, found "
                f"{yx.shape} {yx.dtype}; if the folder's files are recordings of their own, set "
                "ingest.folder_is to files"
            )
        return as_pixels(yx, self.dtype, path)

    def close(self) -> None:
        """Nothing stays open between planes."""


def _complete_grid(acquisition: Acquisition) -> dict[Place, Path]:
    """Return the file of each place; FormatError if one is missing or taken twice."""
    places = acquisition.places
    if len(places) != len(acquisition.files):
        raise FormatError(
            f"{acquisition.location}: nothing says which time point, channel and z plane each of "
            f"{len(acquisition.files)} files is; name them like _t001_c0_z02 or put the set's .companion.ome "
            "file beside them"
        )
    files = dict(zip(places, acquisition.files, strict=True))
    t, c, z = (1 + max(place[axis] for place in places) for axis in range(3))
    if len(files) != len(places) or len(places) != t * c * z:
        raise FormatError(
            f"{acquisition.location}: expected a file for each of {t} time points, {c} channels and {z} z "
            f"planes, found {len(places)} files for {len(files)} of these; add the missing ones"
        )
    return files


def read_plane_file(path: Path, page: int | None = None) -> NDArray[Any]:
    """Return a plane (y, x) of a TIFF or PNG; FormatError if it is damaged or no plane.

    Parameters
    ----------
    page
        Which page of a TIFF; None: its only one.
    """
    try:
        yx = _read_png(path) if path.suffix.lower() == ".png" else _read_tiff_page(path, page)
    except FormatError:
        raise
    except Exception as error:
        raise FormatError(
            f"{path}: expected an image plane, found something else ({error}); copy it again"
        ) from error
    if yx.ndim != 2:
        raise FormatError(
            f"{path}: expected one plane (y, x), found an array of shape {yx.shape}; export it in grey values"
        )
    return yx


def _read_png(path: Path) -> NDArray[Any]:
    content = path.read_bytes()
    if not content.startswith(PNG_SIGNATURE):
        raise FormatError(f"{path}: expected a PNG image, found something else; copy it again")
    width, height, bits = struct.unpack(">IIB", content[16:25])
    if width * height * bits // 8 > LARGEST_PNG_RATIO * len(content):
        raise FormatError(
            f"{path}: its header promises {width} x {height} px, found {len(content)} bytes; copy it again"
        )
    return np.asarray(imagecodecs.png_decode(content))


def _read_tiff_page(path: Path, page: int | None) -> NDArray[Any]:
    with tifffile.TiffFile(path) as file:
        if page is None and len(file.pages) != 1:
            raise FormatError(
                f"{path}: expected one plane, found {len(file.pages)} pages; set ingest.folder_is to files"
            )
        found = file.pages[page or 0]
        promised = found.size * np.dtype(found.dtype or "u1").itemsize
        if promised > max(2**28, 2**15 * file.filehandle.size):
            raise FormatError(
                f"{path}: its header promises {promised} bytes; the file is damaged: copy it again"
            )
        return np.asarray(found.asarray())


def plane_places(files: Sequence[Path], unnamed_is: str) -> tuple[Place, ...]:
    """Return the indices (t, c, z) of each file from the tokens in its name.

    Where no name has a token, the one number in which the names differ counts along `unnamed_is`.

    Raises
    ------
    FormatError
        The names have neither.
    """
    tokens = [[_token(rule, path.stem) for rule in TOKENS.values()] for path in files]
    if any(value is not None for found in tokens for value in found):
        return ordinals((t or 0, c or 0, z or 0) for t, c, z in tokens)
    numbers = running_numbers(files)
    return ordinals((value, 0, 0) if unnamed_is == "t" else (0, 0, value) for value in numbers)


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


def planes_acquisition(folder: Path, files: Sequence[Path], unnamed_is: Any) -> Acquisition:
    """Return a folder's files as the planes of one acquisition, whether or not their names make sense."""
    ordered = tuple(sorted(files, key=natural))
    try:
        places = plane_places(ordered, unnamed_is) if len(ordered) > 1 else ((0, 0, 0),)
    except FormatError:
        places = ()
    return Acquisition(folder.resolve().name, folder, ordered, "planes", unnamed_is, places=places)


def _token(rule: re.Pattern[str], stem: str) -> int | None:
    found = rule.search(stem)
    return None if found is None else int(found.group(1))


def _metadata(acquisition: Acquisition, files: dict[Place, Path], shape: Sequence[int]) -> ImageMetadata:
    """Return what the first plane of each channel says, with times and z positions of the outer planes."""
    t, c, z = shape[:3]
    heads = [_plane_info(files[0, channel, 0]) for channel in range(c)]
    if not any(heads):
        return _plain_metadata(acquisition, files[0, 0, 0], c)
    facts = metaseries_facts(heads[0])
    spelled = acquisition.channel_names or tuple(str(head.get("_IllumSetting_", "")) for head in heads)
    facts["channel_names"] = spelled if all(spelled) else ()
    facts["extra"]["channels"] = [channel_facts(head) for head in heads]
    steps = [_step_um(head, files[0, channel, 1]) for channel, head in enumerate(heads)] if z > 1 else []
    facts["pixel_size_um"] = (next((step for step in steps if step), None), *facts["pixel_size_um"][1:])
    facts["time_interval_s"] = _interval_s(heads[0], files[t - 1, 0, 0], t) if t > 1 else None
    return metadata_of(acquisition.name, c, facts)


def channel_facts(plane: dict[str, Any]) -> dict[str, Any]:
    """Return a channel's wavelength, and how its planes were projected along z if they were."""
    facts = {
        "wavelength_nm": number(plane.get("wavelength")),
        "z_projection": plane.get("Z Projection Method"),
    }
    return {name: value for name, value in facts.items() if value is not None}


def _plain_metadata(acquisition: Acquisition, first: Path, channels: int) -> ImageMetadata:
    if first.suffix.lower() == ".png":
        return metadata_of(acquisition.name, channels, {"channel_names": acquisition.channel_names})
    with tifffile.TiffFile(first) as file:
        document = parse_ome(str(file.ome_metadata), first) if file.is_ome else None
        ome = document if document is not None and images(document) else None
        said = tiff_metadata(file, acquisition.name, channels, ome=ome)
    return replace(said, channel_names=acquisition.channel_names or said.channel_names)


def _plane_info(path: Path) -> dict[str, Any]:
    if path.suffix.lower() == ".png":
        return {}
    try:
        with tifffile.TiffFile(path) as file:
            return plane_info(file)
    except Exception as error:
        raise FormatError(f"{path}: its metadata cannot be read ({error}); copy it again") from error


def _step_um(lower: dict[str, Any], upper: Path) -> float | None:
    ends = [number(plane.get("z-position"), signed=True) for plane in (lower, _plane_info(upper))]
    return None if ends[0] is None or ends[1] is None else number(round(abs(ends[1] - ends[0]), 6))


def _interval_s(first: dict[str, Any], last: Path, frames: int) -> float | None:
    moments = [plane.get("acquisition-time-local") for plane in (first, _plane_info(last))]
    if not isinstance(moments[0], datetime) or not isinstance(moments[1], datetime):
        return None
    return number((moments[1] - moments[0]).total_seconds() / (frames - 1))
