from dataclasses import replace

import pytest

from storage import records
from storage.objects import open_store
from tasks.kernels.simulation.design import ExperimentDesign
from tasks.segment_settings import SegmentSettings, Threshold
from tasks.simulate import simulate_experiment
from tasks.stage import Outcome, Question, produce
from tests.support import QUICK, carry, contents, dies_at, differing, found_in

DESIGN = ExperimentDesign(
    seed=5,
    chips=1,
    positions=1,
    time_points=2,
    height_px=128,
    width_px=160,
    nuclei_per_mm2=(1300, 1400),
)
TILED = QUICK.model_copy(update={"segment": SegmentSettings(method=Threshold(), tile_px=128)})
QUESTION = Question("clean", "a", (), {"x": 1}, 1)


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    out = tmp_path_factory.mktemp("one") / "experiment"
    simulate_experiment(out, DESIGN)
    return found_in(out)[0]


@pytest.fixture(scope="module")
def whole(recording, tmp_path_factory):
    """The bytes of an undisturbed run, its handles, and how many units it marked."""
    objects = open_store(str(tmp_path_factory.mktemp("whole") / "store"), create=True)
    with pytest.MonkeyPatch.context() as patch:
        marks = dies_at(patch, "storage.progress.Ledger.mark", 0)
        made = carry(objects, recording, TILED)
    assert made.labels.counts["cells"] > 0
    return contents(objects), made, len(marks)


def test_the_undisturbed_run_has_several_tiles_and_leaves_no_progress(whole):
    bytes_, made, marks = whole
    assert made.labels.units_done == 2 + 8 + 6 + 8 + 6  # facts, tiles, pairs, labels, groups of cells
    assert marks == sum(one.units_done for one in made.made)
    assert not [name for name in bytes_ if name.startswith("progress/")]


OFTEN, NOW_AND_THEN = (4, 9, 23), (1, 2, 6, 17, 31, 32, 33)


@pytest.mark.parametrize("k", [*OFTEN, *(pytest.param(k, marks=pytest.mark.slow) for k in NOW_AND_THEN)])
def test_a_run_that_dies_before_a_marker_ends_the_same_and_computes_only_the_rest(
    k, recording, whole, store, monkeypatch
):
    with monkeypatch.context() as patch:
        dies_at(patch, "storage.progress.Ledger.mark", k)
        with pytest.raises(KeyboardInterrupt):
            carry(store, recording, TILED)
    with monkeypatch.context() as patch:
        marks = dies_at(patch, "storage.progress.Ledger.mark", 0)
        again = carry(store, recording, TILED)
    expected, made, total = whole
    assert len(marks) == total - (k - 1)
    assert [one.units_done + one.units_reused for one in again.made] == [one.units_done for one in made.made]
    assert contents(store) == expected


@pytest.mark.parametrize(
    ("target", "k"),
    [
        ("storage.records.commit", 4),
        ("storage.progress.clear", 4),
        ("storage.arrays.ZarrArray.write", 3),
        ("storage.tables.write_table", 2),
        ("storage.arrays.create_array", 2),
    ],
)
def test_a_death_between_bytes_leaves_no_artifact_and_is_mended(
    target, k, recording, whole, store, monkeypatch
):
    with monkeypatch.context() as patch:
        dies_at(patch, target, k)
        with pytest.raises(KeyboardInterrupt):
            carry(store, recording, TILED)
    assert len(records.listing(store)) < len([name for name in whole[0] if name.startswith("records/")])
    carry(store, recording, TILED)
    assert differing(contents(store), whole[0]) == []


def test_dask_and_a_loop_give_the_same_store(recording, whole, two_workers, store):
    carry(store, recording, TILED.model_copy(update={"resources": two_workers}))
    assert contents(store) == whole[0]


def test_the_same_question_is_answered_from_the_store_and_another_beside_it(recording, store, monkeypatch):
    first = carry(store, recording, TILED)
    before = contents(store)
    roomy = TILED.resources.model_copy(update={"memory_bytes": 2**34, "acquisitions_at_once": 1})
    with monkeypatch.context() as patch:
        marks = dies_at(patch, "storage.progress.Ledger.mark", 1)
        second = carry(store, recording, TILED.model_copy(update={"resources": roomy}))
    assert marks == []
    assert [one.key for one in second.made] == [one.key for one in first.made]
    assert all(one.reused and one.units_done == 0 for one in second.made)
    assert [one.units_reused for one in second.made] == [one.units_done for one in first.made]
    assert contents(store) == before

    third = carry(
        store,
        recording,
        TILED.model_copy(
            update={"segment": SegmentSettings(method=Threshold(), tile_px=128, min_area_um2=30)}
        ),
    )
    assert (third.raw.key, third.clean.key) == (first.raw.key, first.clean.key)
    assert (third.clean.reused, third.labels.reused, third.patches.reused) == (True, False, False)
    assert not {third.labels.key, third.patches.key} & {first.labels.key, first.patches.key}
    after = contents(store)
    (listing,) = [name for name in before if name.endswith("/labels/zarr.json")]
    assert {name for name in before if after.get(name) != before[name]} == {listing}


@pytest.mark.parametrize(
    "other",
    [
        replace(QUESTION, kind="labels"),
        replace(QUESTION, parents=(records.Reference(kind="raw", key="ab"),)),
        replace(QUESTION, settings={"x": 2}),
        replace(QUESTION, algorithm=2),
    ],
)
def test_the_key_hangs_on_all_that_decides_the_answer(other):
    assert other.key != QUESTION.key


def test_the_name_is_not_in_the_key_but_in_this_runs_handle(store):
    def compute(key):
        return Outcome(path="x", written={}, units_done=3)

    first = produce(store, QUESTION, compute)
    second = produce(store, replace(QUESTION, name="b"), lambda _key: pytest.fail("computed twice"))
    assert (first.key, first.name, first.units_done, first.units_reused) == (QUESTION.key, "a", 3, 0)
    assert (second.key, second.name, second.units_done, second.units_reused) == (QUESTION.key, "b", 0, 3)
    assert records.read(store, "clean", first.key).name == "a"
