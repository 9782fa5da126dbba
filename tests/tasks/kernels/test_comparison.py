import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from tasks.kernels.comparison import compare_conditions, holm
from tasks.kernels.simulation.design import ExperimentDesign
from tests.populations import draw_cells


def cells_of(shares, cells=100):
    """Clusters, conditions, chips; `shares[condition][chip]` of the cells lie in cluster 1, the rest in 0."""
    clusters, conditions, chips = [], [], []
    for condition, of_chips in shares.items():
        for chip, share in enumerate(of_chips):
            inside = round(share * cells)
            clusters += [1] * inside + [0] * (cells - inside)
            conditions += [condition] * cells
            chips += [f"{condition}{chip}"] * cells
    return clusters, conditions, chips


def findings(design, spread, count):
    found = []
    for seed in range(count):
        drawn = draw_cells(replace(design, seed=seed), chip_spread=spread)
        rows = compare_conditions(drawn.populations, drawn.conditions, drawn.chips)
        found.append(any(one.p_corrected <= 0.05 for one in rows))
    return np.mean(found)


def test_few_chips_are_compared_by_students_t():
    shares = {"a": [0.2, 0.3, 0.25], "b": [0.5, 0.6, 0.45]}
    _, found = compare_conditions(*cells_of(shares, 1000))
    assert found.test == "t"
    assert (found.condition, found.against, found.units, found.units_against) == ("b", "a", 3, 3)
    assert found.p == pytest.approx(stats.ttest_ind(shares["a"], shares["b"]).pvalue)
    assert found.p_corrected == pytest.approx(2 * found.p)  # two clusters


def test_many_chips_are_compared_by_every_rearrangement_of_them():
    """All ten chips apart: only this arrangement and its mirror image of 252 are as far apart."""
    shares = {"a": [0.10, 0.11, 0.12, 0.13, 0.14], "b": [0.30, 0.31, 0.32, 0.33, 0.34]}
    for found in compare_conditions(*cells_of(shares)):
        assert found.test == "permutation"
        assert found.p == pytest.approx(2 / 252)
        assert found.p_corrected == pytest.approx(4 / 252)
    shares["b"][0] = 0.105  # the second least of all
    expected = by_enumeration(shares)
    assert compare_conditions(*cells_of(shares, 1000))[1].p == pytest.approx(expected)


def by_enumeration(shares):
    from itertools import combinations

    values = np.array(shares["a"] + shares["b"])
    found = [
        abs(values[list(one)].mean() - np.delete(values, one).mean()) for one in combinations(range(10), 5)
    ]
    return np.mean(np.array(found) >= found[0] - 1e-12)


def test_drawn_rearrangements_agree_with_a_t_test():
    rng = np.random.default_rng(0)
    shares = {"a": rng.normal(0.3, 0.05, 10), "b": rng.normal(0.35, 0.05, 10)}
    _, found = compare_conditions(*cells_of(shares, 1000))
    assert found.test == "permutation"
    assert found.p == pytest.approx(stats.ttest_ind(shares["a"], shares["b"]).pvalue, abs=0.02)
    assert found == compare_conditions(*cells_of(shares, 1000))[1]


def test_the_odds_ratio_by_hand():
    """Odds of 1 in the one, 1/4 in the other; without spread, the variance of 300 cells each."""
    _, found = compare_conditions(*cells_of({"a": [0.2] * 3, "b": [0.5] * 3}))
    assert found.odds_ratio == pytest.approx(4.0)
    error = math.sqrt(1 / 150 + 1 / 150 + 1 / 60 + 1 / 240)  # Woolf (1955)
    reach = stats.t.isf(0.025, 4) * error
    assert found.odds_ratio_low == pytest.approx(4.0 * math.exp(-reach))
    assert found.odds_ratio_high == pytest.approx(4.0 * math.exp(reach))


def test_more_cells_of_the_same_chips_are_no_more_evidence():
    shares = {"a": [0.2, 0.4, 0.3], "b": [0.35, 0.5, 0.6]}
    few, many = (compare_conditions(*cells_of(shares, cells))[1] for cells in (1000, 10_000))
    assert many.p == pytest.approx(few.p)
    assert many.odds_ratio_low == pytest.approx(few.odds_ratio_low)


def test_chips_that_agree_by_chance_are_no_more_certain_than_their_cells():
    _, found = compare_conditions(*cells_of({"a": [0.2, 0.2], "b": [0.3, 0.3]}, cells=10))
    assert found.p > 0.3


def test_a_single_chip_is_described_and_not_tested():
    found = compare_conditions(*cells_of({"a": [0.2], "b": [0.5, 0.6]}))
    assert {one.test for one in found} == {"none"}
    assert all(math.isnan(one.p) and math.isnan(one.p_corrected) for one in found)
    row = found[1].row()
    assert row["odds_ratio"] == pytest.approx(0.55 / 0.45 / 0.25)
    assert row["p"] is row["odds_ratio_low"] is None


def test_three_conditions_are_compared_in_pairs_and_corrected_together():
    rng = np.random.default_rng(0)
    shares = {name: rng.uniform(0.2, 0.4, 3) for name in "abc"}
    found = compare_conditions(*cells_of(shares))
    assert [(one.condition, one.against) for one in found[::2]] == [("b", "a"), ("c", "a"), ("c", "b")]
    np.testing.assert_allclose([one.p_corrected for one in found], holm(np.array([one.p for one in found])))


def test_a_chip_of_two_conditions_is_a_unit_of_each():
    clusters, conditions, _ = cells_of({"a": [0.2, 0.3], "b": [0.5, 0.6]})
    found = compare_conditions(clusters, conditions, (["x"] * 100 + ["y"] * 100) * 2)
    assert (found[0].units, found[0].units_against) == (2, 2)


def test_one_condition_leaves_nothing_to_compare():
    assert compare_conditions([0, 1], ["a", "a"], ["x", "y"]) == []
    assert compare_conditions([], [], []) == []


def test_lengths_that_differ_are_refused():
    with pytest.raises(ValueError, match="each of 2 cells, found 2 and 1"):
        compare_conditions([0, 1], ["a", "b"], ["x"])


def test_holm_by_hand():
    corrected = holm(np.array([0.04, 0.01, np.nan, 0.03]))
    np.testing.assert_allclose(corrected, [0.06, 0.03, np.nan, 0.06])
    np.testing.assert_allclose(holm(np.array([0.9, 0.8])), [1.0, 1.0])


@pytest.mark.parametrize("chips", [2, 3, 5])
def test_conditions_that_do_not_differ_are_seldom_found_to(chips):
    """Of 200 experiments at a level of 5 %, with chips that differ."""
    assert findings(ExperimentDesign(null=True, chips=chips), 0.3, 200) <= 0.07


def test_the_planted_difference_is_found():
    assert findings(ExperimentDesign(chips=3), 0.3, 50) >= 0.9
