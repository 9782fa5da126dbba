import numpy as np
import pytest

from storage.experiment import read_cells, read_labels
from tasks.extract import extract
from tasks.settings import CropAndPad, CropAndResize, ExtractSettings
from tests.support import QUICK, SERIAL, cells_of, clean_of, labels_of, patches_of


@pytest.fixture(scope="module")
def workplace(carried, tmp_path_factory):
    """A copy of the carried store that may be added to."""
    import shutil

    from storage.objects import open_store

    objects, acquisitions = carried
    copy = tmp_path_factory.mktemp("extract") / "store"
    shutil.copytree(objects.url, copy)
    return open_store(str(copy)), acquisitions[0]


def extracted(workplace, **settings):
    objects, one = workplace
    return extract.fn(
        clean=one.clean,
        labels=one.labels,
        sample=one.sample,
        truth=one.truth,
        store=objects.url,
        settings=ExtractSettings(**settings),
        resources=SERIAL,
    )


def test_row_n_shows_the_nucleus_of_row_n(carried):
    objects, acquisitions = carried
    size = QUICK.extract.crop.size_px
    for one in acquisitions:
        clean_tyx, labels_tzyx = clean_of(objects, one.clean), labels_of(objects, one.clean, one.labels)
        nyx, cells = patches_of(objects, one.patches)[:, 0], cells_of(objects, one.patches)
        assert len(nyx) == len(cells) == one.patches.counts["patches"] > 0
        for patch_yx, (_, row) in zip(nyx, cells.iterrows(), strict=True):
            mask = labels_tzyx[row["t"], row["z"]] == row["label"]
            alone = np.pad(np.where(mask, clean_tyx[row["t"]], 0), size)
            y = (row["bbox_y0_px"] + row["bbox_y1_px"]) // 2 + size - size // 2
            x = (row["bbox_x0_px"] + row["bbox_x1_px"]) // 2 + size - size // 2
            expected = alone[y : y + size, x : x + size].astype(np.float16)
            np.testing.assert_array_equal(patch_yx, expected)
            assert np.count_nonzero(patch_yx) > 20


def test_background_is_kept_on_request(workplace):
    objects, one = workplace
    cut = patches_of(objects, one.patches)[:, 0]
    kept = patches_of(objects, extracted(workplace, crop=CropAndPad(size_px=32), keep_background=True))[:, 0]
    np.testing.assert_array_equal(kept[cut > 0], cut[cut > 0])
    assert np.count_nonzero(kept) > 1.3 * np.count_nonzero(cut)


def test_cells_at_the_edge_are_dropped_or_kept(workplace):
    objects, one = workplace
    every = cells_of(objects, one.labels)
    edge = int(every["touches_edge"].sum())
    assert edge > 0
    assert one.patches.counts["patches"] == len(every) - edge
    kept = extracted(workplace, crop=CropAndPad(size_px=32), edge_cells="keep")
    assert kept.counts["patches"] == len(every)
    assert cells_of(objects, kept)["touches_edge"].sum() == edge


@pytest.mark.parametrize(
    "crop", [CropAndPad(size_px=24), CropAndResize(size_px=32), CropAndResize(size_px=40)]
)
def test_every_way_to_cut_is_an_artifact_of_its_own(crop, workplace):
    objects, one = workplace
    made = extracted(workplace, crop=crop)
    assert not made.reused
    assert made.key != one.patches.key
    assert patches_of(objects, made).shape == (one.patches.counts["patches"], 1, crop.size_px, crop.size_px)


def test_rows_say_where_they_come_from(carried):
    objects, acquisitions = carried
    names = []
    for one in acquisitions:
        cells = cells_of(objects, one.patches)
        sample = one.found.sample
        for column, value in (("condition", sample.condition), ("chip", sample.chip), ("file", one.raw.name)):
            assert set(cells[column].astype(str)) == {value}
        assert cells.index.str.startswith(one.labels.key[:12]).all()
        names += list(cells.index)
    assert len(set(names)) == len(names)


def test_populations_are_those_of_the_truth(experiment, carried):
    objects, acquisitions = carried
    known = {(row["file"], row["t"], row["label"]): row["population"] for row in read_cells(experiment)}
    right = total = 0
    for one in acquisitions:
        truth_tyx = read_labels(experiment, one.raw.name)
        for _, row in cells_of(objects, one.patches).iterrows():
            y, x = round(row["centroid_y_raw_px"]), round(row["centroid_x_raw_px"])
            around = truth_tyx[row["t"], y - 2 : y + 3, x - 2 : x + 3]
            label = np.bincount(around[around > 0]).argmax() if around.any() else 0
            right += known.get((one.raw.name, row["t"], label)) == row["population"]
            total += 1
    assert total > 30
    assert right >= 0.95 * total


def test_without_truth_there_is_no_population(workplace):
    objects, one = workplace
    made = extracted((objects, type(one)(**{**vars(one), "truth": None})), crop=CropAndPad(size_px=32))
    assert made.key != one.patches.key
    assert "population" not in cells_of(objects, made)
    np.testing.assert_array_equal(patches_of(objects, made), patches_of(objects, one.patches))
