"""Cellpose's `_seg.npy`: a dictionary that NumPy pickled. Written by us, read without unpickling."""

import io
from dataclasses import dataclass
from pathlib import Path
from tokenize import TokenError
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from storage.errors import FormatError
from storage.pickled import array_of, items_of, read_pickle, text_of

ENDING = "_seg.npy"
MOST_BYTES = 2**32
_CHANNELS = [0, 0]  # grey, no second channel


@dataclass(frozen=True)
class SegFile:
    """What a `_seg.npy` says: masks of any type, axes as saved, and the picture if it holds one."""

    masks: NDArray[Any]
    filename: str | None
    picture: NDArray[Any] | None


def read_seg(path: Path) -> SegFile:
    """Read a `_seg.npy` that Cellpose's windows or `masks_flows_to_seg` wrote, of any version.

    Nothing in it is run: see `storage.pickled`.

    Raises
    ------
    FormatError
        It is no such file, is truncated, or holds more than arrays, numbers, texts and plain containers.
    """
    if path.stat().st_size > MOST_BYTES:
        raise FormatError(f"{path}: expected at most {MOST_BYTES:,} bytes, found {path.stat().st_size:,}")
    content = path.read_bytes()
    (found,) = _single(items_of(read_pickle(_pickle_in(content, path), str(path)), str(path)), path)
    if not isinstance(found, dict) or "masks" not in found:
        raise FormatError(f"{path}: expected a dictionary with 'masks', found {type(found).__name__} without")
    masks = array_of(found["masks"], f"{path}, masks")
    picture = found.get("img")
    return SegFile(
        _from_zero(masks),
        text_of(found.get("filename")),
        None if picture is None else array_of(picture, f"{path}, img"),
    )


def _pickle_in(content: bytes, path: Path) -> bytes:
    """Return what follows the header of an NPY file of one Python object."""
    stream = io.BytesIO(content)
    try:
        version = npy.read_magic(stream)
        read = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}[version]
        shape, _, dtype = read(stream)
    except (ValueError, KeyError, TypeError, SyntaxError, TokenError) as error:
        raise FormatError(
            f"{path}: expected an NPY file, found another or a damaged one ({error})"
        ) from error
    if dtype != np.dtype(object) or shape != ():
        raise FormatError(
            f"{path}: expected the one dictionary that Cellpose saves, found an array {shape} of {dtype}; "
            "give masks as a TIFF or PNG"
        )
    return content[stream.tell() :]


def _single(items: list[Any], path: Path) -> list[Any]:
    if len(items) != 1:
        raise FormatError(f"{path}: expected one dictionary, found {len(items)} objects")
    return items


def _from_zero(masks: NDArray[Any]) -> NDArray[Any]:
    """Cellpose's first versions counted from -1."""
    return masks + 1 if masks.size and masks.dtype.kind == "i" and masks.min() == -1 else masks


def write_seg(masks_yx: NDArray[np.integer[Any]], outlines_yx: NDArray[np.bool_], picture: str) -> bytes:
    """Return the bytes of a `_seg.npy` that Cellpose 2 to 4 open.

    Parameters
    ----------
    masks_yx
        0 background, 1 to n.
    outlines_yx
        Pixels on the border of a mask.
    picture
        Name of the picture's file, which lies in the same folder.
    """
    count = int(masks_yx.max(initial=0))
    dtype = np.uint16 if count < 2**16 - 1 else np.uint32
    height, width = masks_yx.shape
    blank = np.zeros((1, height, width), np.uint8)
    content = {
        "masks": masks_yx.astype(dtype),
        "outlines": (masks_yx * outlines_yx).astype(dtype),
        "chan_choose": list(_CHANNELS),
        "ismanual": np.zeros(count, bool),
        "filename": picture,
        # the windows want a flow, a probability and a depth to show, even if there are none
        "flows": [np.zeros((1, height, width, 3), np.uint8), blank, blank, [], []],
        "diameter": np.nan,
    }
    stream = io.BytesIO()
    np.save(stream, np.array(content, dtype=object), allow_pickle=True)
    return stream.getvalue()
