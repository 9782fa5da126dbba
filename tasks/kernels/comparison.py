"""Whether conditions differ in how their cells spread over clusters, with chips and not cells as the unit.

Cells of one chip are alike, so thousands of cells of two chips are nearer to two observations than to
thousands: a test on cells (chi-squared, Fisher) finds differences wherever chips differ. Here each chip gives
one number for each cluster, the share of its cells.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from scipy import stats

Floats = npt.NDArray[np.float64]
MOST_ARRANGEMENTS = 20_000
_TIE = 1e-9  # statistics nearer than this are equal: the same numbers added in another order


@dataclass(frozen=True)
class Difference:
    """How the odds of one cluster differ between two conditions.

    Attributes
    ----------
    cluster, condition, against
        What is compared: the odds that a cell of `condition` lies in the cluster, over those for `against`.
    units, units_against
        Chips of each.
    odds_ratio, odds_ratio_low, odds_ratio_high
        Above 1: more frequent in `condition`. The interval has the level 1 - alpha, not corrected; nan with
        a single chip.
    p
        Of the test alone; nan with a single chip.
    p_corrected
        By Holm (1979), for all clusters and pairs of conditions that were compared.
    test
        "permutation": exact, chips rearranged over the conditions; "t": where there are too few chips for the
        permutations ever to reach alpha; "none": a condition has a single chip.
    """

    cluster: int
    condition: str
    against: str
    units: int
    units_against: int
    odds_ratio: float
    odds_ratio_low: float
    odds_ratio_high: float
    p: float
    p_corrected: float
    test: Literal["permutation", "t", "none"]

    def row(self) -> dict[str, Any]:
        """Return it as plain values, None for what is not defined; for a table or JSON."""
        return {
            name: None if isinstance(value, float) and not math.isfinite(value) else value
            for name, value in asdict(self).items()
        }


@dataclass(frozen=True)
class _Shares:
    """Of each unit of two conditions: the share of its cells in each cluster, and its number of cells."""

    shares: Floats
    """(units, clusters)."""
    cells: Floats
    """(units,)."""
    first: npt.NDArray[np.bool_]
    """(units,): whether it is of the first condition."""


def compare_conditions(
    clusters: Sequence[int] | npt.NDArray[np.integer],
    conditions: Sequence[str] | npt.NDArray[Any],
    units: Sequence[Any] | npt.NDArray[Any],
    *,
    alpha: float = 0.05,
    seed: int = 0,
) -> list[Difference]:
    """Compare each two conditions in each cluster, chips being the unit.

    The statistic is the difference of the conditions' mean shares over its standard error, from the chips'
    variance within conditions, which is not taken smaller than that of as many independent cells. Its p is
    two-sided: the share of all ways to spread the chips over the two conditions that give as large a
    statistic (all of them, or 20,000 drawn where there are more); or, where so few chips could not give a
    corrected p of alpha, Student's t with two degrees of freedom fewer than chips.

    The odds ratio is that of the mean shares, its interval by the delta method on logits with the same
    degrees of freedom and a variance between chips that is proportional to share (1 - share). A share of 0
    or 1 counts as half a cell.

    Parameters
    ----------
    clusters
        (n,): cluster of each cell.
    conditions
        (n,): condition of each cell.
    units
        (n,): what was repeated, such as the chip of each cell. Where a unit holds several conditions, each
        of them counts as a unit of its own.
    alpha
        Level at which p would be called significant; decides the test and the intervals.
    seed
        Draws arrangements where there are too many for all.

    Returns
    -------
    list of Difference
        Ordered by pair of conditions, then by cluster; empty for fewer than two conditions.

    Raises
    ------
    ValueError
        Lengths differ.
    """
    if not len(clusters) == len(conditions) == len(units):
        raise ValueError(
            f"expected a condition and a unit for each of {len(clusters)} cells, found {len(conditions)} "
            f"and {len(units)}: take all from the same table"
        )
    names, number = np.unique(np.asarray(clusters, dtype=np.int64), return_inverse=True)
    texts = np.asarray(conditions, dtype=str)
    pairs = list(combinations(np.unique(texts).tolist(), 2))
    hypotheses = len(pairs) * len(names)
    found: list[Difference] = []
    for against, condition in pairs:
        part = _shares_of(number, len(names), texts, np.asarray(units, dtype=str), (condition, against))
        found += _compared(part, names.tolist(), (condition, against), alpha, hypotheses, seed)
    return _corrected(found)


def holm(p: Floats) -> Floats:
    """Correct p values so that the chance of any false finding among them stays below the level (Holm, 1979).

    nan is no test: it stays, and does not count.
    """
    corrected = np.full(p.shape, np.nan)
    tested = np.flatnonzero(np.isfinite(p))
    order = tested[np.argsort(p[tested], kind="stable")]
    factors = np.arange(len(order), 0, -1)
    corrected[order] = np.minimum(np.maximum.accumulate(p[order] * factors), 1.0)
    return corrected


def _corrected(found: list[Difference]) -> list[Difference]:
    corrected = holm(np.array([one.p for one in found], dtype=np.float64))
    return [
        Difference(**(asdict(one) | {"p_corrected": float(p)}))
        for one, p in zip(found, corrected, strict=True)
    ]


def _shares_of(
    number: npt.NDArray[Any],
    clusters: int,
    conditions: npt.NDArray[Any],
    units: npt.NDArray[Any],
    pair: tuple[str, str],
) -> _Shares:
    parts, first = [], []
    for condition in pair:
        here = conditions == condition
        names, unit = np.unique(units[here], return_inverse=True)
        counts = np.zeros((len(names), clusters))
        np.add.at(counts, (unit, number[here]), 1)
        parts.append(counts)
        first += [condition == pair[0]] * len(names)
    counted = np.concatenate(parts)
    cells = counted.sum(axis=1)
    return _Shares(counted / cells[:, None], cells, np.array(first))


def _compared(
    part: _Shares, clusters: list[int], pair: tuple[str, str], alpha: float, hypotheses: int, seed: int
) -> list[Difference]:
    n_first, n_units = int(part.first.sum()), len(part.first)
    ratios, lows, highs = _odds_ratios(part, alpha)
    test, p = _tested(part, alpha, hypotheses, seed)
    return [
        Difference(
            cluster=cluster,
            condition=pair[0],
            against=pair[1],
            units=n_first,
            units_against=n_units - n_first,
            odds_ratio=float(ratios[n]),
            odds_ratio_low=float(lows[n]),
            odds_ratio_high=float(highs[n]),
            p=float(p[n]),
            p_corrected=math.nan,
            test=test,
        )
        for n, cluster in enumerate(clusters)
    ]


def _tested(
    part: _Shares, alpha: float, hypotheses: int, seed: int
) -> tuple[Literal["permutation", "t", "none"], Floats]:
    n_first, n_units = int(part.first.sum()), len(part.first)
    if min(n_first, n_units - n_first) < 2:
        return "none", np.full(part.shares.shape[1], np.nan)
    ways = math.comb(n_units, n_first)
    smallest_p = (2 if 2 * n_first == n_units else 1) / ways
    observed = np.abs(_statistics(part, part.first[None]))[0]
    if smallest_p * hypotheses > alpha:
        return "t", 2 * stats.t.sf(observed, n_units - 2)
    arranged = np.abs(_statistics(part, _arrangements(n_units, n_first, ways, seed)))
    as_large = (arranged >= observed - _TIE).sum(axis=0)
    if ways <= MOST_ARRANGEMENTS:
        return "permutation", as_large / len(arranged)
    return "permutation", (as_large + 1) / (len(arranged) + 1)


def _arrangements(n_units: int, n_first: int, ways: int, seed: int) -> npt.NDArray[np.bool_]:
    """Return which units are in the first condition: every way, or so many drawn; (ways, units)."""
    if ways <= MOST_ARRANGEMENTS:
        chosen = np.array(list(combinations(range(n_units), n_first)))
    else:
        keys = np.random.default_rng(seed).random((MOST_ARRANGEMENTS, n_units))
        chosen = np.argsort(keys, axis=1)[:, :n_first]
    first = np.zeros((len(chosen), n_units), dtype=bool)
    np.put_along_axis(first, chosen, True, axis=1)
    return first


def _statistics(part: _Shares, first: npt.NDArray[np.bool_]) -> Floats:
    """Difference of mean shares over its standard error, (arrangements, clusters); 0 where nothing varies."""
    of_first = first.astype(np.float64)
    sums, squares = part.shares.sum(axis=0), (part.shares**2).sum(axis=0)
    n_units, n_first = len(part.cells), float(of_first[0].sum())
    n_other = n_units - n_first
    mean = of_first @ part.shares / n_first
    mean_other = (sums - n_first * mean) / n_other
    within = np.maximum(squares - n_first * mean**2 - n_other * mean_other**2, 0.0) / (n_units - 2)
    overall = part.shares.mean(axis=0)
    variance = np.maximum(within, overall * (1 - overall) * (1 / part.cells).mean())
    error = np.sqrt(variance * (1 / n_first + 1 / n_other))
    return np.where(error > 0, (mean - mean_other) / np.where(error > 0, error, 1.0), 0.0)


def _odds_ratios(part: _Shares, alpha: float) -> tuple[Floats, Floats, Floats]:
    """Odds ratio of the mean shares and its interval, each (clusters,)."""
    groups = (part.first, ~part.first)
    means = []
    for group in groups:
        half = 0.5 / part.cells[group].sum()
        means.append(np.clip(part.shares[group].mean(axis=0), half, 1 - half))
    log_ratio = np.log(means[0] / (1 - means[0])) - np.log(means[1] / (1 - means[1]))
    freedom = len(part.first) - 2
    if min(group.sum() for group in groups) < 2:
        unknown = np.full(log_ratio.shape, np.nan)
        return np.exp(log_ratio), unknown, unknown
    scaled = sum(
        (((part.shares[group] - mean) ** 2) / (mean * (1 - mean))).sum(axis=0)
        for group, mean in zip(groups, means, strict=True)
    )
    spread = np.maximum(scaled / freedom, (1 / part.cells).mean())
    error = np.sqrt(
        sum(spread / (group.sum() * mean * (1 - mean)) for group, mean in zip(groups, means, strict=True))
    )
    reach = stats.t.isf(alpha / 2, freedom) * error
    return np.exp(log_ratio), np.exp(log_ratio - reach), np.exp(log_ratio + reach)
