import logging
import shutil
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from storage import images, layout, records
from storage.errors import InputError, MemoryBudgetError
from storage.experiment import read_angles
from storage.objects import open_store
from tasks import announce, parts
from tasks.kernels.simulation.design import ExperimentDesign
from tasks.preprocess import preprocess
from tasks.preprocess_settings import (
    Grooves,
    Limits,
    Off,
    Percentiles,
    RotationEstimated,
    RotationFixed,
    Sigmoid,
    TimePoints,
    TopHat,
    TotalVariation,
)
from tasks.settings import PreprocessSettings, Resources
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


def test_values_are_cut_at_given_limits(store, tmp_path):
    raw = ingested(store, write_tiff(tmp_path / "a.tif", a_picture()))
    cut = cleaned(store, raw, BARE.model_copy(update={"clip": Limits(low=0.05, high=0.5)}))
    np.testing.assert_allclose(cut, np.clip(cleaned(store, raw), 0.05, 0.5), atol=1e-6)


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
    assert "noise.tif: no direction found, neither of grooves nor of nuclei" in caplog.text
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


class TestFramesOfSeveralShards:
    """A frame larger than a shard goes through several passes, and comes out as if in one go."""

    STACK = np.stack([a_picture(seed, (150, 210)) for seed in range(2)])
    EVERYTHING = PreprocessSettings(
        rotation=RotationFixed(angle_deg=7),
        grooves=Grooves(threshold=150, radius_px=5),
        background=TopHat(shape="white", radius_px=9),
        clip=Percentiles(low=1),
        sigmoid=Sigmoid(gain=4),
    )

    @pytest.fixture
    def raw(self, store, tmp_path):
        return ingested(store, write_tiff(tmp_path / "a.tif", self.STACK))

    def made(self, raw, settings, monkeypatch, tmp_path, shard_px, resources=SERIAL):
        """Preprocess in a copy of the store, so that no run reuses what another made."""
        source = Path(raw.uri.split("/acquisitions/")[0])
        copy = Path(shutil.copytree(source, tmp_path / f"by-{shard_px}-{resources.compute}"))
        monkeypatch.setattr(parts, "LARGEST_SHARD_PX", shard_px)
        objects = open_store(str(copy))
        handle = preprocess.fn(raw, objects.url, settings, resources)
        return clean_of(objects, handle), records.read(objects, "clean", handle.key), objects

    @pytest.mark.parametrize(
        "settings", [EVERYTHING, PreprocessSettings(), BARE], ids=["all", "default", "bare"]
    )
    def test_parts_equal_the_whole(self, settings, raw, monkeypatch, tmp_path):
        whole, one, _ = self.made(raw, settings, monkeypatch, tmp_path, 4096)
        cut, many, objects = self.made(raw, settings, monkeypatch, tmp_path, 64)
        image = images.open_image(objects, layout.image_path("clean", many.key))
        assert len(image.units()) > 2 * 4
        np.testing.assert_allclose(cut, whole, atol=1e-6)
        assert one.metrics == many.metrics
        for alone, together in zip(one.details["quality"], many.details["quality"], strict=True):
            for side in ("raw", "clean"):
                known = {name: value for name, value in alone[side].items() if value is not None}
                assert {name: together[side][name] for name in known} == pytest.approx(known, rel=1e-4)

    @pytest.mark.parametrize("settings", [EVERYTHING, BARE], ids=["all", "bare"])
    def test_the_units_of_all_passes_are_counted_as_foretold(self, settings, raw, monkeypatch, tmp_path):
        monkeypatch.setattr(parts, "FIRST_ITERATIONS", 200)  # or noise, which takes long, is looked at twice
        cut, record, _ = self.made(raw, settings, monkeypatch, tmp_path, 64)
        looks, frames = 2, len(self.STACK)
        assert record.counts["units"] == looks + frames * parts.unit_count(cut.shape[-2:], settings)

    def test_two_workers_give_what_one_gives_to_the_last_bit(self, raw, monkeypatch, tmp_path, two_workers):
        alone, one, _ = self.made(raw, self.EVERYTHING, monkeypatch, tmp_path, 64)
        shared, two, _ = self.made(raw, self.EVERYTHING, monkeypatch, tmp_path, 64, two_workers)
        np.testing.assert_array_equal(alone, shared)
        assert (one.metrics, one.details, one.counts) == (two.metrics, two.details, two.counts)

    def test_what_the_passes_kept_is_gone(self, raw, monkeypatch, tmp_path):
        *_, objects = self.made(raw, PreprocessSettings(), monkeypatch, tmp_path, 64)
        assert list(objects.names("progress")) == []


def test_some_time_points_are_chosen(store, tmp_path):
    tyx = np.stack([a_picture(seed) for seed in range(6)])
    raw = ingested(store, write_tiff(tmp_path / "six.tif", tyx))
    some = BARE.model_copy(update={"time_points": TimePoints(first=1, last=9, step=2)})
    np.testing.assert_array_equal(cleaned(store, raw, some), cleaned(store, raw)[1::2])
    with pytest.raises(InputError, match="choose some of 0 to 5, found first = 6"):
        cleaned(store, raw, BARE.model_copy(update={"time_points": TimePoints(first=6)}))


def test_the_profile_follows_the_density_and_says_why(carried):
    _, acquisitions = carried
    for one in acquisitions:
        found = one.clean.metrics
        assert found["profile"] in ("sparse", "medium", "dense")
        assert found["why"].startswith(f"{found['profile']} (")
        assert found["cells_per_mm2"] > 0


def test_a_fixed_profile_is_taken(store, tmp_path):
    raw = ingested(store, write_tiff(tmp_path / "a.tif", a_picture()))
    made = preprocess.fn(raw, store.url, PreprocessSettings(profile="dense"), SERIAL)
    assert (made.metrics["profile"], made.metrics["why"]) == ("dense", "dense, fixed by the settings")


def test_frames_out_of_range_are_flagged_with_a_reason(store, tmp_path):
    tyx = np.stack([a_picture(1, (128, 128)) for _ in range(8)])
    tyx[3] = ndimage.gaussian_filter(tyx[3].astype(float), 3).astype(np.uint16)
    tyx[6, :40] = 65535
    made = preprocess.fn(ingested(store, write_tiff(tmp_path / "bad.tif", tyx)), store.url, BARE, SERIAL)
    flagged = records.read(store, "clean", made.key).details["flagged"]
    assert [(one["t"], one["reason"]) for one in flagged] == [(3, "blurred"), (6, "saturated")]


def test_the_metadata_lead_back_to_raw_pixels(store, tmp_path):
    yx = np.zeros((80, 120), np.uint16)
    yx[20:23, 90:93] = 1000
    raw = ingested(store, write_tiff(tmp_path / "spot.tif", yx))
    made = preprocess.fn(raw, store.url, only_turned(RotationFixed(angle_deg=25)), SERIAL)
    image = images.open_image(store, layout.image_path("clean", made.key))
    spot = ndimage.center_of_mass(clean_of(store, made)[0] > 0.5)
    assert image.metadata.extra["rotation_deg"] == 25
    assert records.read(store, "clean", made.key).metrics["angle_deg"] == 25
    affine = np.asarray(image.metadata.extra["clean_to_raw"]["affine"])
    np.testing.assert_allclose(affine @ [*spot, 1], [21, 91], atol=0.5)


def test_the_prefect_page_says_density_profile_and_why(store, tmp_path, monkeypatch):
    shown = {}
    monkeypatch.setattr(
        announce, "table", lambda key, rows, _text: shown.update({key.partition("-")[0]: rows})
    )
    tyx = np.stack([a_picture(), np.full((60, 90), 65535, np.uint16)])
    made = preprocess.fn(ingested(store, write_tiff(tmp_path / "a.tif", tyx)), store.url, BARE, SERIAL)
    (row,) = shown["density"]
    assert {name: made.metrics[name] for name in ("profile", "why", "covered")}.items() <= row.items()
    assert shown["flagged"] == records.read(store, "clean", made.key).details["flagged"]
    assert shown["flagged"]


def test_the_memory_needed_grows_with_the_halo_that_the_settings_ask_for():
    edges = [
        parts.largest_part((40_000, 40_000), settings)[0]
        for settings in (
            BARE,
            PreprocessSettings(),
            PreprocessSettings(denoise=TotalVariation(max_num_iter=500)),
            PreprocessSettings(background=TopHat(radius_px=300)),
        )
    ]
    assert edges == [4096 + 2 * halo for halo in (4, 204, 504, 804)]
    assert parts.largest_part((300, 400), PreprocessSettings()) == (500, 500)
