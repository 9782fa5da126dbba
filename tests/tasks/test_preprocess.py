import logging

import numpy as np
import pytest

from storage import images, layout
from storage.errors import InputError, MemoryBudgetError
from storage.experiment import read_angles
from tasks.kernels.simulation.design import ExperimentDesign
from tasks.preprocess import preprocess
from tasks.settings import Off, PreprocessSettings, Resources, RotationEstimated, RotationFixed
from tasks.simulate import simulate_experiment
from tests.support import SERIAL, clean_of, contents, found_in, ingested, write_tiff

BARE = PreprocessSettings(rotation=Off(), contrast=Off(), clip=Off(), denoise=Off())


def only_turned(rotation):
    return BARE.model_copy(update={"rotation": rotation})


def a_picture(seed=0, shape=(60, 90)):
    yx = np.random.default_rng(seed).integers(100, 3000, shape).astype(np.uint16)
    yx[5:15, 60:80] += 20_000
    return yx


def cleaned(store, raw, settings=BARE):
    return clean_of(store, preprocess.fn(raw, store.url, settings, SERIAL))


def test_the_angle_of_every_chip_is_found(experiment, carried):
    _, acquisitions = carried
    angles = read_angles(experiment)
    assert len(acquisitions) == 4
    for one in acquisitions:
        assert one.clean.metrics["angle_deg"] == pytest.approx(angles[one.raw.name], abs=1)
        assert one.clean.metrics["rotated"]
        assert one.clean.metrics["confidence"] > 0.5


@pytest.mark.parametrize("seed", [11, 12])
def test_steep_angles_of_other_seeds_are_found(seed, store, tmp_path):
    design = ExperimentDesign(seed=seed, chips=1, positions=1, time_points=1, largest_angle_deg=80)
    simulate_experiment(tmp_path / "steep", design)
    for found in found_in(tmp_path / "steep"):
        raw = ingested(store, found.acquisition.location)
        made = preprocess.fn(raw, store.url, only_turned(RotationEstimated()), SERIAL)
        expected = read_angles(tmp_path / "steep")[raw.name]
        assert (made.metrics["angle_deg"] - expected + 90) % 180 - 90 == pytest.approx(0, abs=1)


def test_a_quarter_turn_is_counter_clockwise(store, tmp_path):
    raw = ingested(store, write_tiff(tmp_path / "a.tif", a_picture()))
    upright = cleaned(store, raw)[0]
    turned = cleaned(store, raw, only_turned(RotationFixed(angle_deg=90)))[0]
    np.testing.assert_allclose(turned, np.rot90(upright), atol=1e-4)


def test_with_every_step_off_only_the_scale_changes(store, tmp_path):
    yx = a_picture()
    clean = cleaned(store, ingested(store, write_tiff(tmp_path / "a.tif", yx)))[0]
    expected = (yx - float(yx.min())) / (float(yx.max()) - float(yx.min()))
    np.testing.assert_allclose(clean, expected, atol=2e-5)
    assert clean.dtype == np.float32


def test_clean_values_lie_in_0_to_1_and_only_the_outside_is_0(carried):
    objects, acquisitions = carried
    for one in acquisitions:
        tyx = clean_of(objects, one.clean)
        assert tyx.max() <= 1
        side = one.raw.counts["bytes"] / (2 * 2)
        assert np.count_nonzero(tyx[0]) == pytest.approx(side, rel=0.06)
        assert tyx[0, 0, 0] == 0


def test_a_direction_that_is_not_sure_leaves_the_image_and_says_so(store, tmp_path, caplog):
    raw = ingested(store, write_tiff(tmp_path / "noise.tif", a_picture()))
    sure = only_turned(RotationEstimated(min_confidence=1))
    with caplog.at_level(logging.WARNING, "chipcyte"):
        made = preprocess.fn(raw, store.url, sure, SERIAL)
    assert (made.metrics["rotated"], made.metrics["angle_deg"]) == (False, 0)
    assert "noise.tif: no groove direction found" in caplog.text
    np.testing.assert_array_equal(clean_of(store, made), cleaned(store, raw))


class TestChannels:
    @pytest.fixture
    def raw(self, store, tmp_path):
        tczyx = np.stack([a_picture(1), a_picture(2)])[None, :, None]
        channels = {"axes": "TCZYX", "Channel": {"Name": ["actin", "DAPI"]}}
        return ingested(store, write_tiff(tmp_path / "two.ome.tif", tczyx, metadata=channels))

    @pytest.mark.parametrize(("channel", "seed"), [(0, 1), (1, 2), ("actin", 1), ("DAPI", 2)])
    def test_a_channel_is_chosen_by_index_or_name(self, channel, seed, raw, store, tmp_path):
        alone = ingested(store, write_tiff(tmp_path / "alone.tif", a_picture(seed)))
        chosen = cleaned(store, raw, BARE.model_copy(update={"channel": channel}))
        np.testing.assert_array_equal(chosen, cleaned(store, alone))

    @pytest.mark.parametrize("channel", [2, -1, "dapi", "GFP"])
    def test_a_channel_that_is_not_there_is_an_error_naming_those_that_are(self, channel, raw, store):
        before = contents(store)
        with pytest.raises(InputError) as caught:
            cleaned(store, raw, BARE.model_copy(update={"channel": channel}))
        assert str(caught.value) == (
            "two.ome.tif: expected preprocess.channel to be one of 0 to 1 or ['actin', 'DAPI'], "
            f"found {channel!r}"
        )
        assert contents(store) == before


class TestDepth:
    ZYX = np.stack([a_picture(seed) for seed in range(3)])

    @pytest.fixture
    def raw(self, store, tmp_path):
        return ingested(store, write_tiff(tmp_path / "deep.ome.tif", self.ZYX, metadata={"axes": "ZYX"}))

    def test_planes_are_projected(self, raw, store, tmp_path):
        flat = ingested(store, write_tiff(tmp_path / "flat.tif", self.ZYX.max(axis=0)))
        np.testing.assert_array_equal(cleaned(store, raw), cleaned(store, flat))

    def test_or_cleaned_one_by_one(self, raw, store, tmp_path):
        made = preprocess.fn(raw, store.url, BARE.model_copy(update={"z": "each"}), SERIAL)
        image = images.open_image(store, layout.image_path("clean", made.key))
        assert image.shape == (1, 1, 3, 60, 90)
        assert made.counts["planes"] == 3
        for z in range(3):
            alone = ingested(store, write_tiff(tmp_path / f"{z}.tif", self.ZYX[z]))
            np.testing.assert_array_equal(image.read(image.plane(0, 0, z))[0, 0], cleaned(store, alone))


def test_too_little_memory_is_said_before_anything_is_written(store, tmp_path):
    raw = ingested(store, write_tiff(tmp_path / "a.tif", a_picture()))
    before = contents(store)
    small = Resources(compute="serial", workers=1, memory_bytes=2**28)
    with pytest.raises(MemoryBudgetError, match=r"preprocess a\.tif: .* each of 1 workers has 256 MiB"):
        preprocess.fn(raw, store.url, PreprocessSettings(), small)
    assert contents(store) == before


def test_pixels_that_are_no_numbers_are_refused(store, tmp_path):
    yx = a_picture().astype(np.float32)
    yx[3, 4] = np.nan
    raw = ingested(store, write_tiff(tmp_path / "nan.tif", yx))
    with pytest.raises(InputError, match="finite"):
        cleaned(store, raw)
