import logging
from datetime import timedelta

import numpy as np
import pytest
import yaozarrs

from storage import layout
from storage.checking import check_store
from storage.collecting import collect, plan_removal
from storage.errors import InputError, MemoryBudgetError
from storage.experiment import read_cells
from storage.objects import open_store
from storage.samples import Sample
from tasks.dataset import patch_source
from tasks.kernels.simulation.design import ExperimentDesign
from tasks.preprocess import preprocess
from tasks.preprocess_settings import Off
from tasks.samples import attach_sample, standing_samples
from tasks.segment import segment
from tasks.segment_settings import Threshold
from tasks.settings import PreprocessSettings, Resources, SegmentSettings
from tasks.simulate import simulate_experiment
from tests.support import QUICK, SERIAL, carry, cells_of, contents, found_in, ingested, labels_of, write_tiff

BARE = PreprocessSettings(rotation=Off(), contrast=Off(), clip=Off(), denoise=Off())
TILES = (64, 128, 256, 1024)


def segmented(store, path, **settings):
    clean = preprocess.fn(ingested(store, path), store.url, BARE, SERIAL)
    return clean, segment.fn(clean, store.url, SegmentSettings(**settings), SERIAL)


@pytest.fixture(scope="module")
def by_tile(tmp_path_factory):
    """Labels of one simulated field of 224 px, by the edge of the tiles."""
    folder = tmp_path_factory.mktemp("tiles")
    design = ExperimentDesign(seed=8, chips=1, positions=1, time_points=1, height_px=224, width_px=224)
    simulate_experiment(folder / "field", design)
    objects = open_store(str(folder / "store"), create=True)
    raw = ingested(objects, found_in(folder / "field")[0].acquisition.location)
    clean = preprocess.fn(raw, objects.url, QUICK.preprocess, SERIAL)
    made = {
        tile_px: segment.fn(clean, objects.url, SegmentSettings(tile_px=tile_px), SERIAL) for tile_px in TILES
    }
    return objects, clean, made


@pytest.mark.parametrize("tile_px", TILES[:-1])
def test_tiles_of_any_size_give_the_labels_of_one(tile_px, by_tile):
    objects, clean, made = by_tile
    whole = labels_of(objects, clean, made[1024])
    assert whole.max() > 10
    np.testing.assert_array_equal(labels_of(objects, clean, made[tile_px]), whole)
    tables = [cells_of(objects, made[edge]) for edge in (tile_px, 1024)]
    assert tables[0].equals(tables[1])


def test_frames_labelled_one_after_the_other_give_the_same_bytes(experiment, tmp_path, monkeypatch):
    path = found_in(experiment)[0].acquisition.location
    stores = []
    for units in (1, 1000):
        monkeypatch.setattr("tasks.label_steps.UNITS_AT_A_TIME", units)
        stores.append(open_store(str(tmp_path / str(units)), create=True))
        _, labels = segmented(stores[-1], path)
        assert labels.counts["cells"] > 5
    assert contents(stores[0]) == contents(stores[1])


def test_every_label_image_is_listed_where_readers_look(by_tile):
    objects, clean, made = by_tile
    group = yaozarrs.validate_zarr_store(f"{objects.url}/{layout.labels_group_path(clean.key)}")
    assert group.ome_metadata().labels == sorted(one.key for one in made.values())
    for path in (layout.image_path("clean", clean.key), layout.labels_path(clean.key, made[64].key)):
        yaozarrs.validate_zarr_store(f"{objects.url}/{path}")


def test_smaller_levels_hold_no_label_that_is_not_there_in_full(by_tile):
    objects, clean, made = by_tile
    for labels in made.values():
        full, small = (labels_of(objects, clean, labels, level) for level in (0, 1))
        assert small.shape[-2:] == tuple(-(-edge // 2) for edge in full.shape[-2:])
        assert set(np.unique(small)) <= set(np.unique(full))
        assert len(np.unique(small)) > 0.95 * len(np.unique(full))


def test_the_cells_that_are_there_are_found(experiment, carried):
    objects, acquisitions = carried
    truth = len(read_cells(experiment))
    found = sum(one.labels.counts["cells"] for one in acquisitions)
    assert found == pytest.approx(truth, rel=0.05)
    for one in acquisitions:
        labels, cells = labels_of(objects, one.clean, one.labels), cells_of(objects, one.labels)
        assert one.labels.metrics["cells_by_frame"] == [int(frame.max()) for frame in labels]
        for t, frame in enumerate(labels):
            rows = cells[cells["t"] == t]
            assert rows["label"].tolist() == list(range(1, int(frame.max()) + 1))
            assert rows["area_px"].tolist() == np.bincount(frame.ravel())[1:].tolist()


def test_each_cell_says_where_it_comes_from(carried):
    objects, acquisitions = carried
    for one in acquisitions:
        cells, said = cells_of(objects, one.labels), one.found.sample
        assert len(cells) > 0
        assert set(cells["chip"]) == {said.chip}
        assert set(cells["position"]) == {said.position}
        assert set(cells["condition"]) == {said.condition}
    assert len({one.found.sample.condition for one in acquisitions}) == 2


@pytest.fixture
def restated(store, tmp_path):
    """Labels of a disc, and what gives them when another condition was stated."""
    y, x = np.mgrid[:100, :100]
    pixels = np.where((y - 50) ** 2 + (x - 50) ** 2 < 12**2, 4000, 200).astype(np.uint16)
    raw = ingested(store, write_tiff(tmp_path / "disc.tif", pixels))
    clean = preprocess.fn(raw, store.url, BARE, SERIAL)
    settings = SegmentSettings(method=Threshold())

    def say(condition):
        standing = standing_samples(store).get(raw.key)
        said = attach_sample(store, raw, Sample(file="disc.tif", condition=condition), standing)
        return segment.fn(clean, store.url, settings, SERIAL, said)

    return clean, say("wild type"), lambda: say("mutant")


def test_another_condition_is_another_table_and_the_same_labels_without_computing(
    restated, store, monkeypatch
):
    clean, before, say = restated
    monkeypatch.setattr("tasks.segment.run_steps", lambda *_: pytest.fail("computed again"))
    after = say()
    assert after.key != before.key
    assert (after.units_done, after.units_reused) == (0, before.units_done)
    assert (after.counts, after.metrics) == (before.counts, before.metrics)
    was, now = cells_of(store, before), cells_of(store, after)
    assert [set(one["condition"]) for one in (was, now)] == [{"wild type"}, {"mutant"}]
    assert was.drop(columns="condition").equals(now.drop(columns="condition"))
    np.testing.assert_array_equal(*(labels_of(store, clean, one) for one in (before, after)))
    assert check_store(store, older_than=timedelta(0)).problems == []


def test_what_is_copied_is_what_would_be_computed(restated, store, monkeypatch):
    _, before, say = restated
    copied = say()
    kept = {name: content for name, content in contents(store).items() if copied.key in name}
    collect(store, plan_removal(store, [copied.key]))
    monkeypatch.setattr("tasks.segment.taken_over", lambda *_: None)
    assert say().units_done == before.units_done
    assert {name: content for name, content in contents(store).items() if copied.key in name} == kept


def test_damaged_labels_are_not_taken_over(restated, store):
    clean, before, say = restated
    shard = next(store.names(f"{layout.labels_path(clean.key, before.key)}/0/c"))
    content = store.get(shard)
    store.put(shard, bytes([content[0] ^ 1]) + content[1:])
    after = say()
    assert after.units_done == before.units_done
    assert labels_of(store, clean, after).max() == 1


def test_an_object_over_many_tiles_is_one(store, tmp_path):
    y, x = np.mgrid[:250, :260]
    disc = (y - 130) ** 2 + (x - 120) ** 2 < 90**2
    path = write_tiff(tmp_path / "disc.tif", np.where(disc, 3000, 200).astype(np.uint16))
    clean, labels = segmented(store, path, tile_px=64, method={"kind": "threshold", "diameter_px": 180})
    assert labels.counts["cells"] == 1
    assert labels.units_done > 20 * 3
    found = labels_of(store, clean, labels)[0, 0] > 0
    assert np.count_nonzero(found ^ disc) < 0.02 * disc.sum()


@pytest.mark.parametrize("value", [0, 700])
def test_a_plane_without_nuclei_gives_empty_results_all_the_way(value, store, tmp_path):
    path = write_tiff(tmp_path / "empty.tif", np.full((2, 100, 120), value, np.uint16))
    made = carry(store, found_in(path)[0], QUICK)
    assert made.labels.counts["cells"] == 0
    assert made.labels.metrics["cells_by_frame"] == [0, 0]
    assert labels_of(store, made.clean, made.labels).max() == 0
    assert made.patches.counts["patches"] == 0
    assert len(cells_of(store, made.patches)) == 0
    with pytest.raises(InputError, match="expected nuclei to learn from, found none"):
        patch_source(store, [made.patches], SERIAL)


def test_frames_are_labelled_each_by_itself(store, tmp_path):
    y, x = np.mgrid[:120, :140]
    pixels = np.full((3, 120, 140), 200, np.uint16)
    for t, centres in enumerate([[(30, 30)], [], [(30, 30), (80, 100)]]):
        for cy, cx in centres:
            pixels[t][(y - cy) ** 2 + (x - cx) ** 2 < 12**2] = 4000
    _, labels = segmented(store, write_tiff(tmp_path / "three.tif", pixels, photometric="minisblack"))
    assert labels.metrics["cells_by_frame"] == [1, 0, 2]
    assert cells_of(store, labels).index.tolist() == ["t0-z0-1", "t2-z0-1", "t2-z0-2"]


def test_an_unknown_pixel_size_is_said_and_lengths_in_um_are_not_made_up(store, tmp_path, caplog):
    y, x = np.mgrid[:100, :100]
    pixels = np.where((y - 50) ** 2 + (x - 50) ** 2 < 12**2, 4000, 200).astype(np.uint16)
    with caplog.at_level(logging.WARNING, "chipcyte"):
        _, labels = segmented(store, write_tiff(tmp_path / "plain.tif", pixels), method=Threshold())
    assert "plain.tif: the pixel size is not known" in caplog.text
    cells = cells_of(store, labels)
    assert labels.metrics["pixel_size_um"] is None
    assert np.isnan(cells["area_um2"]).all()
    assert np.isnan(cells["major_axis_um"]).all()
    assert cells["area_px"].tolist() == [int((pixels == 4000).sum())]


def test_too_little_memory_is_said_before_a_tile_is_computed(by_tile):
    objects, clean, _ = by_tile
    before = set(contents(objects))
    small = Resources(compute="serial", workers=1, memory_bytes=2**28)
    with pytest.raises(MemoryBudgetError, match="each of 1 workers has 256 MiB"):
        segment.fn(clean, objects.url, SegmentSettings(min_area_um2=1), small)
    assert set(contents(objects)) == before
