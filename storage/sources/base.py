"""What every reader of an instrument's files offers: facts first, then one plane at a time."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from storage.errors import FormatError, MissingInputError
from storage.ome import ImageMetadata

DTYPES = ("uint8", "int8", "uint16", "int16", "float32")


@dataclass(frozen=True)
class Acquisition:
    """One recording to ingest: a file, or a folder's files that are its planes.

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
    """

    name: str
    location: Path
    files: tuple[Path, ...]
    reader: Literal["tiff", "planes"]
    pages_are: Literal["t", "z"] = "t"


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


def content_digest(files: Iterable[Path]) -> str:
    """Return the SHA-256 of the files' contents, in the order given; names and times do not matter."""
    whole = hashlib.sha256()
    for path in files:
        try:
            with path.open("rb") as stream:
                one = hashlib.file_digest(stream, "sha256")
        except FileNotFoundError as error:
            raise MissingInputError(f"expected the file {path}, found nothing there") from error
        whole.update(one.digest())
    return whole.hexdigest()


def display_window(yx: NDArray[Any]) -> tuple[float, float]:
    """Return the range a viewer should show: the 0.1 and 99.9 percentiles of one plane's finite pixels."""
    finite = yx[np.isfinite(yx)] if yx.dtype.kind == "f" else yx
    if finite.size == 0:
        return 0.0, 1.0
    low, high = np.percentile(finite, (0.1, 99.9))
    return float(low), float(max(high, low + 1e-6))
