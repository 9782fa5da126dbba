import json
from pathlib import Path

import ngio
import numpy as np
import pytest
import yaozarrs
from hypothesis import given, settings
from hypothesis import strategies as st

from storage import images
from storage.arrays import Digests
from storage.errors import MissingInputError
from storage.images import OmeImage
from storage.objects import Objects, open_store
from storage.ome import ImageMetadata
from storage.regions import Region
from tasks.kernels.pyramid import downsample_labels, downsample_mean

KNOWN = ImageMetadata(
    name="chip 1",
    pixel_size_um=(2.0, 0.5, 0.25),
    time_interval_s=30.0,
    channel_names=("DAPI", "actin"),
    windows=((0.0, 900.0), (10.0, 4000.0)),
    acquired="2026-01-02T03:04:05",
    extra={"objective": "20x"},
)
PATH = "artifacts/clean/aa/image.ome.zarr"


def make(
    objects: Objects,
    shape: tuple[int, ...],
    *,
    path: str = PATH,
    shard_px: int = 4096,
    metadata: ImageMetadata = KNOWN,
) -> tuple[OmeImage, np.ndarray]:
    dtype = "uint16" if len(shape) == 5 else "uint32"
    image = images.create_image(
        objects, path, shape=shape, dtype=dtype, metadata=metadata, written={}, shard_px=shard_px
    )
    pixels = np.random.default_rng(3).integers(0, 5000, shape).astype(dtype)
    for unit in image.units():
        image.write(unit, pixels[unit.slices], downsample_mean if len(shape) == 5 else downsample_labels)
    return image, pixels


def level(image: OmeImage, number: int) -> np.ndarray:
    shape = image.levels[number].shape
    return image.read(Region((0,) * len(shape), shape), number)


def halved(pixels: np.ndarray, times: int) -> np.ndarray:
    """Average blocks of the whole plane, the edge repeated: an oracle without tiles."""
    values = pixels.astype(np.float64)
    for _ in range(times):
        pad = [(0, 0)] * (values.ndim - 2) + [(0, size % 2) for size in values.shape[-2:]]
        even = np.pad(values, pad, mode="edge")
        blocks = even.reshape(*even.shape[:-2], even.shape[-2] // 2, 2, even.shape[-1] // 2, 2)
        values = np.rint(blocks.mean(axis=(-3, -1)))
    return values


def test_every_level_is_the_whole_image_downsampled(store: Objects) -> None:
    image, pixels = make(store, (2, 2, 1, 600, 521), shard_px=256)
    assert len(image.units()) == 2 * 2 * 3 * 3
    again = images.open_image(store, PATH)
    assert [one.shape[-2:] for one in again.levels] == [(600, 521), (300, 261), (150, 131)]
    direct = pixels
    for number in range(3):
        assert np.array_equal(level(again, number), direct)
        assert np.abs(level(again, number) - halved(pixels, number)).max() <= number
        direct = downsample_mean(direct)


@settings(max_examples=12)
@given(
    shape=st.tuples(st.integers(1, 700), st.integers(1, 700)),
    shard_px=st.sampled_from([64, 128, 256]),
    labels=st.booleans(),
)
def test_tiles_of_odd_sizes_make_the_same_pyramid_as_the_whole(
    tmp_path_factory: pytest.TempPathFactory, shape: tuple[int, int], shard_px: int, labels: bool
) -> None:
    objects = open_store(str(tmp_path_factory.mktemp("odd")), create=True)
    full = (1, 1, *shape) if labels else (1, 1, 1, *shape)
    image, pixels = make(objects, full, shard_px=shard_px)
    assert max(image.levels[-1].shape) <= max(256, max(shape) // 2**5 + 1)
    direct = pixels
    for number in range(len(image.levels)):
        assert np.array_equal(level(image, number), direct)
        direct = downsample_labels(direct) if labels else downsample_mean(direct)


def test_labels_of_every_level_are_labels_of_the_first(local: Objects) -> None:
    image, pixels = make(local, (1, 1, 513, 300))
    for number in range(len(image.levels)):
        assert set(np.unique(level(image, number))) <= set(np.unique(pixels))


def test_one_writer_of_a_unit_writes_its_shard_in_every_level(local: Objects) -> None:
    written: list[set[str]] = []
    make(local, (1, 1, 1, 600, 600), shard_px=128)
    for unit in images.open_image(local, PATH).units():
        notes: Digests = {}
        image = images.open_image(local, PATH, notes)
        image.write(unit, np.zeros(unit.shape, np.uint16), downsample_mean)
        written.append(set(notes))
    assert all(len(names) == 3 for names in written)
    assert len(set.union(*written)) == sum(len(names) for names in written)


@pytest.mark.parametrize("metadata", [KNOWN, ImageMetadata(name="plain")], ids=["known", "unknown"])
def test_yaozarrs_finds_the_image_valid(local: Objects, metadata: ImageMetadata) -> None:
    make(local, (2, 2, 1, 600, 521), metadata=metadata)
    yaozarrs.validate_zarr_store(f"{local.url}/{PATH}")


def test_ngio_opens_image_labels_and_scales(local: Objects) -> None:
    _, pixels = make(local, (2, 2, 1, 600, 521))
    _, masks = make(local, (2, 1, 600, 521), path=f"{PATH}/labels/bb")
    images.list_labels(local, "aa", ["bb"])
    yaozarrs.validate_zarr_store(f"{local.url}/{PATH}")
    container = ngio.open_ome_zarr_container(f"{local.url}/{PATH}", mode="r")
    image = container.get_image(path="0")
    assert np.array_equal(image.get_as_numpy(), pixels)
    assert image.channel_labels == ["DAPI", "actin"]
    assert (image.pixel_size.z, image.pixel_size.y, image.pixel_size.x, image.pixel_size.t) == (
        2,
        0.5,
        0.25,
        30,
    )
    assert (container.get_image(path="1").pixel_size.y, container.get_image(path="1").pixel_size.x) == (
        1.0,
        0.5,
    )
    assert container.list_labels() == ["bb"]
    assert np.array_equal(container.get_label("bb", path="0").get_as_numpy(), masks)


def test_what_the_file_does_not_say_gets_no_unit(local: Objects) -> None:
    make(local, (1, 1, 1, 40, 40), metadata=ImageMetadata(name="plain", pixel_size_um=(None, 0.5, None)))
    multiscale = json.loads((Path(local.url) / PATH / "zarr.json").read_text())["attributes"]["ome"][
        "multiscales"
    ][0]
    assert {axis["name"]: axis.get("unit") for axis in multiscale["axes"]} == {
        "t": None,
        "c": None,
        "z": None,
        "y": "micrometer",
        "x": None,
    }
    assert multiscale["datasets"][0]["coordinateTransformations"][0]["scale"] == [1.0, 1.0, 1.0, 0.5, 1.0]
    assert images.open_image(local, PATH).metadata.unknown == [
        "pixel_size_x_um",
        "time_interval_s",
        "channel_names",
        "acquired",
        "stage_position_um",
        "objective",
    ]


def test_metadata_comes_back_as_it_was(store: Objects) -> None:
    make(store, (1, 2, 1, 40, 40))
    assert images.open_image(store, PATH).metadata == KNOWN
    assert images.open_image(store, PATH).dtype == np.uint16


def test_a_missing_image_is_named(store: Objects) -> None:
    with pytest.raises(MissingInputError, match="found none"):
        images.open_image(store, "acquisitions/zz/image.ome.zarr")
    store.put("acquisitions/zz/image.ome.zarr/zarr.json", b'{"zarr_format":3,"node_type":"group"}')
    with pytest.raises(MissingInputError, match="expected an OME-Zarr image"):
        images.open_image(store, "acquisitions/zz/image.ome.zarr")


def test_the_list_of_labels_is_written_sorted_and_again(store: Objects) -> None:
    images.list_labels(store, "cc", ["b", "a"])
    first = store.get("artifacts/clean/cc/image.ome.zarr/labels/zarr.json")
    images.list_labels(store, "cc", ["a", "b"])
    assert store.get("artifacts/clean/cc/image.ome.zarr/labels/zarr.json") == first
    assert json.loads(first)["attributes"]["ome"] == {"version": "0.5", "labels": ["a", "b"]}
