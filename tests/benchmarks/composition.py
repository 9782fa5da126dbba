"""Conditions compared by chip: false findings where there is no difference, and power where there is one.

Experiments are drawn as the simulator draws them, without images: proportions of the conditions, nuclei of
each position, every nucleus in each frame; in addition chips differ. A finding is an experiment with a
corrected p of at most 0.05 in any cluster. The peer is a chi-squared test on cells, corrected alike.
"""

from dataclasses import replace

import numpy as np
from scipy.stats import chi2_contingency

from tasks.kernels.comparison import compare_conditions, holm
from tasks.kernels.simulation.design import BRAF, WILD_TYPE, Condition, ExperimentDesign
from tests.populations import Drawn, draw_cells

EXPERIMENTS = 200
CHIPS = (2, 3, 4, 6, 8)
SPREADS = (0.0, 0.3)
ALPHA = 0.05
PART = 0.25  # of the way from wild type to BRAF
SLIGHT = Condition(
    "slightly BRAF",
    "slight",
    tuple((1 - PART) * a + PART * b for a, b in zip(WILD_TYPE.proportions, BRAF.proportions, strict=True)),  # type: ignore[arg-type]
)
DESIGNS = {
    "none": ExperimentDesign(null=True),
    "a quarter": ExperimentDesign(conditions=(WILD_TYPE, SLIGHT)),
    "planted": ExperimentDesign(),
}


def run(size: float) -> None:
    count = max(20, round(EXPERIMENTS * size))
    print(
        f"{count} experiments a row, five times as many without a difference; "
        f"percent in which a cluster differs at {ALPHA}\n"
    )
    print(f"{'difference':<12}{'chips':>7}{'chip effect':>13}{'test':>14}{'ours':>8}{'cells':>8}")
    for name, design in DESIGNS.items():
        for chips in CHIPS:
            for spread in SPREADS:
                ours, cells, test = found_shares(
                    replace(design, chips=chips), spread, count * (5 if design.null else 1)
                )
                print(
                    f"{name:<12}{f'{chips} + {chips}':>7}{spread:>13.1f}{test:>14}{ours:>8.1%}{cells:>8.1%}"
                )


def found_shares(design: ExperimentDesign, spread: float, count: int) -> tuple[float, float, str]:
    """Share of experiments with a finding by chip and by cell, and the test that was taken."""
    ours, cells, tests = [], [], set()
    for seed in range(count):
        drawn = draw_cells(replace(design, seed=seed), chip_spread=spread)
        found = compare_conditions(drawn.populations, drawn.conditions, drawn.chips, alpha=ALPHA)
        tests |= {one.test for one in found}
        ours.append(any(one.p_corrected <= ALPHA for one in found))
        cells.append(bool((by_cell(drawn) <= ALPHA).any()))
    return float(np.mean(ours)), float(np.mean(cells)), ", ".join(sorted(tests))


def by_cell(drawn: Drawn) -> np.ndarray:
    """Corrected p of each cluster as if every cell were a repetition."""
    first = drawn.conditions == drawn.conditions[0]
    tables = [
        [[(first & here).sum(), (first & ~here).sum()], [(~first & here).sum(), (~first & ~here).sum()]]
        for here in (drawn.populations == number for number in np.unique(drawn.populations))
    ]
    return holm(np.array([chi2_contingency(table).pvalue for table in tables]))
