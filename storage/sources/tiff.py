"""TIFF stacks read a plane at a time: OME-TIFF, ImageJ hyperstacks, MetaMorph and plain multi-page files."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from storage.errors import FormatError, MissingInputError
from storage.ome import ImageMetadata
from storage.sources.base import Acquisition, check_dtype
from storage.sources.tiff_metadata import tiff_metadata

AXES = "TCZYX"
UNNAMED = "IQ"  # tifffile's letters for pages that nothing says the meaning of


class TiffSource:
    """An open TIFF stack. Only its first series is read; lower pyramid levels in the file are left aside."""

    def __init__(self, acquisition: Acquisition) -> None:
        self.path = acquisition.location
        self._file = _open(self.path)
        self._series = _first_series(self._file, self.path)
        letters = _named_axes(self._series.axes, acquisition.pages_are.upper(), self.path)
        sizes = dict(zip(letters, self._series.shape, strict=True))
        self._letters = letters
        self._sizes = sizes
        self.dtype = check_dtype(self._series.dtype, self.path)
        channels = sizes.get("C", 1) * sizes.get("S", 1)
        self.shape = (
            sizes.get("T", 1),
            channels,
            sizes.get("Z", 1),
            sizes["Y"],
            sizes["X"],
        )
        self._check_complete()
        self.metadata: ImageMetadata = tiff_metadata(self._file, acquisition.name, channels)

    def read_plane(self, t: int, c: int, z: int) -> NDArray[Any]:
        """Return one plane (y, x)."""
        samples = self._sizes.get("S", 1)
        place = {"T": t, "C": c // samples, "Z": z}
        leading = [letter for letter in self._letters if letter not in "YXS"]
        index = 0
        for letter in leading:
            index = index * self._sizes[letter] + place[letter]
        plane = self._read_page(index)
        if samples > 1:
            plane = np.take(plane, c % samples, axis=self._sample_axis())
        return np.ascontiguousarray(plane, dtype=self.dtype)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _sample_axis(self) -> int:
        within = [letter for letter in self._letters if letter in "YXS"]
        return within.index("S")

    def _page_shape(self) -> tuple[int, ...]:
        return tuple(self._sizes[letter] for letter in self._letters if letter in "YXS")

    def _page_count(self) -> int:
        return math.prod(self._sizes[letter] for letter in self._letters if letter not in "YXS")

    def _check_complete(self) -> None:
        """Refuse a file that holds fewer planes than its header promises, before anything is written."""
        expected, page_bytes = self._page_count(), math.prod(self._page_shape()) * self.dtype.itemsize
        offset = self._series.dataoffset
        if offset is not None:
            size = self._file.filehandle.size
            found = max(0, size - offset) // max(1, page_bytes)
        else:
            found = sum(page is not None for page in self._series.pages)
        if found < expected:
            raise FormatError(
                f"{self.path}: expected {expected} planes of {page_bytes} bytes as its header says, "
                f"found {found}; the file is incomplete: copy it again from the instrument"
            )

    def _read_page(self, index: int) -> NDArray[Any]:
        shape = self._page_shape()
        try:
            if self._series.dataoffset is not None:
                return self._read_contiguous(index, shape)
            return np.asarray(self._series.pages[index].asarray()).reshape(shape)
        except FormatError:
            raise
        except Exception as error:
            raise FormatError(f"{self.path}: plane {index} cannot be decoded: {error}") from error

    def _read_contiguous(self, index: int, shape: tuple[int, ...]) -> NDArray[Any]:
        """Read one plane of pixels that lie in a row in the file.

        A plain read, no memory map: a file that shrinks meanwhile gives an error, not a bus error.
        """
        stored = self._series.dtype.newbyteorder(self._file.byteorder)
        count = math.prod(shape)
        offset = self._series.dataoffset + index * count * stored.itemsize
        pixels = np.fromfile(self.path, dtype=stored, count=count, offset=offset)
        if pixels.size < count:
            raise FormatError(f"{self.path}: the file ended in the middle of plane {index}; copy it again")
        return pixels.reshape(shape)


def _open(path: Path) -> tifffile.TiffFile:
    try:
        return tifffile.TiffFile(path)
    except FileNotFoundError as error:
        raise MissingInputError(f"expected the file {path}, found nothing there") from error
    except Exception as error:
        raise FormatError(f"{path}: expected a TIFF file, found something else: {error}") from error


def _first_series(file: tifffile.TiffFile, path: Path) -> Any:
    try:
        series = file.series[0]
    except Exception as error:
        raise FormatError(f"{path}: its TIFF directory cannot be read: {error}") from error
    if math.prod(series.shape) == 0:
        raise FormatError(f"{path}: expected an image, found one without pixels ({series.shape})")
    return series


def _named_axes(axes: str, unnamed_is: str, path: Path) -> str:
    """Return tifffile's axes with unnamed pages called T or Z; FormatError if they are no image stack's."""
    named = axes
    for letter in UNNAMED:
        named = named.replace(letter, unnamed_is)
    if len(set(named)) != len(named) or not set(named) <= set(AXES + "S") or not {"Y", "X"} <= set(named):
        raise FormatError(
            f"{path}: expected the axes t, c, z, y, x, each once, found {axes}; "
            "export the recording as an OME-TIFF with named axes"
        )
    return named
