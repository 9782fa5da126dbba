"""The stage with a network that knows the answer, so that whatever is wrong comes from tiles and patches."""

from dataclasses import replace

import numpy as np
import pytest

from storage import images, layout
from storage.ome import ImageMetadata
from tasks import tiles
from tasks.kernels.geometry import affine_to_raw
from tasks.kernels.pyramid import downsample_mean
from tasks.models.network import NetworkSegmenter, as_picture
from tasks.segment import segment
from tasks.settings import SegmentSettings
from tasks.stage import Handle
from tests.support import SERIAL, cells_of, labels_of
from tests.tasks.models.flow_networks import KnowsTheAnswer, coordinates, nuclei

SHAPE = (1000, 1100)
NETWORK = {"kind": "network", "model": "answer", "diameter_px": 17.0}


def cleaned(objects, tzyx, key="c" * 16):
    """A clean image t 1 z y x of a store."""
    t, z, height, width = tzyx.shape
    image = images.create_image(
        objects,
        layout.image_path("clean", key),
        shape=(t, 1, z, height, width),
        dtype="float32",
        metadata=ImageMetadata(
            "one", (None, 0.5, 0.5), extra={"clean_to_raw": affine_to_raw((height, width), 0.0, False)}
        ),
        written={},
        shard_px=512,
    )
    for unit in image.units():
        (a, _, c, top, left), (_, _, _, bottom, right) = unit.start, unit.stop
        part = np.ascontiguousarray(tzyx[a, c, top:bottom, left:right])
        image.write(unit, part.reshape(unit.shape), downsample_mean)
    return Handle("clean", key, "one.tif", objects.uri(image.path))


@pytest.fixture(scope="module")
def known():
    """2,000 nuclei, 500 of them across borders of tiles of 128 px."""
    return nuclei(SHAPE, 2000, seed=2, on_borders_of=128, borders=500, axes_px=(4, 8))


@pytest.fixture(scope="module")
def by_tile(known, tmp_path_factory):
    from storage.objects import open_store

    objects = open_store(str(tmp_path_factory.mktemp("network") / "store"), create=True)
    picture = coordinates(SHAPE)
    clean = cleaned(objects, picture[None, None])
    network = KnowsTheAnswer(known, as_picture(picture).grey)
    made = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiles, "load_network", lambda _: network)
        for tile_px in (128, 512):
            settings = SegmentSettings(tile_px=tile_px, method=NETWORK)
            made[tile_px] = segment.fn(clean, objects.url, settings, SERIAL)
    whole = NetworkSegmenter(network, diameter_px=17.0).segment(picture)
    return objects, clean, made, whole


def matched(found, known):
    """IoU of each known nucleus with the one found that covers most of it."""
    (a, b), both = np.unique(np.stack([found.ravel(), known.ravel()]), axis=1, return_counts=True)
    iou = both / (np.bincount(found.ravel())[a] + np.bincount(known.ravel())[b] - both)
    best = np.zeros(int(known.max()) + 1)
    np.maximum.at(best, b, np.where((a > 0) & (b > 0), iou, 0))
    return best[1:]


@pytest.mark.parametrize("tile_px", [128, 512])
def test_no_nucleus_is_cut_and_tiles_give_the_labels_of_the_whole(tile_px, by_tile, known):
    objects, clean, made, whole = by_tile
    labels = labels_of(objects, clean, made[tile_px])[0, 0]
    np.testing.assert_array_equal(labels, whole)
    assert (matched(labels, known) > 0.9).sum() >= 0.995 * known.max()
    assert labels.max() <= known.max()


def test_the_table_says_the_same_whatever_the_tiles(by_tile):
    objects, _, made, whole = by_tile
    tables = [cells_of(objects, one) for one in made.values()]
    assert len(tables[0]) == whole.max()
    assert all(table.equals(tables[0]) for table in tables)
    assert tables[0]["flow_error"].between(0, 0.1).all()
    assert made[128].metrics["diameter_px"] == 17.0


def test_areas_and_edges_choose_the_cells_that_stay(by_tile, known, monkeypatch):
    objects, clean, _, whole = by_tile
    network = KnowsTheAnswer(known, as_picture(coordinates(SHAPE)).grey)
    monkeypatch.setattr(tiles, "load_network", lambda _: network)
    areas = np.bincount(whole.ravel())
    rim = np.unique(np.concatenate([whole[0], whole[-1], whole[:, 0], whole[:, -1]]))
    kept = (areas >= 80) & (areas <= 120)
    kept[rim] = False
    kept[0] = False
    settings = SegmentSettings(
        tile_px=256, method=NETWORK, min_area_um2=20, max_area_um2=30, edge_cells="drop"
    )
    labels = labels_of(objects, clean, segment.fn(clean, objects.url, settings, SERIAL))[0, 0]
    np.testing.assert_array_equal(labels, (np.cumsum(kept) * kept)[whole])


def test_nuclei_over_each_other_in_z_get_one_label(store, monkeypatch):
    shape = (130, 150)
    known = nuclei(shape, 12, seed=3)
    picture = coordinates(shape)
    stack = np.stack([picture, picture, np.full(shape, 0.5, np.float32)])[None]
    clean = cleaned(store, stack)
    monkeypatch.setattr(tiles, "load_network", lambda _: KnowsTheAnswer(known, as_picture(picture).grey))
    apart, joined = (
        labels_of(
            store,
            clean,
            segment.fn(
                clean, store.url, SegmentSettings(tile_px=64, method=NETWORK, stitch_z=stitch), SERIAL
            ),
        )[0]
        for stitch in (None, 0.5)
    )
    assert [int(one.max()) for one in apart] == [12, 12, 0]
    np.testing.assert_array_equal(joined, apart)


def test_other_weights_are_another_question_and_the_same_by_another_name_are_not(store, monkeypatch):
    known, picture = nuclei((70, 90), 5), coordinates((70, 90))
    clean = cleaned(store, picture[None, None])
    network = KnowsTheAnswer(known, as_picture(picture).grey)
    keys = []
    for digest, name in (("1" * 16, "a"), ("1" * 16, "b"), ("2" * 16, "a")):
        renamed = replace(network, digest=digest, name=name)
        monkeypatch.setattr(tiles, "load_network", lambda _, renamed=renamed: renamed)
        settings = SegmentSettings(tile_px=64, method=NETWORK | {"model": name})
        keys.append(segment.fn(clean, store.url, settings, SERIAL).key)
    assert keys[0] == keys[1] != keys[2]


def test_a_model_that_is_not_there_is_said(store, tmp_path, monkeypatch):
    from storage.errors import InputError

    monkeypatch.setenv("CELLPOSE_LOCAL_MODELS_PATH", str(tmp_path))
    clean = cleaned(store, coordinates((40, 50))[None, None])
    settings = SegmentSettings(method={"kind": "network", "model": "cpsam"})
    with pytest.raises(InputError, match="CELLPOSE_LOCAL_MODELS_PATH"):
        segment.fn(clean, store.url, settings, SERIAL)


def test_regions_of_a_stored_picture_are_those_of_one_in_memory(store):
    from tasks.flow_maps import StorePicture

    yx = np.random.default_rng(0).random((601, 700)).astype(np.float32)
    clean = cleaned(store, yx[None, None])
    picture = as_picture(yx)
    stored = StorePicture(
        images.open_image(store, layout.image_path("clean", clean.key)), (0, 0), picture.grey
    )
    for level in range(5):
        height, width = (-(-size // 2**level) for size in yx.shape)
        for box in [(slice(0, height), slice(0, width)), (slice(3, 9), slice(8, 11))]:
            np.testing.assert_array_equal(stored.part(box, level), picture.part(box, level))
