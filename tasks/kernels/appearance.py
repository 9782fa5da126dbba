"""Which condition a cell looks like, judged by what never saw its chip; how conditions mix in a chip."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import nnls
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

FloatArray = npt.NDArray[np.floating]
Floats = npt.NDArray[np.float64]
Words = npt.NDArray[Any]
MOST_FOLDS = 10
MOST_LEARNED = 20_000  # cells that a classifier learns from; more change nothing and take long
SUM_WEIGHT = 1e3  # how much heavier "the shares sum to 1" weighs than the shares themselves


@dataclass(frozen=True)
class Judge:
    """Tells conditions apart by latents."""

    conditions: tuple[str, ...]
    """k names, ascending."""
    classifier: Pipeline
    mean_probability: Floats
    """(k, k): what a cell of condition i is on average taken for, by classifiers that never saw its chip."""

    def probability(self, latent: FloatArray) -> Floats:
        """Probability (n, k) of each condition, were all equally frequent."""
        return _judged(self.classifier, latent, self.conditions)

    def shares(self, latent: FloatArray) -> dict[str, float]:
        """Share of each condition among n cells of a chip of its own, a mixture perhaps.

        The mean of the probabilities is a mixture of the rows of `mean_probability`; the shares are those
        that come nearest to it, none below 0 (scaled probability average, Bella et al., 2010). Counting
        cells by their most probable condition instead would pull every mixture towards one half.
        """
        seen = self.probability(latent).mean(axis=0)
        rows = np.vstack([self.mean_probability.T, np.full(len(seen), SUM_WEIGHT)])
        found, _ = nnls(rows, np.append(seen, SUM_WEIGHT))
        return dict(zip(self.conditions, (found / found.sum()).tolist(), strict=True))


def held_out_probability(latent: FloatArray, conditions: Words, units: Words) -> Floats:
    """Probability that each cell is of its own condition, by a classifier that learned from other chips.

    Parameters
    ----------
    latent
        (n, d) of the cells; or their memberships in d clusters, which say less and hold in more chips.
    conditions
        (n,): condition of each.
    units
        (n,): what was repeated, such as the chip; all cells of a unit are judged by what saw none of them.

    Returns
    -------
    numpy.ndarray
        (n,), conditions counting as equally frequent: 1 / k says nothing. nan where the other chips are of
        fewer than two conditions, or of others than the cell's.
    """
    names, codes = np.unique(np.asarray(conditions, str), return_inverse=True)
    probability = _out_of_fold(np.asarray(latent, np.float64), names, codes, np.asarray(units, str))
    return np.asarray(probability[np.arange(len(codes)), codes])


def learn_judge(latent: FloatArray, conditions: Words, units: Words) -> Judge:
    """Learn to tell conditions apart; parameters as for `held_out_probability`.

    Raises
    ------
    ValueError
        There are not two conditions or more, each on two chips or more.
    """
    names, codes = np.unique(np.asarray(conditions, str), return_inverse=True)
    points = np.asarray(latent, np.float64)
    probability = _out_of_fold(points, names, codes, np.asarray(units, str))
    if len(names) < 2 or not np.isfinite(probability).all():
        raise ValueError(
            f"expected two conditions or more, each on two chips or more, found {', '.join(names)}: "
            "give more chips"
        )
    means = np.stack([probability[codes == code].mean(axis=0) for code in range(len(names))])
    return Judge(tuple(names.tolist()), _classifier(points, names[codes]), means)


def _out_of_fold(points: Floats, names: Words, codes: npt.NDArray[np.intp], units: Words) -> Floats:
    """Probability (n, k), each fold of whole chips judged by what learned from the others."""
    probability = np.full((len(points), len(names)), np.nan)
    folds = _folds(codes, units)
    for fold in np.unique(folds):
        here, others = folds == fold, folds != fold
        known = np.unique(codes[others])
        if len(known) < 2:
            continue
        classifier = _classifier(points[others], names[codes[others]])
        judged = here & np.isin(codes, known)
        if judged.any():
            probability[judged] = _judged(classifier, points[judged], tuple(names))
    return probability


def _folds(codes: npt.NDArray[np.intp], units: Words) -> npt.NDArray[np.int64]:
    """Fold of each cell: whole chips, those of one condition dealt out over the folds."""
    first = {str(unit): int(codes[units == unit].min()) for unit in np.unique(units)}
    order = sorted(first, key=lambda unit: (first[unit], unit))
    fold = {unit: i % MOST_FOLDS for i, unit in enumerate(order)}
    return np.array([fold[str(unit)] for unit in units], np.int64)


def _classifier(points: Floats, conditions: Words) -> Pipeline:
    if len(points) > MOST_LEARNED:
        rows = np.random.default_rng(0).choice(len(points), MOST_LEARNED, replace=False)
        points, conditions = points[rows], conditions[rows]
    logistic = LogisticRegression(class_weight="balanced", max_iter=1000)
    return make_pipeline(StandardScaler(), logistic).fit(points, conditions)


def _judged(classifier: Pipeline, latent: FloatArray, names: tuple[str, ...]) -> Floats:
    """Probability (n, k) by name; 0 for a condition the classifier does not know."""
    found = np.zeros((len(latent), len(names)))
    columns = [names.index(str(name)) for name in classifier.classes_]
    found[:, columns] = classifier.predict_proba(np.asarray(latent, np.float64))
    return found
