"""Pictures and masks that people keep as single files: one plane of a TIFF or PNG."""

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from storage.errors import FormatError, MissingInputError

TIFF_ENDINGS = (".tif", ".tiff")
ENDINGS = (*TIFF_ENDINGS, ".png")
MOST_PIXELS = 2**30
_COLOURS = (3, 4)  # red, green, blue and perhaps how opaque
_FAULTS = (
    ValueError, TypeError, LookupError, RuntimeError, OSError, SyntaxError, MemoryError, struct.error,
    tifffile.TiffFileError, UnidentifiedImageError, Image.DecompressionBombError,
)  # fmt: skip  # all that readers were seen to raise on damaged files


def read_picture(path: Path) -> NDArray[Any]:
    """Return the grey values of a picture, axes y x; colours become their mean.

    Raises
    ------
    MissingInputError
        There is no such file.
    FormatError
        It cannot be read, or is more than one plane.
    """
    yx = _read(path)
    if yx.ndim == 3 and yx.shape[-1] in _COLOURS:
        colours = yx[..., :3]
        same = (colours == colours[..., :1]).all()
        yx = colours[..., 0] if same else colours.mean(axis=-1).astype(np.float32)
    return _plane(yx, path)


def read_masks(path: Path) -> NDArray[Any]:
    """Return the numbers of a label image, axes y x, of the file's own type; errors as of a picture."""
    return _plane(_read(path), path)


def write_tiff(path: Path, yx: NDArray[Any]) -> None:
    """Write a plane as a TIFF that any program opens; FileExistsError where something is already."""
    with path.open("xb") as stream:
        tifffile.imwrite(stream, yx, photometric="minisblack")


def _plane(yx: NDArray[Any], path: Path) -> NDArray[Any]:
    plane = yx.reshape(yx.shape[-2:]) if yx.ndim > 2 and yx.shape[:-2] == (1,) * (yx.ndim - 2) else yx
    if plane.ndim != 2 or plane.size == 0 or plane.dtype.kind not in "biuf":
        raise FormatError(
            f"{path}: expected one plane of numbers, found shape {yx.shape} of {yx.dtype}; "
            "save each plane as a file of its own"
        )
    return plane


def _read(path: Path) -> NDArray[Any]:
    if not path.is_file():
        raise MissingInputError(f"expected a picture at {path}, found nothing there")
    read: Callable[[Path], NDArray[Any]] = _read_tiff if path.suffix.lower() in TIFF_ENDINGS else _read_png
    try:
        return read(path)
    except FormatError:
        raise
    except _FAULTS as error:
        raise FormatError(
            f"{path}: expected a TIFF or PNG, found one that cannot be read: {error}"
        ) from error


def _read_tiff(path: Path) -> NDArray[Any]:
    with tifffile.TiffFile(path) as file:
        (series,) = file.series[:1]
        _check_size(path, series.shape)
        return np.asarray(series.asarray())


def _read_png(path: Path) -> NDArray[Any]:
    with Image.open(path) as image:
        _check_size(path, image.size)
        return np.asarray(image)


def _check_size(path: Path, shape: tuple[int, ...]) -> None:
    pixels = 1
    for edge in shape:
        pixels *= int(edge)
    if pixels > MOST_PIXELS:
        raise FormatError(f"{path}: expected at most {MOST_PIXELS:,} pixels, found {pixels:,}")
