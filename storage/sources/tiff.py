"""TIFF stacks read a plane at a time: OME-TIFF, ImageJ hyperstacks, MetaMorph and plain multi-page files."""

import math
import os
import struct
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element

import numpy as np
import tifffile
from numpy.typing import NDArray

from storage.errors import FormatError, MissingInputError
from storage.ome import ImageMetadata
from storage.sources.base import Acquisition, as_pixels, check_dtype, said_of
from storage.sources.ome_xml import check_promises, images, named_files, names_elsewhere, parse_ome
from storage.sources.tiff_metadata import tiff_metadata

AXES = "TCZYX"
UNNAMED = "IQ"  # tifffile's letters for pages that nothing says the meaning of
FLAVOURS = ("ome", "imagej", "stk", "lsm", "shaped")  # headers that say how many pages there are
LIKELY_PLANE_BYTES = 2**28
LARGEST_RATIO = 2**15  # zstd shrinks a black plane about so far, other codecs less


class TiffSource:
    """An open TIFF stack; lower pyramid levels in the file are left aside."""

    def __init__(self, acquisition: Acquisition) -> None:
        self.path = acquisition.location
        self._file = _open(self.path)
        try:
            self._read_header(acquisition)
        except BaseException:
            self._file.close()
            raise

    def _read_header(self, acquisition: Acquisition) -> None:
        ome = _document(self._file, acquisition)
        self._series = _series(self._file, acquisition, ome)
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
        said = tiff_metadata(self._file, acquisition.name, channels, ome=ome, scene=_scene_index(acquisition))
        self.metadata: ImageMetadata = said_of(said, self._series.dtype)

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
        return as_pixels(plane, self.dtype, self.path)

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
        """Refuse a file that holds less than its header promises, before anything is written."""
        expected, page_bytes = self._page_count(), math.prod(self._page_shape()) * self._series.dtype.itemsize
        offset, size = self._series.dataoffset, self._file.filehandle.size
        if offset is not None:
            found = max(0, size - offset) // max(1, page_bytes)
        else:
            found = sum(page is not None for page in self._series.pages)
        if found < expected:
            raise FormatError(
                f"{self.path}: expected {expected} planes of {page_bytes} bytes as its header says, "
                f"found {found}; the file is incomplete: copy it again from the instrument"
            )
        if page_bytes > max(LIKELY_PLANE_BYTES, LARGEST_RATIO * size):
            raise FormatError(
                f"{self.path}: its header promises planes of {page_bytes} bytes, found {size} bytes in all; "
                "the file is damaged: copy it again from the instrument"
            )

    def _read_page(self, index: int) -> NDArray[Any]:
        shape = self._page_shape()
        try:
            if self._series.dataoffset is not None:
                return self._read_contiguous(index, shape)
            return _decoded(self._series.pages[index]).reshape(shape)
        except FormatError:
            raise
        except Exception as error:
            raise FormatError(
                f"{self.path}: plane {index} cannot be decoded ({error}); copy it again or export it anew"
            ) from error

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


def _decoded(page: Any) -> NDArray[Any]:
    """Return a page's pixels; of a set's other files, which would be too many to hold open, one is opened."""
    stream = page.parent.filehandle
    if not stream.closed:
        return np.asarray(page.asarray())
    stream.open()
    try:
        return np.asarray(page.asarray())
    finally:
        stream.close()


def _open(path: Path) -> tifffile.TiffFile:
    try:
        return tifffile.TiffFile(path)
    except FileNotFoundError as error:
        raise MissingInputError(f"expected the file {path}, found nothing there") from error
    except Exception as error:
        raise FormatError(
            f"{path}: expected a TIFF file, found something else ({error}); copy it again or export it anew"
        ) from error


def _document(file: tifffile.TiffFile, acquisition: Acquisition) -> Element | None:
    """Return the file's OME-XML, None if it has none; FormatError if it cannot be true."""
    if not file.is_ome:
        return None
    path = acquisition.location
    ome = parse_ome(str(file.ome_metadata), path)
    known = {one.name for one in acquisition.files}
    strangers = [name for name in named_files(ome) if name not in known and (path.parent / name).exists()]
    if elsewhere := names_elsewhere(ome, path):
        raise FormatError(
            f"{path}: its OME-XML names {elsewhere[0]}, which lies in another folder; expected all files of "
            "a set in one folder: put it there"
        )
    if strangers:
        raise FormatError(
            f"{path}: its OME-XML says that planes lie in {strangers[0]}, found {len(known)} files taken "
            "together; put the set in one folder, its names ending in .ome.tif, and name one of its files"
        )
    check_promises(ome, path, sum(one.stat().st_size for one in acquisition.files if one.exists()))
    if acquisition.scene is None and len(images(ome)) > 1:
        raise FormatError(
            f"{path}: expected one image, found {len(images(ome))}; let its name end in .ome.tif "
            "and each becomes an acquisition"
        )
    return ome if images(ome) else None


def _scene_index(acquisition: Acquisition) -> int:
    return acquisition.scene if isinstance(acquisition.scene, int) else 0


def _series(file: tifffile.TiffFile, acquisition: Acquisition, ome: Element | None) -> Any:
    path = acquisition.location
    try:
        every = file.series
        series = every[_scene_index(acquisition)]
        strays = [one for one in every if one.shape != series.shape and not one.keyframe.is_reduced]
    except Exception as error:
        raise FormatError(
            f"{path}: its TIFF directory cannot be read ({error}); copy it again or export it anew"
        ) from error
    if math.prod(series.shape) == 0:
        raise FormatError(f"{path}: expected an image, found one without pixels ({series.shape})")
    flavour = next((name for name in FLAVOURS if getattr(file, f"is_{name}")), None)
    if flavour is not None and series.kind != flavour and (flavour != "ome" or ome is not None):
        raise FormatError(
            f"{path}: expected the pages that its {flavour} header describes, found others; the file is "
            "incomplete or damaged: copy it again from the instrument"
        )
    if flavour in (None, "shaped"):
        _check_chain(file, path)
    if strays and series.kind != "ome":
        raise FormatError(
            f"{path}: expected pages of one shape, found {series.shape} and {strays[0].shape}; "
            "export the recording as one stack"
        )
    return series


def _check_chain(file: tifffile.TiffFile, path: Path) -> None:
    """Refuse a file whose last page points on: the next one was cut off, or is an earlier one again."""
    layout = file.tiff
    stream = file.filehandle
    stream.seek(file.pages[-1].offset)
    (tags,) = struct.unpack(layout.tagnoformat, stream.read(layout.tagnosize))
    stream.seek(tags * layout.tagsize, os.SEEK_CUR)
    pointer = stream.read(layout.offsetsize)
    if any(pointer) or len(pointer) < layout.offsetsize:
        raise FormatError(
            f"{path}: expected the last page at the end, found that page {len(file.pages)} points to one "
            "that is not there or came before; the file is incomplete or damaged: copy it again"
        )


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
