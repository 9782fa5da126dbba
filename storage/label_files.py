"""Label images as TIFF files, for people and programs that have no store."""

import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import tifffile
from numpy.typing import NDArray

from storage.errors import InputError

_BIG_BYTES = 2**31  # from here on offsets of 32 bits may not do


def check_new(path: Path) -> None:
    """Raise InputError unless a file can be made there that does not replace another."""
    if path.exists():
        raise InputError(f"expected a new file for the labels, found {path} there already: name another one")
    if not path.parent.is_dir():
        raise InputError(f"expected a folder at {path.parent} for the labels, found none: make it first")
    if path.suffix.lower() not in (".tif", ".tiff"):
        raise InputError(f"expected a name that ends in .tif for the labels, found {path.name}")


def write_labels(
    path: Path,
    planes: Iterable[NDArray[np.uint32]],
    *,
    shape_tzyx: tuple[int, int, int, int],
    pixel_size_um: float | None = None,
) -> None:
    """Write labels as a TIFF of uint32, plane by plane, the axes of length 1 left out.

    Parameters
    ----------
    path
        The new file; it appears under this name when it is complete.
    planes
        Labels, uint32, axes y x, z fastest, then t.
    pixel_size_um
        Side of a pixel; None where it is not known.

    Raises
    ------
    InputError
        Something lies there already, or the folder does not exist.
    """
    check_new(path)
    leading = [(axis, size) for axis, size in zip("TZ", shape_tzyx[:2], strict=True) if size > 1]
    shape = (*(size for _, size in leading), *shape_tzyx[2:])
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with tifffile.TiffWriter(partial, bigtiff=int(np.prod(shape_tzyx)) * 4 > _BIG_BYTES) as writer:
            writer.write(
                iter(planes),
                shape=shape,
                dtype="uint32",
                photometric="minisblack",
                compression="zlib",
                metadata={"axes": "".join(axis for axis, _ in leading) + "YX"},
                resolution=None if pixel_size_um is None else (1e4 / pixel_size_um, 1e4 / pixel_size_um),
                resolutionunit=None if pixel_size_um is None else "CENTIMETER",
            )
        check_new(path)
        partial.rename(path)
    finally:
        partial.unlink(missing_ok=True)
