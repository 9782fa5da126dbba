import numpy as np
import pytest

from flows.planning import plan_run
from flows.trial import seconds_a_pixel
from storage import images, layout
from storage.sources.tiff import TiffSource
from tasks import budget, parts
from tasks.models.cellpose_checkpoints import save_cellpose
from tasks.models.cellpose_net import CellposeConfig, seeded_cellpose
from tasks.models.networks import load_network
from tasks.preprocess_settings import RotationFixed
from tasks.settings import PreprocessSettings, Resources, SegmentSettings, Settings
from tests.support import QUICK, write_tiff


def planned(path, settings=QUICK):
    return plan_run([str(path)], settings)


def test_the_plan_knows_the_shapes_and_bytes_before_they_exist(experiment, carried):
    objects, acquisitions = carried
    plan = planned(experiment)
    assert plan["counts"]["acquisitions"] == 4
    assert plan["counts"]["frames"] == 8
    by_name = {one["name"]: one for one in plan["acquisitions"]}
    for one in acquisitions:
        raw = images.open_image(objects, layout.image_path("raw", one.raw.key))
        clean = images.open_image(objects, layout.image_path("clean", one.clean.key))
        said = by_name[one.raw.name]
        assert said["shape"] == list(raw.shape)
        assert said["dtype"] == raw.dtype.name
        assert said["raw_bytes"] == one.raw.counts["bytes"]
        # how far it is turned is known only after the vote, so this is a bound
        assert np.prod(clean.shape) * 4 <= said["clean_bytes"] <= 2.1 * np.prod(raw.shape) * 4


def test_units_are_those_that_are_computed_where_nothing_is_turned(store, tmp_path):
    from tests.support import carry, found_in

    still = PreprocessSettings(rotation={"kind": "off"}, denoise={"kind": "off"})
    settings = QUICK.model_copy(update={"preprocess": still})
    y, x = np.mgrid[:96, :96]
    pixels = np.where((y - 48) ** 2 + (x - 48) ** 2 < 12**2, 4000, 200).astype(np.uint16)
    path = write_tiff(tmp_path / "one.tif", pixels)
    plan = planned(path, settings)
    made = carry(store, found_in(path)[0], settings)
    computed = sum(one.units_done for one in made.made)
    assert computed <= plan["counts"]["units"] <= computed + 1  # no pairs of a single tile


@pytest.fixture
def network(tmp_path):
    """The settings of a network with drawn weights, whose nuclei are 20 px wide."""
    net = seeded_cellpose(CellposeConfig(in_channels=2, widths=(4, 8)), seed=4)
    net.diam_mean.fill_(20.0)
    path = tmp_path / "tiny.pt"
    path.write_bytes(save_cellpose(net))
    return {"kind": "network", "model": str(path)}


def with_network(method, **resources):
    still = PreprocessSettings(rotation={"kind": "off"}, denoise={"kind": "off"})
    changed = {"preprocess": still, "segment": SegmentSettings(method=method)}
    if resources:
        changed["resources"] = Resources(**resources)
    return QUICK.model_copy(update=changed)


def test_a_network_counts_its_patches_units_and_looks(network, store, tmp_path):
    from tests.support import carry, found_in

    rng = np.random.default_rng(0)
    path = write_tiff(tmp_path / "two.tif", rng.integers(0, 999, (2, 96, 110), np.uint16))
    settings = with_network(network)
    made, plan = carry(store, found_in(path)[0], settings), planned(path, settings)
    computed = sum(one.units_done for one in made.made)
    assert computed <= plan["counts"]["units"] <= computed + 3 * 2  # no pairs of single tiles, no cells
    assert plan["counts"]["patches"] == 2
    assert plan["metrics"]["network_s"] >= 0
    told = with_network(network | {"diameter_px": 1.0})  # so the plane grows twentyfold
    many = planned(path, told)["counts"]
    assert many["patches"] > plan["counts"]["patches"]


def test_the_patch_of_a_network_needs_memory_and_all_of_them_time(network, tmp_path, monkeypatch):
    monkeypatch.setattr("flows.planning.seconds_a_patch", lambda _: 3.0)
    path = write_tiff(tmp_path / "a.tif", np.zeros((8, 64, 64), np.uint16))
    found = planned(path, with_network(network, compute="local", workers=4))
    wide = load_network(str(_wide(tmp_path)))
    assert found["metrics"]["network_s"] == 8 * 3.0 / 4
    monkeypatch.setattr("flows.planning.gpu_count", lambda: 1)
    one_gpu = planned(path, with_network(network, compute="local", workers=4))
    assert one_gpu["metrics"]["network_s"] == 8 * 3.0
    peak = planned(path, with_network(network | {"model": str(_wide(tmp_path))}))["metrics"]["peak_bytes"]
    assert peak == budget.network_unit_bytes(wide.bytes_a_px, (wide.patch_px,) * 2)
    assert planned(path)["metrics"]["network_s"] is None


def _wide(folder):
    path = folder / "wide.pt"
    if not path.exists():
        path.write_bytes(save_cellpose(seeded_cellpose(CellposeConfig(2, (128, 128)), seed=0)))
    return path


def test_frames_of_several_shards_are_counted_once_a_pass(tmp_path, monkeypatch):
    path = write_tiff(tmp_path / "six.tif", np.zeros((6, 96, 96), np.uint16))
    settings = PreprocessSettings(rotation={"kind": "off"}, time_points={"step": 2}, looked_at=2)
    settings = QUICK.model_copy(update={"preprocess": settings})
    one = planned(path, settings)["counts"]["units"]
    monkeypatch.setattr(parts, "LARGEST_SHARD_PX", 64)
    several = planned(path, settings)["counts"]["units"]
    assert several - one == 3 * (4 * 5 - 1), "three frames of four shards, each gone over five times"


@pytest.mark.parametrize(
    ("rotation", "bytes_"),
    [
        ({"kind": "off"}, 60 * 80 * 4),
        ({"kind": "estimate", "grow": False}, 60 * 80 * 4),
        ({"kind": "fixed", "angle_deg": 90}, 60 * 80 * 4),
        ({"kind": "fixed", "angle_deg": 45}, 99 * 99 * 4),
        ({"kind": "estimate"}, 100 * 100 * 4),
    ],
)
def test_how_a_frame_is_turned_tells_how_large_it_may_grow(rotation, bytes_, tmp_path):
    path = write_tiff(tmp_path / "a.tif", np.zeros((60, 80), np.uint16))
    settings = QUICK.model_copy(update={"preprocess": PreprocessSettings(rotation=rotation)})
    assert planned(path, settings)["counts"]["clean_bytes"] == bytes_


def test_z_planes_are_projected_or_not(tmp_path):
    path = write_tiff(tmp_path / "deep.ome.tif", np.zeros((3, 64, 64), np.uint16), metadata={"axes": "ZYX"})
    still = {"rotation": RotationFixed(angle_deg=3)}
    once, each = (
        planned(path, QUICK.model_copy(update={"preprocess": PreprocessSettings(z=z, **still)}))
        for z in ("max", "each")
    )
    assert each["counts"]["clean_bytes"] == 3 * once["counts"]["clean_bytes"]


def test_a_run_that_would_not_fit_is_said(tmp_path):
    path = write_tiff(tmp_path / "a.tif", np.zeros((64, 64), np.uint16))
    roomy, tight = (
        planned(path, Settings(resources=Resources(workers=2, memory_bytes=memory)))
        for memory in (2**32, 2**29)
    )
    assert roomy["metrics"]["fits"] is True
    assert tight["metrics"]["fits"] is False
    assert roomy["metrics"]["peak_bytes"] == tight["metrics"]["peak_bytes"]


@pytest.mark.parametrize("pixel", [np.int32, np.int64])
def test_pixels_that_ingest_refuses_are_refused_by_the_plan(pixel, tmp_path):
    from storage.errors import FormatError

    with pytest.raises(FormatError, match="expected pixels of"):
        planned(write_tiff(tmp_path / "deep.tif", np.zeros((64, 64), pixel)))


def test_no_pixel_is_read(experiment, monkeypatch):
    monkeypatch.setattr(TiffSource, "read_plane", lambda *_: pytest.fail("a plane was read"))
    before = {path: path.stat().st_mtime_ns for path in experiment.rglob("*")}
    planned(experiment)
    assert {path: path.stat().st_mtime_ns for path in experiment.rglob("*")} == before


def test_hours_are_told_where_there_is_work_for_hours(tmp_path, monkeypatch):
    path = write_tiff(tmp_path / "a.tif", np.zeros((3, 64, 100), np.uint16), photometric="minisblack")
    settings = QUICK.model_copy(update={"resources": Resources(compute="local", workers=2)})
    assert planned(path, settings)["metrics"]["expected_s"] is None
    rates = {"ingest": 1e-3, "preprocess": 2e-3, "segment": 3e-3, "extract": 4e-3}
    monkeypatch.setattr("flows.trial.seconds_a_pixel", lambda _: rates)
    monkeypatch.setattr("flows.planning.TRIAL_FROM_BYTES", 1)
    assert planned(path, settings)["metrics"]["expected_s"] == 3 * 64 * 100 * 10e-3 / 2
    assert planned(path)["metrics"]["expected_s"] == 3 * 64 * 100 * 10e-3  # in one process


def test_the_trial_times_each_stage_and_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr("flows.trial.EDGE_PX", 192)
    monkeypatch.setattr("flows.trial.FRAMES", 2)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    rates = seconds_a_pixel(QUICK)
    assert list(rates) == ["ingest", "preprocess", "segment", "extract"]
    assert max(rates.values()) > 0
    assert list(tmp_path.iterdir()) == []
