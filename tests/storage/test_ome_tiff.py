"""An exported OME-TIFF: the store's pyramid, tile for tile, read back by tifffile and an OME-XML parser."""

import tracemalloc
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from ome_types import from_tiff

from storage.images import OmeImage, create_image
from storage.layout import image_path
from storage.objects import Objects, open_store
from storage.ome import ImageMetadata
from storage.ome_tiff import export_ome_tiff
from storage.records import Record
from storage.regions import Region

SAID = ImageMetadata(
    name="chip 3",
    pixel_size_um=(2.0, 0.325, 0.325),
    time_interval_s=600.0,
    channel_names=("nuclei", "actin"),
    windows=((0.0, 200.0), (0.0, 200.0)),
)


@pytest.fixture
def store(tmp_path: Path) -> Objects:
    """A folder: where the bytes come from is nothing to the export."""
    return open_store(str(tmp_path / "store"), create=True)


def made(objects: Objects, shape: tuple[int, ...], dtype: str = "uint16") -> tuple[Record, OmeImage]:
    """An image of noise, so that no two tiles are alike."""
    path = image_path("raw", "k")
    said = replace(SAID, channel_names=SAID.channel_names[: shape[1]], windows=SAID.windows[: shape[1]])
    image = create_image(objects, path, shape=shape, dtype=dtype, metadata=said, written={}, shard_px=1024)
    for number, unit in enumerate(image.units()):
        random = np.random.default_rng(number)
        tile = random.integers(0, 200, unit.shape[-2:])
        image.write(
            unit, np.broadcast_to(tile, unit.shape).astype(dtype), lambda values: values[..., ::2, ::2]
        )
    return Record(kind="raw", key="k", name="chip 3", path=path), image


def exported(objects: Objects, record: Record, out: Path, **more: Any) -> Path:
    export_ome_tiff(objects, record, out, **more)
    return out


@pytest.mark.parametrize("shape", [(2, 2, 2, 700, 1100), (1, 1, 1, 513, 40), (1, 2, 1, 30, 50)])
@pytest.mark.parametrize("dtype", ["uint16", "float32"])
def test_every_level_has_the_stores_pixels(
    store: Objects, tmp_path: Path, shape: tuple[int, ...], dtype: str
) -> None:
    record, image = made(store, shape, dtype)
    with tifffile.TiffFile(exported(store, record, tmp_path / "a.ome.tif")) as file:
        assert file.is_ome
        (series,) = file.series
        assert [level.keyframe.is_tiled for level in series.levels] == [True] * len(image.levels)
        for level, kept in zip(series.levels, image.levels, strict=True):
            pixels = level.asarray().reshape(kept.shape)
            assert pixels.dtype == dtype
            np.testing.assert_array_equal(pixels, kept.read(Region((0,) * 5, kept.shape)))
        pages = file.pages
        assert len(pages) == int(np.prod(shape[:-2]))
        for page in pages:
            assert len(page.subifds or ()) == len(image.levels) - 1


def test_the_ome_xml_says_sizes_channels_and_interval(store: Objects, tmp_path: Path) -> None:
    record, _ = made(store, (3, 2, 2, 700, 1100))
    (image,) = from_tiff(exported(store, record, tmp_path / "a.ome.tif")).images
    pixels = image.pixels
    assert (pixels.size_t, pixels.size_c, pixels.size_z, pixels.size_y, pixels.size_x) == (3, 2, 2, 700, 1100)
    sizes = (pixels.physical_size_z, pixels.physical_size_y, pixels.physical_size_x)
    assert sizes == SAID.pixel_size_um
    assert {one.value for one in (pixels.physical_size_x_unit, pixels.physical_size_z_unit)} == {"µm"}
    assert pixels.time_increment == SAID.time_interval_s
    assert tuple(channel.name for channel in pixels.channels) == SAID.channel_names
    assert image.name == "chip 3"


def test_a_row_of_tiles_is_held_and_never_a_plane(store: Objects, tmp_path: Path) -> None:
    height, width = 8192, 2048
    record, _ = made(store, (1, 1, 1, height, width))
    steps: list[tuple[int, int]] = []
    exported(store, record, tmp_path / "warm.ome.tif")
    tracemalloc.start()
    try:
        exported(store, record, tmp_path / "a.ome.tif", listener=lambda *step: steps.append(step))
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak_bytes < height * width * 2 / 2, f"{peak_bytes:,}"
    assert steps == [(number, len(steps)) for number in range(1, len(steps) + 1)]
    assert len(steps) == 16 + 8 + 4 + 2 + 1 + 1
