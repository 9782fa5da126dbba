"""Kinds of cells that nobody named, found in chips that nothing learned from."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.ndimage import find_objects

from tasks.kernels.patches import crop_and_pad
from tasks.kernels.simulation.design import ExperimentDesign
from tasks.kernels.simulation.scene import simulate_stack
from tests.benchmarks.populations import HELD_OUT, PURE, VIEWS, Chips, mixed, outcome, told_shares

MIXED = mixed(0.3, 0)
SHORT = VIEWS.model_copy(update={"epochs": 24})


def cells_in(design: ExperimentDesign) -> Iterator[tuple[dict[str, str], np.ndarray]]:
    """Each cell's row and patch, cut along its true outline; its brightest pixels are 1."""
    chips = design.chips * len(design.conditions)
    for chip, position in np.ndindex(chips, design.positions):
        stack = simulate_stack(design, chip, position)
        labels = stack.labels_tyx[0]
        image = np.maximum(stack.tyx[0] - np.median(stack.tyx[0][labels == 0]), 0.0)
        boxes = find_objects(labels)
        for cell in stack.cells:
            rows, columns = boxes[cell.label - 1]
            box = (rows.start, columns.start, rows.stop, columns.stop)
            row = {
                "population": cell.population,
                "condition": stack.place.condition,
                "chip": stack.place.chip,
            }
            patch = crop_and_pad(image, labels, cell.label, box, size_px=48)
            yield row, np.clip(patch / np.percentile(patch[patch > 0], 99), 0, 1)


@pytest.fixture(scope="module")
def chips() -> Chips:
    pure = replace(PURE, positions=2)
    mixture = replace(PURE, seed=PURE.seed + 1, conditions=(MIXED,), chips=1, positions=3)
    rows, patches = zip(*[cell for design in (pure, mixture) for cell in cells_in(design)], strict=True)
    return Chips(pd.DataFrame(rows), np.stack(patches)[:, None])


@pytest.mark.long  # learns for half a minute
def test_views_find_planted_populations_and_mixtures_in_chips_that_were_held_out(chips: Chips) -> None:
    found = outcome(chips, SHORT)
    assert found.ari_held_out >= 0.85
    drawn = told_shares(chips)
    assert set(drawn) == {HELD_OUT, "mix0-1"}
    for chip, share in found.by_clusters.items():
        assert share == pytest.approx(drawn[chip], abs=0.05)
    assert drawn["mix0-1"] == pytest.approx(0.3, abs=0.05)
