import shutil

import numpy as np
import pytest
import yaozarrs

from storage import images, layout
from storage.errors import FormatError
from storage.experiment import read_stack
from tasks.kernels.pyramid import downsample_mean
from tasks.settings import IngestSettings
from tests.support import QUICK, contents, dies_at, ingested, write_tiff


def image_of(objects, raw):
    return images.open_image(objects, layout.image_path("raw", raw.key))


def pixels_of(image, level=0):
    array = image.levels[level]
    return array.read(images.Region((0,) * 5, array.shape))


def some_pixels(*shape):
    return np.random.default_rng(0).integers(0, 4000, shape).astype(np.uint16)


def test_every_pixel_and_fact_of_a_stack_arrives(experiment, carried):
    objects, acquisitions = carried
    for one in acquisitions:
        image = image_of(objects, one.raw)
        tczyx = read_stack(experiment, one.raw.name)
        np.testing.assert_array_equal(pixels_of(image), tczyx)
        assert image.metadata.pixel_size_um == (None, 0.5, 0.5)
        assert image.metadata.time_interval_s == 600
        assert image.metadata.channel_names == ("nuclei",)
        ((low, high),) = image.metadata.windows
        assert tczyx[0].min() <= low < high <= tczyx[0].max()
        assert one.raw.counts["frames"] == 2
        assert one.raw.counts["bytes"] == tczyx.nbytes


def test_the_image_is_ome_zarr(carried):
    objects, acquisitions = carried
    yaozarrs.validate_zarr_store(f"{objects.url}/{layout.image_path('raw', acquisitions[0].raw.key)}")


def test_each_level_is_half_the_one_before_by_mean(store, tmp_path):
    raw = ingested(store, write_tiff(tmp_path / "wide.tif", some_pixels(301, 1030)))
    image = image_of(store, raw)
    assert [level.shape[-2:] for level in image.levels] == [(301, 1030), (151, 515), (76, 258), (38, 129)]
    for number in range(1, len(image.levels)):
        halved = downsample_mean(pixels_of(image, number - 1))
        np.testing.assert_array_equal(pixels_of(image, number), halved)


def test_a_copy_under_another_name_is_the_same_acquisition(experiment, store, tmp_path):
    path = experiment / "wt-1_p1.ome.tif"
    first = ingested(store, path)
    before = contents(store)
    shutil.copy(path, tmp_path / "renamed.ome.tif")
    again = ingested(store, tmp_path / "renamed.ome.tif")
    assert (again.key, again.reused, again.name) == (first.key, True, "renamed.ome.tif")
    assert contents(store) == before


def test_one_changed_pixel_is_another_acquisition(store, tmp_path):
    pixels = some_pixels(2, 40, 50)
    first = ingested(store, write_tiff(tmp_path / "a.tif", pixels))
    pixels[1, 39, 49] += 1
    assert ingested(store, write_tiff(tmp_path / "a.tif", pixels)).key != first.key


def test_the_users_file_is_only_read(experiment, store):
    path = experiment / "wt-2_p1.ome.tif"
    before = (path.read_bytes(), path.stat().st_mtime_ns)
    ingested(store, path)
    assert (path.read_bytes(), path.stat().st_mtime_ns) == before


def test_a_stated_pixel_size_fills_only_silence(experiment, store, tmp_path):
    stated = QUICK.model_copy(update={"ingest": IngestSettings(pixel_size_um=0.3)})
    silent = ingested(store, write_tiff(tmp_path / "plain.tif", some_pixels(40, 50)), stated)
    assert image_of(store, silent).metadata.pixel_size_um[1:] == (0.3, 0.3)
    known = ingested(store, experiment / "wt-1_p1.ome.tif", stated)
    assert image_of(store, known).metadata.pixel_size_um[1:] == (0.5, 0.5)


@pytest.mark.parametrize(("axis", "shape"), [("t", (3, 1, 1, 40, 50)), ("z", (1, 1, 3, 40, 50))])
def test_pages_are_what_the_settings_say(axis, shape, store, tmp_path):
    settings = QUICK.model_copy(update={"ingest": IngestSettings(pages_are=axis)})
    pixels = some_pixels(3, 40, 50)
    path = write_tiff(tmp_path / "pages.tif", pixels, photometric="minisblack", metadata=None)
    image = image_of(store, ingested(store, path, settings))
    assert image.shape == shape
    np.testing.assert_array_equal(pixels_of(image).reshape(pixels.shape), pixels)


def test_a_folder_of_planes_is_one_acquisition(store, tmp_path):
    pixels = some_pixels(3, 40, 50)
    for t, yx in enumerate(pixels):
        write_tiff(tmp_path / "series" / f"frame_{t}.tif", yx)
    image = image_of(store, ingested(store, tmp_path / "series"))
    np.testing.assert_array_equal(pixels_of(image)[:, 0, 0], pixels)


def test_a_file_that_is_wrong_leaves_nothing_in_the_store(store, tmp_path):
    path = write_tiff(tmp_path / "deep.tif", np.zeros((40, 50), np.int32))
    before = contents(store)
    with pytest.raises(FormatError, match=r"deep\.tif: expected pixels of .* found int32"):
        ingested(store, path)
    assert contents(store) == before


def test_a_killed_copy_goes_on_with_the_planes_that_are_missing(store, tmp_path, monkeypatch):
    path = write_tiff(tmp_path / "five.tif", some_pixels(5, 40, 50))
    with monkeypatch.context() as patch:
        dies_at(patch, "storage.images.OmeImage.write", 4)
        with pytest.raises(KeyboardInterrupt):
            ingested(store, path)
    raw = ingested(store, path)
    assert (raw.units_done, raw.units_reused, raw.reused) == (2, 3, False)
