"""What the tests of readers share: small recordings on disk, and how to read one whole."""

from pathlib import Path

import numpy as np
import pytest
import tifffile

from storage.sources.base import Acquisition
from storage.sources.discovery import find_acquisitions, open_acquisition

DATA = Path(__file__).resolve().parents[3].parent / "shared" / "data"
INSTRUMENTS = DATA / "instruments"
ODD = DATA / "odd"

needs_data = pytest.mark.skipif(not INSTRUMENTS.is_dir(), reason=f"the real files are not at {DATA}")


def read_all(acquisition: Acquisition) -> np.ndarray:
    """Every plane of an acquisition, t c z y x, through its reader."""
    source = open_acquisition(acquisition)
    try:
        t, c, z, _, _ = source.shape
        planes = [source.read_plane(i, j, k) for i in range(t) for j in range(c) for k in range(z)]
        assert all(plane.dtype == source.dtype and plane.shape == source.shape[-2:] for plane in planes)
        return np.stack(planes).reshape(source.shape)
    finally:
        source.close()


def only(path: Path, **options) -> Acquisition:
    (acquisition,) = find_acquisitions([path], **options)
    return acquisition


def metadata(acquisition: Acquisition):
    source = open_acquisition(acquisition)
    source.close()
    return source.metadata


def pixels(shape: tuple[int, ...], dtype: str = "uint16", seed: int = 0) -> np.ndarray:
    """Pixels no two planes of which are alike, negative ones too where the type has them."""
    numbers = np.random.default_rng(seed).integers(0, 256, shape)
    return (numbers - 128).astype(dtype) if np.dtype(dtype).kind in "if" else numbers.astype(dtype)


def tczyx_of(path: Path, unnamed_is: str = "T") -> np.ndarray:
    """A TIFF as tifffile itself reads it, its axes put in our order."""
    with tifffile.TiffFile(path) as file:
        series = file.series[0]
        axes = series.axes.replace("Q", unnamed_is).replace("I", unnamed_is)
        values = series.asarray()
    for axis in "TCZ":
        if axis not in axes:
            axes, values = axis + axes, values[np.newaxis]
    return values.transpose([axes.index(axis) for axis in "TCZYX"])


def write_planes(folder: Path, names: list[str], planes: np.ndarray) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, yx in zip(names, planes, strict=True):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        tifffile.imwrite(folder / name, yx)
    return folder
