import numpy as np
import pytest

from storage import images, layout
from storage.errors import DamagedStoreError
from storage.ome import ImageMetadata
from tasks.tiles import STRIP_PX, LabelTask, PlaneFacts, scratch_array, tiles_of
from tests.support import QUICK, SERIAL

SHAPE = (2, 1, 150, 210)


@pytest.fixture
def labels(store):
    return images.create_image(
        store,
        layout.labels_path("clean", "labels"),
        shape=SHAPE,
        dtype="uint32",
        metadata=ImageMetadata("x"),
        written={},
        shard_px=64,
    )


@pytest.fixture
def tiles(labels):
    return tiles_of(labels, [PlaneFacts(np.array([1, 2])), PlaneFacts(np.array([3, 4]))])


def test_tiles_cover_every_pixel_once_and_are_whole_shards(labels, tiles):
    covered = np.zeros(SHAPE, int)
    for tile in tiles:
        covered[tile.label_region().slices] += 1
        labels.levels[0].write(tile.label_region(), np.ones(tile.label_region().shape, np.uint32))
    assert (covered == 1).all()
    assert len({tile.name for tile in tiles}) == len(tiles) == 2 * 3 * 4


def test_each_plane_has_its_own_facts(tiles):
    assert {(tile.plane, tuple(tile.facts.histogram)) for tile in tiles} == {
        ((0, 0), (1, 2)),
        ((1, 0), (3, 4)),
    }


def test_neighbours_lie_right_and_below_in_the_same_plane(tiles):
    by_place = {(tile.plane, tile.place): tile for tile in tiles}
    assert [one.place for one in by_place[(1, 0), (0, 0)].neighbours] == [(0, 1), (1, 0), (1, 1)]
    assert [one.place for one in by_place[(0, 0), (2, 1)].neighbours] == [(2, 2)]
    assert by_place[(0, 0), (2, 3)].neighbours == ()
    for tile in tiles:
        for neighbour in tile.neighbours:
            assert neighbour.core == by_place[neighbour.plane, neighbour.place].core
            assert neighbour.plane == tile.plane


def test_scratch_holds_each_core_and_strip_in_a_shard_of_its_own(store, labels, tiles):
    work = LabelTask(store.url, "clean", "labels", QUICK.segment, SERIAL)
    scratch = scratch_array(store, work, labels, create=True)
    edge = 64 + STRIP_PX
    assert scratch.spec.shards == (1, 1, edge, edge)
    seen = np.zeros(scratch.shape, int)
    for tile in tiles:
        seen[tile.scratch_region(scratch.spec.shards).slices] += 1
    assert (seen == 1).all()
    scratch.write(tiles[5].scratch_region(scratch.spec.shards), np.full((1, 1, edge, edge), 7, np.uint32))
    again = scratch_array(store, work, labels)
    assert (again.read(tiles[5].scratch_region(scratch.spec.shards)) == 7).all()
    with pytest.raises(DamagedStoreError):  # a tile nobody wrote is no background
        again.read(tiles[4].scratch_region(scratch.spec.shards))
