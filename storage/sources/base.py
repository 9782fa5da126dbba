"""What every reader of an instrument's files offers: facts first, then one plane at a time."""

import json
import os
import re
import zlib
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from dataclasses import fields as dataclass_fields
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from blake3 import blake3
from numpy.typing import NDArray

from storage.errors import FormatError, MissingInputError
from storage.ome import ImageMetadata

PART_BYTES = 2**24
READ_BYTES = 2**18  # fits a core's own cache
DTYPES = ("uint8", "int8", "uint16", "int16", "float32")
WINDOW_PX = 512
UNPACKED = 8  # acquisitions a worker keeps for the units to come
ROUNDED = "float64"  # many programs' default; no camera fills more than the 24 bits of float32
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

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel as few bytes that a worker unpacks once: every unit of a stage carries its acquisition."""
        return _unpacked, (self._packed,)

    @cached_property
    def _packed(self) -> bytes:
        fields = {
            one.name: [str(path) for path in self.files] if one.name == "files" else getattr(self, one.name)
            for one in dataclass_fields(self)
        }
        return zlib.compress(json.dumps(fields, default=str).encode("utf-8", "surrogateescape"))


@lru_cache(maxsize=UNPACKED)
def _unpacked(packed: bytes) -> Acquisition:
    """Return the acquisition that was packed; in one process always the same object, so equality is quick."""
    fields = json.loads(zlib.decompress(packed).decode("utf-8", "surrogateescape"))
    return Acquisition(
        **fields
        | {
            "location": Path(fields["location"]),
            "files": tuple(Path(path) for path in fields["files"]),
            "places": tuple((t, c, z) for t, c, z in fields["places"]),
            "channel_names": tuple(fields["channel_names"]),
        }
    )


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
    """Return the type that pixels of a stored type get, in native byte order; FormatError if there is none.

    float64 is rounded to float32, in every format alike.
    """
    native = dtype.newbyteorder("=")
    if native.name == ROUNDED:
        return np.dtype(np.float32)
    if native.name not in DTYPES:
        raise FormatError(
            f"{path}: expected pixels of {', '.join(DTYPES)}, found {native.name}; "
            "export the recording as 8 or 16 bit integers or float32"
        )
    return native


def as_pixels(yx: NDArray[Any], dtype: np.dtype[Any], path: Path) -> NDArray[Any]:
    """Return a stored plane in the type that `check_dtype` gave; FormatError if a value does not fit."""
    with np.errstate(over="raise"):
        try:
            return np.ascontiguousarray(yx, dtype=dtype)
        except FloatingPointError as error:
            raise FormatError(
                f"{path}: expected values that fit {dtype}, found some of {yx.dtype} that do not; "
                "export the recording in another unit"
            ) from error


def said_of(metadata: ImageMetadata, stored: np.dtype[Any]) -> ImageMetadata:
    """Return the metadata with a note if pixels of the stored type are rounded."""
    if stored.newbyteorder("=").name != ROUNDED:
        return metadata
    return replace(metadata, extra={**metadata.extra, "rounded_from": ROUNDED})


Stamp = tuple[tuple[int, int], ...]


def file_states(acquisition: Acquisition) -> Stamp:
    """Return size in bytes and time in ns of each file; zeros for one that is not there."""
    found = []
    for path in acquisition.files:
        try:
            state = path.stat()
        except OSError:
            found.append((0, 0))
        else:
            found.append((state.st_size, state.st_mtime_ns))
    return tuple(found)


def content_digest(acquisition: Acquisition) -> str:
    """Return a digest of what an acquisition is made of.

    The files' contents count, and what says which part or plane each is; names and times do not. It is the
    BLAKE3 over the size of each file and the BLAKE3 of each 16 MiB of it: parts are read by several
    threads, since one alone would take as long as the rest of an ingestion on many cores.
    """
    whole = blake3()
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        for path in acquisition.files:
            try:
                size_bytes = path.stat().st_size
                starts = range(0, size_bytes, PART_BYTES)
                parts = pool.map(_part_digest, [path] * len(starts), starts)
                whole.update(b"".join([size_bytes.to_bytes(8, "little"), *parts]))
            except FileNotFoundError as error:
                raise MissingInputError(f"expected the file {path}, found nothing there") from error
    arrangement = [acquisition.scene, acquisition.places, acquisition.channel_names, _chunks(acquisition)]
    whole.update(json.dumps(arrangement).encode())
    return whole.hexdigest()


def _part_digest(path: Path, start: int) -> bytes:
    """Return the BLAKE3 of one part of a file."""
    digest, buffer = blake3(), memoryview(bytearray(READ_BYTES))
    with path.open("rb", buffering=0) as stream:
        stream.seek(start)
        for _ in range(PART_BYTES // READ_BYTES):
            digest.update(buffer[: stream.readinto(buffer)])
    return digest.digest()


def _chunks(acquisition: Acquisition) -> list[str]:
    """Return the chunks' places in an OME-Zarr, which are their names."""
    if acquisition.reader != "ome_zarr":
        return []
    return [path.relative_to(acquisition.location).as_posix() for path in acquisition.files]


def display_window(yx: NDArray[Any]) -> tuple[float, float]:
    """Return the range a viewer should show: the 0.1 and 99.9 percentiles of one plane's finite pixels.

    Of a large plane every so many rows and columns are looked at, about 512 of each.
    """
    step = max(1, min(yx.shape) // WINDOW_PX)
    seen = yx[::step, ::step]
    finite = seen[np.isfinite(seen)]
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
