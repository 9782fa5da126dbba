import shutil
from datetime import timedelta

import numpy as np
import pytest
import tifffile

from storage import images, layout, records
from storage.checking import check_store
from storage.collecting import plan_collection
from storage.errors import InputError
from storage.keys import artifact_key
from storage.objects import open_store
from tasks.chunked import run_units
from tasks.illumination import estimate_illumination, read_flat
from tasks.kernels.illumination import background_grid, correct
from tasks.preprocess import ALGORITHM, preprocess
from tasks.preprocess_settings import FlatField, Off
from tasks.settings import PreprocessSettings, load_settings, question
from tests.support import SERIAL, clean_of, contents, dies_at, ingested, write_tiff

DARK = 100
BARE = PreprocessSettings(rotation=Off(), contrast=Off(), clip=Off(), denoise=Off())
ON = BARE.model_copy(update={"illumination": FlatField(dark_counts=DARK)})
SHAPE = (320, 300)


def light(shape=SHAPE):
    y, x = np.meshgrid(np.linspace(-1, 1, shape[0]), np.linspace(-1, 1, shape[1]), indexing="ij")
    return 1 - 0.15 * (x**2 + y**2) - 0.05 * x


def a_position(path, seed, shape=SHAPE, frames=2):
    """Square nuclei, all alike, at places of their own."""
    rng = np.random.default_rng(seed)
    yx = np.full(shape, 300.0)
    for top, left in rng.integers(0, min(shape) - 12, (25, 2)):
        yx[top : top + 12, left : left + 12] = 1500
    tyx = DARK + rng.normal(light(shape) * yx, 5, (frames, *shape))
    return write_tiff(path, tyx.round().astype(np.uint16), photometric="minisblack")


@pytest.fixture
def chip(store, tmp_path):
    return [ingested(store, a_position(tmp_path / f"p{n}.tif", n)) for n in range(3)]


def estimated(store, raws, settings=ON, name="chip"):
    return estimate_illumination.fn(
        raws=raws, name=name, store=store.url, settings=settings, resources=SERIAL
    )


def test_the_light_of_a_chip_is_found_and_its_record_says_how_well(chip, store):
    made = estimated(store, chip)
    lit = 1 / correct(np.full(SHAPE, DARK + 1), read_flat(store, made))
    np.testing.assert_allclose(lit / lit.mean(), light() / light().mean(), rtol=0.03)
    assert made.counts == {"frames": 6, "acquisitions": 3, "units": 6}
    assert made.metrics["disagreement"] < 0.01
    assert made.metrics["darkest"] == pytest.approx(0.71, abs=0.05)
    assert made.metrics["brightest"] == pytest.approx(1.12, abs=0.03)
    record = records.read(store, "illumination", made.key)
    assert {one.key for one in record.parents} == {raw.key for raw in chip}
    assert record.settings["dark_counts"] == DARK


def test_the_clean_image_is_that_of_evenly_lit_frames(chip, store):
    made = estimated(store, chip)
    clean = preprocess.fn(chip[0], store.url, ON, SERIAL, made)
    tyx, uneven = clean_of(store, clean), clean_of(store, preprocess.fn(chip[0], store.url, BARE, SERIAL))
    nuclei = uneven / light() > 0.45

    def spread(values):
        return values.std() / values.mean()

    assert spread(uneven[nuclei]) > 0.07
    assert spread(tyx[nuclei]) < spread(uneven[nuclei]) / 4
    assert [one.kind for one in records.read(store, "clean", clean.key).parents] == ["raw", "illumination"]


def test_off_it_is_neither_in_the_key_nor_in_the_record(chip, store):
    assert isinstance(PreprocessSettings().illumination, Off)
    off, on = (preprocess.fn(chip[0], store.url, one, SERIAL) for one in (BARE, ON))
    without = {name: value for name, value in question(BARE).items() if name != "illumination"}
    assert off.key == on.key == artifact_key("clean", [f"raw/{chip[0].key}"], without, ALGORITHM)
    assert records.read(store, "clean", off.key).settings == without
    corrected = preprocess.fn(chip[0], store.url, ON, SERIAL, estimated(store, chip))
    assert corrected.key != off.key


def test_the_order_of_acquisitions_does_not_matter_but_settings_do(chip, store):
    first = estimated(store, chip)
    again = estimated(store, chip[::-1], name="another name")
    assert (again.key, again.reused) == (first.key, True)
    others = [
        ON.model_copy(update={"illumination": FlatField(dark_counts=90)}),
        ON.model_copy(update={"illumination": FlatField(dark_counts=DARK, max_frames=5)}),
        ON.model_copy(update={"z": "each"}),
    ]
    keys = {estimated(store, chip, one).key for one in others} | {estimated(store, chip[:2]).key}
    assert len(keys | {first.key}) == 5


def test_frames_are_spread_over_positions_and_time(store, tmp_path, monkeypatch):
    raws = [ingested(store, a_position(tmp_path / f"{n}.tif", n, (64, 64), 6)) for n in range(2)]
    units = []

    def looked_at(function, chosen, **options):
        units.extend(chosen)
        return run_units(function, chosen, **options)

    monkeypatch.setattr("tasks.illumination.run_units", looked_at)
    few = ON.model_copy(update={"illumination": FlatField(dark_counts=DARK, max_frames=4)})
    made = estimated(store, raws, few)
    assert made.counts["units"] == 4
    assert [unit.t for unit in units] == [0, 3, 1, 5]
    assert [unit.raw for unit in units] == sorted(raw.key for raw in raws for _ in range(2))


def test_a_killed_estimate_goes_on_and_ends_with_the_same_bytes(chip, store, tmp_path, monkeypatch):
    whole = shutil.copytree(store.url, tmp_path / "whole")
    estimated(open_store(str(whole)), chip)
    with pytest.MonkeyPatch.context() as patch:
        dies_at(patch, "tasks.illumination.background_grid", 4)
        with pytest.raises(KeyboardInterrupt):
            estimated(store, chip)
    assert not records.listing(store, "illumination")
    made = estimated(store, chip)
    assert (made.units_done, made.units_reused) == (3, 3)
    assert contents(store) == contents(open_store(str(whole)))


def test_the_channel_and_the_planes_are_those_that_are_cleaned(store, tmp_path):
    clear = tifffile.imread(a_position(tmp_path / "clear.tif", 1, frames=4))
    other = np.full_like(clear, 7000)
    tzcyx = np.stack([np.stack([other, clear], 1), np.stack([other, clear // 2], 1)], 1)
    path = write_tiff(tmp_path / "many.ome.tif", tzcyx, photometric="minisblack", metadata={"axes": "TZCYX"})
    both = ingested(store, path)
    alone = ingested(
        store,
        write_tiff(tmp_path / "alone.ome.tif", clear, photometric="minisblack", metadata={"axes": "TYX"}),
    )
    flats = {
        (raw.name, one.channel, one.z): read_flat(store, estimated(store, [raw], one)).yx
        for raw, one in (
            (alone, ON),
            (both, ON.model_copy(update={"channel": 1})),
            (both, ON),
            (both, ON.model_copy(update={"channel": 1, "z": "each"})),
        )
    }
    wanted, projected, wrong, middle = flats.values()
    np.testing.assert_array_equal(projected, wanted)
    assert np.ptp(wrong) < 1e-4
    assert not np.array_equal(middle, wanted)


@pytest.mark.parametrize(("shape", "level", "seen"), [(SHAPE, 1, (160, 150)), ((100, 600), 0, (100, 600))])
def test_the_smallest_level_that_is_large_enough_is_read(shape, level, seen, store, tmp_path, monkeypatch):
    shapes = []

    def noted(yx, dark_counts):
        shapes.append(yx.shape)
        return background_grid(yx, dark_counts)

    monkeypatch.setattr("tasks.illumination.background_grid", noted)
    raw = ingested(store, a_position(tmp_path / "a.tif", 1, shape, 4))
    image = images.open_image(store, layout.image_path("raw", raw.key))
    assert len(image.levels) > 1
    assert image.levels[level].shape[-2:] == seen
    estimated(store, [raw])
    assert shapes == [seen] * 4


class TestRefusals:
    def test_too_few_frames(self, chip, store):
        before = contents(store)
        with pytest.raises(InputError, match=r"^chip 7: expected at least 4 frames .* found 2 of 2; add"):
            estimated(store, chip[:1], name="chip 7")
        left = contents(store).keys() - before.keys()
        assert all(name.startswith("progress/") for name in left)

    def test_acquisitions_that_are_no_one_field(self, chip, store, tmp_path):
        other = ingested(store, a_position(tmp_path / "other.tif", 9, (300, 320)))
        with pytest.raises(InputError, match=r"one frame size .* \(300, 320\) px .* \(320, 300\) px"):
            estimated(store, [*chip, other])

    def test_pixels_that_are_no_numbers(self, store, tmp_path):
        tyx = np.full((4, 128, 128), np.nan, np.float32)
        raw = ingested(store, write_tiff(tmp_path / "nan.tif", tyx, photometric="minisblack"))
        with pytest.raises(InputError, match=r"nan\.tif, time point 0: .*expected finite"):
            estimated(store, [raw])

    @pytest.mark.parametrize(
        ("value", "sentence"),
        [
            ({"kind": "flat_field", "dark_counts": -1}, "greater than or equal to 0"),
            ({"kind": "flat_field", "max_frames": 3}, "greater than or equal to 4"),
            ({"kind": "basic"}, "flat_field"),
        ],
    )
    def test_settings_out_of_range(self, value, sentence):
        with pytest.raises(InputError, match=sentence):
            load_settings(None, {"preprocess.illumination": value})


def test_check_and_gc_know_it(chip, store):
    made = estimated(store, chip)
    clean = preprocess.fn(chip[0], store.url, ON, SERIAL, made)
    assert check_store(store, older_than=timedelta(0)).problems == []
    assert [one.kind for one in records.listing(store) if one.key in (made.key, clean.key)] == [
        "illumination",
        "clean",
    ]
    going = [one.record.key for one in plan_collection(store, older_than=timedelta(0))]
    assert going == [clean.key, made.key]
    path = layout.flat_path(made.key)
    shard = next(name for name in store.names(path) if "/c/" in name)
    store.put(shard, store.get(shard)[::-1])
    (problem,) = check_store(store, older_than=timedelta(0)).problems
    assert (problem.what, problem.owner) == ("changed object", ("illumination", made.key))
