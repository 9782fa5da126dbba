"""A segmenter that learns from corrected masks: what is held out, what is kept, and a kill in between."""

import itertools
import json

import numpy as np
import pytest

from storage import records
from storage.errors import InputError
from storage.objects import open_store
from tasks.annotations import Annotation, keep_annotation
from tasks.models.cellpose_checkpoints import load_cellpose
from tasks.refine import refine_segmenter
from tasks.refine_data import split
from tasks.refine_settings import RefineSettings
from tasks.simulated_pictures import simulated_planes
from tasks.stage import folder
from tests.support import SERIAL, dies_at, write_tiff

TINY = RefineSettings(
    base="scratch", widths=(4, 8), diameter_px=12.0, steps=6, batch_size=2, crop_px=32, learning_rate=1e-3,
    evaluate_every=2, patience=2, watch_share=0.3,
)  # fmt: skip


def discs(seed, edge=64):
    """Bright discs on noise."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:edge, :edge]
    labels = np.zeros((edge, edge), np.uint32)
    for number, (row, column) in enumerate([(14, 14), (14, 46), (46, 14), (46, 46)], start=1):
        at = rng.integers(-3, 4, 2)
        labels[(y - row - at[0]) ** 2 + (x - column - at[1]) ** 2 < rng.integers(5, 9) ** 2] = number
    return (rng.normal(20, 2, labels.shape) + 100 * (labels > 0)).astype(np.uint8), labels


def annotation(number, group):
    return Annotation(f"p{number}", group, *discs(number))


SIX = [annotation(number, f"chip-{number // 2}") for number in range(6)]


def keep(store, annotations):
    for one in annotations:
        keep_annotation(store, one, made_from=(), standing=None, counts={}, metrics={}, details={})


@pytest.fixture
def annotated(store):
    """Six pictures of three chips."""
    keep(store, SIX)
    return store


@pytest.fixture
def without_mlflow_models(monkeypatch):
    """Tracing a network for MLflow takes seconds, and is tested once."""
    versions = itertools.count(1)
    monkeypatch.setattr("tasks.refine.log_network", lambda *_: next(versions))


def train(store, tracking, settings=TINY, resources=SERIAL, **options):
    return refine_segmenter.fn(
        store=store.url, pairs=None, settings=settings, tracking=tracking, resources=resources, **options
    )


# --- what is learned from


def test_chips_are_held_out_whole_and_stay_so():
    annotations = [annotation(number, f"chip-{number // 3}") for number in range(15)]
    parts = split(annotations, TINY)
    groups = [{plane.group for plane in part} for part in (parts.learning, parts.watched, parts.held_out)]
    assert not groups[2] & (groups[0] | groups[1])
    assert (len(parts.learning), len(parts.watched), len(parts.held_out)) == (8, 4, 3)
    later = split([*annotations, *(annotation(number, f"new-{number}") for number in range(20, 30))], TINY)
    learned = {plane.group for plane in parts.learning}
    assert {plane.group for plane in later.held_out} & {*groups[2], *(f"new-{n}" for n in range(20, 30))}
    assert split(annotations[::-1], TINY).counts == parts.counts
    assert learned


def test_simulated_pictures_are_learned_from_alone():
    annotations = [annotation(number, f"chip-{number}") for number in range(3)]
    parts = split(annotations, TINY.model_copy(update={"simulated": 2}))
    names = [[plane.name for plane in part] for part in (parts.learning, parts.watched, parts.held_out)]
    assert names[0][-2:] == ["simulated-0", "simulated-1"]
    assert not any("simulated" in name for name in names[1] + names[2])


def test_simulated_pictures_have_a_seed():
    first, more, other = simulated_planes(1, seed=3), simulated_planes(2, seed=3), simulated_planes(1, seed=4)
    np.testing.assert_array_equal(first[0].yx, more[0].yx)
    assert (first[0].yx != other[0].yx).any()
    nuclei = [int(plane.labels_yx.max()) for plane in simulated_planes(12, seed=3)]
    assert min(nuclei) < 4, "no sparse picture"
    assert max(nuclei) > 10, "no crowded picture"


def test_pictures_are_learned_a_second_time_as_preprocessing_leaves_them():
    annotations = [annotation(number, f"chip-{number}") for number in range(3)]
    raw = split(annotations, TINY.model_copy(update={"simulated": 2}))
    both = split(annotations, TINY.model_copy(update={"simulated": 2, "cleaned": True}))
    count = len(raw.learning)
    assert [one.name for one in both.learning[:count]] == [one.name for one in raw.learning]
    for before, after in zip(raw.learning, both.learning[count:], strict=True):
        assert after.name == f"{before.name}, cleaned"
        assert after.group == before.group
        assert 0 <= after.yx.min() < after.yx.max() <= 1
        assert set(np.unique(after.labels_yx)) <= set(np.unique(before.labels_yx))
        nuclei = after.yx[after.labels_yx > 0]
        assert not nuclei.size or nuclei.mean() > after.yx.mean(), "image and labels were turned differently"
    assert both.held_out[0].yx is raw.held_out[0].yx, "what judges stays raw"


def test_one_chip_is_not_enough():
    with pytest.raises(InputError, match="two chips"):
        split([annotation(number, "chip-1") for number in range(5)], TINY)


# --- what a training leaves


def test_a_network_its_scores_and_its_run(annotated, tracking):
    made = train(annotated, tracking)
    record = records.read(annotated, "segmenter", made.key)
    assert (record.counts["held_out_pictures"], record.counts["steps"]) == (2, 6)
    assert len(record.details["held_out_groups"]) == 1
    assert {parent.kind for parent in record.parents} == {"annotation"}
    for which in ("before", "in_use", "after"):
        assert set(record.metrics[which]) == {"ap_0.50", "ap_0.75", "ap_0.90"}
    net = load_cellpose(annotated.get(record.path))
    assert net.config.widths == (4, 8)
    assert float(net.diam_mean) == 12
    scores = json.loads(annotated.get(folder("segmenter", made.key, "scores.json")))
    right, missed, _ = np.sum([one["counts"] for one in scores["hold_out"]], axis=0)[0]
    assert right + missed == 8
    history = json.loads(annotated.get(folder("segmenter", made.key, "history.json")))
    assert [report["step"] for report in history] == [2, 4, 6]
    assert all("watched_ap" in report for report in history)

    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=tracking.uri, registry_uri=tracking.uri)
    run = client.get_run(record.details["run_id"])
    assert run.data.params["refine.widths"] == "[4, 8]"
    assert {"hold_out/before/ap_0.50", "hold_out/after/ap_0.90", "loss", "watched_ap"} <= set(
        run.data.metrics
    )
    pictures = {one.path for one in client.list_artifacts(run.info.run_id, "pictures")}
    assert {"pictures/losses.png", "pictures/worst-1-found.png", "pictures/worst-2-drawn.png"} <= pictures
    assert [one.path for one in client.list_artifacts(run.info.run_id, "files")] == ["files/network.pt"]
    version = client.get_model_version(
        record.details["registered_name"], str(record.details["model_version"])
    )
    assert version.tags["chipcyte.key"] == made.key


def test_another_question_is_another_network(annotated, tracking, monkeypatch):
    """Nothing is computed: what is asked is all there is to see."""
    asked = []
    monkeypatch.setattr("tasks.refine.produce", lambda *given: asked.append(given[1].key))
    for changed in ({}, {"margin": 0.5}, {"seed": 1}, {"steps": 7}):
        train(annotated, tracking, TINY.model_copy(update=changed))
    keep(annotated, [annotation(9, "chip-9")])
    train(annotated, tracking)
    assert asked[0] == asked[1]
    assert len(set(asked)) == 4


def test_pictures_of_no_store(store, tracking, tmp_path, without_mlflow_models):
    for number in range(3):
        yx, labels = discs(number)
        write_tiff(tmp_path / "pairs" / f"p{number}.tif", yx)
        write_tiff(tmp_path / "pairs" / f"p{number}_masks.tif", labels.astype(np.uint8))
    made = refine_segmenter.fn(
        store=store.url, pairs=str(tmp_path / "pairs"), settings=TINY, tracking=tracking, resources=SERIAL
    )
    assert made.counts["learning_pictures"] + made.counts["watched_pictures"] == 2
    assert made.counts["held_out_nuclei"] == 4


def test_a_network_that_is_not_there(annotated, tracking, tmp_path):
    for base, text in (("gone.pt", "gone.pt"), ("champion", "expected a champion")):
        with pytest.raises(InputError, match=text):
            train(annotated, tracking, TINY.model_copy(update={"base": base}))
    (tmp_path / "no.pt").write_bytes(b"hello")
    with pytest.raises(InputError, match="Cellpose 1 to 3"):
        train(annotated, tracking, TINY.model_copy(update={"base": str(tmp_path / "no.pt")}))


def test_killed_and_resumed_is_as_unbroken(annotated, tracking, tmp_path, without_mlflow_models):
    whole = annotated.get(records.read(annotated, "segmenter", train(annotated, tracking).key).path)
    other = open_store(str(tmp_path / "other"), create=True)
    keep(other, SIX)
    for k in (2, 1):  # after the first look, and right after it was resumed
        with pytest.MonkeyPatch.context() as patch:
            dies_at(patch, "tasks.refine.save_refining", k)
            with pytest.raises(KeyboardInterrupt):
                train(other, tracking)
        assert records.listing(other, "segmenter") == []
    made = train(other, tracking)
    assert other.get(records.read(other, "segmenter", made.key).path) == whole
    assert not other.sizes("progress")
