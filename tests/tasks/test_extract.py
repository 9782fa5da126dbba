import dataclasses
import shutil

import numpy as np
import pytest

from storage.arrays import ZarrArray
from storage.errors import InputError
from storage.experiment import read_cells, read_labels
from storage.objects import open_store
from tasks.extract import extract, sized
from tasks.extract_settings import AreaLimits, CropAndPad, CropAndResize, ExtractSettings
from tests.support import QUICK, SERIAL, cells_of, clean_of, contents, labels_of, patches_of


@pytest.fixture(scope="module")
def workplace(carried, tmp_path_factory):
    """A copy of the carried store that may be added to."""
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


def test_frames_taken_one_after_the_other_give_the_same_bytes(carried, tmp_path, monkeypatch):
    objects, (one, *_) = carried
    made = []
    for rows in (1, 10**6):
        monkeypatch.setattr("tasks.extract.ROWS", rows)
        copy = tmp_path / str(rows)
        shutil.copytree(objects.url, copy)
        extracted((open_store(str(copy)), one), crop=CropAndPad(size_px=24), edge_cells="keep")
        made.append(contents(open_store(str(copy))))
    assert made[0] == made[1]


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


# --- size, turn, limits, numbers


def test_the_size_is_that_of_the_nuclei_where_none_is_set(workplace):
    objects, one = workplace
    cells = cells_of(objects, one.labels)
    sides = np.maximum(
        cells["bbox_y1_px"] - cells["bbox_y0_px"], cells["bbox_x1_px"] - cells["bbox_x0_px"]
    ).to_numpy()
    for percentile in (99.0, 50.0):
        made = extracted(workplace, crop=CropAndPad(percentile=percentile))
        size = patches_of(objects, made).shape[-1]
        assert size % 8 == 0
        assert size - 8 < np.percentile(sides, percentile) <= size
    assert (
        sized(objects, ExtractSettings(), [one.labels]).crop.size_px
        == sized(objects, ExtractSettings(), [one.labels] * 2).crop.size_px
    )


def test_a_size_in_um_is_one_in_px(workplace):
    objects, one = workplace
    pixel_size_um = one.labels.metrics["pixel_size_um"]
    made = extracted(workplace, crop=CropAndPad(size_um=15.9))
    assert patches_of(objects, made).shape[-1] == int(np.ceil(15.9 / pixel_size_um / 8)) * 8
    unknown = dataclasses.replace(one.labels, metrics={"pixel_size_um": None})
    for settings in ({"crop": CropAndPad(size_um=20.0)}, {"area": AreaLimits(least=1.0)}):
        with pytest.raises(InputError, match="pixel size"):
            extracted((objects, dataclasses.replace(one, labels=unknown)), **settings)


def test_long_axes_are_turned_upright(workplace):
    objects = workplace[0]
    made = extracted(workplace, crop=CropAndPad(size_px=48), turn="long_axis")
    plain = extracted(workplace, crop=CropAndPad(size_px=48))
    cells = cells_of(objects, made)
    np.testing.assert_array_equal(cells["turned_deg"], cells["orientation_deg"])
    slim = np.flatnonzero(cells["eccentricity"] > 0.8)
    assert len(slim) > 1

    def tilt_deg(patches):
        found = []
        for patch_yx in patches[slim, 0].astype(float):
            y, x = np.nonzero(patch_yx)
            found.append(np.rad2deg(np.arctan2(*np.linalg.eigh(np.cov(y, x))[1][::-1, 1])))
        return np.abs((np.array(found) + 90) % 180 - 90)

    assert tilt_deg(patches_of(objects, made)).max() < 0.5 * tilt_deg(patches_of(objects, plain)).max()


def test_the_rotation_of_the_clean_image_is_undone_on_request(workplace):
    objects, one = workplace
    made = extracted(workplace, crop=CropAndPad(size_px=32), turn="none")
    assert one.clean.metrics["rotated"]
    assert set(cells_of(objects, made)["turned_deg"]) == {-one.clean.metrics["angle_deg"]}


def test_areas_are_limited(workplace):
    objects, one = workplace
    areas = cells_of(objects, one.patches)["area_px"]
    least, most = np.percentile(areas, [25, 75])
    made = extracted(
        workplace, crop=CropAndPad(size_px=32), area=AreaLimits(unit="px", least=least, most=most)
    )
    assert made.counts["patches"] == ((areas >= least) & (areas <= most)).sum()


def test_numbers_are_small_on_request(workplace):
    objects, one = workplace
    plain = patches_of(objects, one.patches).astype(np.float32)
    for dtype, most in (("uint8", 255), ("uint16", 65535)):
        stored = patches_of(objects, extracted(workplace, crop=CropAndPad(size_px=32), dtype=dtype))
        assert stored.dtype == dtype
        np.testing.assert_allclose(stored / most, plain, atol=0.51 / most + 5e-4)


def test_channels_that_are_not_there_are_refused(workplace):
    with pytest.raises(InputError, match=r"channels among \[0\], found 2"):
        extracted(workplace, crop=CropAndPad(size_px=32), channels=(0, 2))


def test_each_plane_is_read_once(workplace, monkeypatch):
    """Small shards, so that planes and shards of rows end at different rows."""
    objects, one = workplace
    monkeypatch.setattr("tasks.extract.ROWS_PER_SHARD", 4)
    monkeypatch.setattr("tasks.extract.ROWS_PER_CHUNK", 4)
    read = []

    def noted(self, region, plain=ZarrArray.read):
        read.append((self.path, region.start[0]))
        return plain(self, region)

    monkeypatch.setattr(ZarrArray, "read", noted)
    made = extracted(workplace, crop=CropAndPad(size_px=40))
    assert made.counts["patches"] > 3 * 4
    assert len(read) == len(set(read)) == 2 * one.labels.counts["frames"]
    monkeypatch.undo()
    whole = extracted(workplace, crop=CropAndPad(size_px=40), edge_cells="keep")
    kept = ~cells_of(objects, whole)["touches_edge"].to_numpy(bool)
    np.testing.assert_array_equal(patches_of(objects, made), patches_of(objects, whole)[kept])


def test_runs_of_shards_and_parts_of_planes_change_nothing(workplace, monkeypatch):
    objects = workplace[0]
    options = {"crop": CropAndResize(size_px=24), "keep_background": True}
    whole = extracted(workplace, **options)
    monkeypatch.setattr("tasks.extract.ROWS_PER_SHARD", 4)
    monkeypatch.setattr("tasks.extract.ROWS_PER_CHUNK", 4)
    monkeypatch.setattr("tasks.extract.SHARDS_PER_UNIT", 1)
    monkeypatch.setattr("tasks.extract.ALGORITHM", -1)
    parts = extracted(workplace, **options)
    assert parts.units_done > 3
    np.testing.assert_array_equal(patches_of(objects, parts), patches_of(objects, whole))
