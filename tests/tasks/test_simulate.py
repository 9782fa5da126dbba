from dataclasses import replace

import numpy as np
import pytest

from storage.errors import InputError
from storage.experiment import read_angles, read_cells, read_labels, read_samples, read_stack
from tasks.kernels.simulation.design import ExperimentDesign
from tasks.kernels.simulation.scene import simulate_stack
from tasks.simulate import simulate_experiment

DESIGN = ExperimentDesign(height_px=96, width_px=128, time_points=2, positions=1)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    out = tmp_path_factory.mktemp("simulated") / "experiment"
    return out, simulate_experiment(out, DESIGN)


def contents(out):
    return {str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*") if path.is_file()}


def test_the_files_hold_what_the_simulator_made(written):
    out, counts = written
    stack = simulate_stack(DESIGN, 2, 0)
    file = stack.place.file
    np.testing.assert_array_equal(read_stack(out, file), stack.tyx[:, None, None])
    np.testing.assert_array_equal(read_labels(out, file), stack.labels_tyx)
    assert read_angles(out)[file] == pytest.approx(stack.angle_deg, abs=1e-4)
    rows = [row for row in read_cells(out) if row["file"] == file]
    assert [(row["t"], row["label"], row["population"]) for row in rows] == [
        (cell.t, cell.label, cell.population) for cell in stack.cells
    ]
    assert counts == {"frames": 8, "cells": len(read_cells(out)), "units_done": 4, "units_reused": 0}


def test_the_truth_lists_the_labels_of_every_frame_with_their_centroids(written):
    out, _ = written
    cells = read_cells(out)
    for sample in read_samples(out):
        for t, labels_yx in enumerate(read_labels(out, sample["file"])):
            rows = [row for row in cells if row["file"] == sample["file"] and row["t"] == t]
            assert {row["label"] for row in rows} == set(np.unique(labels_yx)) - {0}
            for row in rows:
                y, x = (axis.mean() for axis in np.nonzero(labels_yx == row["label"]))
                assert (row["centroid_y_px"], row["centroid_x_px"]) == pytest.approx((y, x), abs=1e-4)
                assert all(row[key] == sample[key] for key in ("chip", "position", "condition"))


def test_a_chip_carries_one_condition(written):
    samples = read_samples(written[0])
    assert [(row["chip"], row["condition"], row["replicate"]) for row in samples] == [
        ("wt-1", "wild type", 1),
        ("wt-2", "wild type", 2),
        ("braf-1", "BRAF", 1),
        ("braf-2", "BRAF", 2),
    ]


def test_the_same_design_gives_the_same_bytes_and_another_seed_does_not(written, tmp_path):
    simulate_experiment(tmp_path / "again", DESIGN)
    assert contents(tmp_path / "again") == contents(written[0])
    simulate_experiment(tmp_path / "other", replace(DESIGN, seed=1))
    changed = contents(tmp_path / "other")
    assert all(
        changed[name] != content for name, content in contents(written[0]).items() if name != "samples.csv"
    )


def test_an_experiment_that_is_there_is_reused(written):
    out, counts = written
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    assert simulate_experiment(out, DESIGN) == {**counts, "units_done": 0, "units_reused": 4}
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == before


def test_an_experiment_of_another_design_is_kept(written):
    with pytest.raises(InputError, match="another design"):
        simulate_experiment(written[0], replace(DESIGN, null=True))


def test_an_interrupted_experiment_is_finished(written, tmp_path, monkeypatch):
    calls = []

    def dies_at_the_third(design, chip_index, position_index):
        calls.append(chip_index)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return simulate_stack(design, chip_index, position_index)

    with monkeypatch.context() as patch:
        patch.setattr("tasks.simulate.simulate_stack", dies_at_the_third)
        with pytest.raises(KeyboardInterrupt):
            simulate_experiment(tmp_path / "out", DESIGN)
    assert not (tmp_path / "out" / "truth" / "design.json").exists()
    assert simulate_experiment(tmp_path / "out", DESIGN)["units_done"] == 4
    assert contents(tmp_path / "out") == contents(written[0])
