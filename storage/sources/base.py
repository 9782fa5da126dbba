"""What every reader of an instrument's files offers: facts first, then one plane at a time."""

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from storage.errors import FormatError, MissingInputError
from storage.ome import ImageMetadata

DTYPES = ("uint8", "int8", "uint16", "int16", "float32")
Axis = Literal["t", "z"]
Reader = Literal["tiff", "planes", "companion", "nd2", "ome_zarr", "bioio"]


@dataclass(frozen=True)
class Acquisition:
    """One recording to ingest: a file, a part of a file, or a folder's files that are its planes.

    Attributes
    ----------
    location
        The file or the folder.
    files
        Every file whose bytes belong to it.
    reader
        Which reader understands it.
    pages_are
        The axis that unnamed pages of a plain TIFF run along.
    scene
        Which of several recordings in one file or folder: an index from 0, or a name; None if there is one.
    places
        For planes: the indices (t, c, z) of each of `files`.
    channel_names
        For planes whose names spell the channel.
    """

    name: str
    location: Path
    files: tuple[Path, ...]
    reader: Reader
    pages_are: Axis = "t"
    scene: int | str | None = None
    places: tuple[tuple[int, int, int], ...] = ()
    channel_names: tuple[str, ...] = ()


class Source(Protocol):
    """An open acquisition. Axes t c z y x; planes are read on demand."""

    shape: tuple[int, int, int, int, int]
    dtype: np.dtype[Any]
    metadata: ImageMetadata

    def read_plane(self, t: int, c: int, z: int) -> NDArray[Any]:
        """Return one plane (y, x) in `dtype`."""
        ...

    def close(self) -> None:
        """Let go of the files."""
        ...


def check_dtype(dtype: np.dtype[Any], path: Path) -> np.dtype[Any]:
    """Return the data type in native byte order; FormatError if images of it are not supported."""
    native = dtype.newbyteorder("=")
    if native.name not in DTYPES:
        raise FormatError(
            f"{path}: expected pixels of {', '.join(DTYPES)}, found {native.name}; "
            "export the recording as 8 or 16 bit integers or float32"
        )
    return native


def content_digest(acquisition: Acquisition) -> str:
    """Return the SHA-256 of what an acquisition is made of.

    The files' contents count, and what says which part or plane each is; names and times do not.
    """
    whole = hashlib.sha256()
    for path in acquisition.files:
        try:
            with path.open("rb") as stream:
                one = hashlib.file_digest(stream, "sha256")
        except FileNotFoundError as error:
            raise MissingInputError(f"expected the file {path}, found nothing there") from error
        whole.update(one.digest())
    arrangement = [acquisition.scene, acquisition.places, acquisition.channel_names, _chunks(acquisition)]
    whole.update(json.dumps(arrangement).encode())
    return whole.hexdigest()


def _chunks(acquisition: Acquisition) -> list[str]:
    """Return the chunks' places in an OME-Zarr, which are their names."""
    if acquisition.reader != "ome_zarr":
        return []
    return [path.relative_to(acquisition.location).as_posix() for path in acquisition.files]


def display_window(yx: NDArray[Any]) -> tuple[float, float]:
    """Return the range a viewer should show: the 0.1 and 99.9 percentiles of one plane's finite pixels."""
    finite = yx[np.isfinite(yx)] if yx.dtype.kind == "f" else yx
    if finite.size == 0:
        return 0.0, 1.0
    low, high = np.percentile(finite, (0.1, 99.9))
    return float(low), float(max(high, low + 1e-6))


def natural(path: Path) -> list[tuple[int, str]]:
    """Sort key by which frame2 comes before frame10."""
    parts = re.split(r"(\d+)", path.name)
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]


def ordinals(numbers: Iterable[tuple[int, int, int]]) -> tuple[tuple[int, int, int], ...]:
    """Return the indices (t, c, z) that numbers in names stand for: on each axis they count from 0."""
    given = list(numbers)
    ranks = [
        {value: rank for rank, value in enumerate(sorted(set(column)))} for column in zip(*given, strict=True)
    ]
    return tuple((ranks[0][t], ranks[1][c], ranks[2][z]) for t, c, z in given)
