"""Experiments as tables, without images: each cell's population, condition and chip."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tasks.kernels.simulation.design import ExperimentDesign


@dataclass(frozen=True)
class Drawn:
    """The cells of one experiment, a row for each nucleus in each frame."""

    populations: NDArray[np.int64]
    conditions: NDArray[np.str_]
    chips: NDArray[np.str_]


def draw_cells(design: ExperimentDesign, *, chip_spread: float) -> Drawn:
    """Draw the cells of an experiment.

    Parameters
    ----------
    chip_spread
        Standard deviation of the chips' effects: each chip adds normal numbers to the logarithms of its
        condition's proportions. 0.3 moves a share of 25 % to between about 15 and 38 %.
    """
    rng = np.random.default_rng(design.seed)
    area_mm2 = design.height_px * design.width_px * design.pixel_size_um**2 / 1e6
    populations, conditions, chips = [], [], []
    for condition, chip in np.ndindex(len(design.conditions), design.chips):
        logs = np.log(design.proportions_of(condition)) + rng.normal(0, chip_spread, 4)
        shares = np.exp(logs) / np.exp(logs).sum()
        for _ in range(design.positions):
            nuclei = max(1, round(rng.uniform(*design.nuclei_per_mm2) * area_mm2))
            cells = np.repeat(rng.choice(4, nuclei, p=shares), design.time_points)
            populations.append(cells)
            conditions.append(np.full(len(cells), design.conditions[condition].name))
            chips.append(np.full(len(cells), f"{condition}-{chip}"))
    return Drawn(np.concatenate(populations), np.concatenate(conditions), np.concatenate(chips))
