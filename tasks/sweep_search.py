"""The search of a sweep: which points are worth a training next, by what those before them gave."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tasks.sweep_points import Point, points
from tasks.sweep_settings import SweepSettings

if TYPE_CHECKING:
    from optuna.trial import Trial

FEWEST_AT_RANDOM = 4


class Search:
    """Asks for a batch of points at a time and is told their scores, until the trials are used up.

    Points come from a tree-structured Parzen estimator (Bergstra et al., 2011) that keeps those of a batch
    apart; the first quarter is drawn. Seeds take turns, for a lucky one is not what is looked for. Told the
    same, it asks the same: nothing of it is kept, and a search that was killed is told again of what is done.

    Parameters
    ----------
    settings
        Numbers are sought between the least and the most, on a log scale; models among those named.
    width
        Points of a batch, which are trained side by side.
    """

    def __init__(self, settings: SweepSettings, width: int) -> None:
        import optuna  # here, for it takes as long as all else that a command loads

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        sampler = optuna.samplers.TPESampler(
            seed=settings.trial_seed,
            multivariate=True,
            constant_liar=True,
            n_startup_trials=max(FEWEST_AT_RANDOM, settings.trials // 4),
        )
        self._study = optuna.create_study(direction="maximize", sampler=sampler)
        self._settings, self._width, self.total = settings, width, settings.trials
        self._asked: list[tuple[Trial, Point]] = []

    def ask(self) -> list[Point]:
        """Return the next points, each once; none when the trials are used up."""
        left = self.total - len(self._study.trials)
        trials = [self._study.ask() for _ in range(min(self._width, left))]
        self._asked = [(trial, self._point(trial)) for trial in trials]
        return list(dict.fromkeys(point for _, point in self._asked))

    def tell(self, scores: Mapping[Point, float | None]) -> None:
        """Take the scores of the points asked for: more is better, None is worse than any."""
        from optuna.trial import TrialState

        for trial, point in self._asked:
            score = scores[point]
            state: Any = TrialState.PRUNED if score is None else TrialState.COMPLETE
            self._study.tell(trial, score, state)

    def _point(self, trial: "Trial") -> Point:
        latents, betas = self._settings.latents, self._settings.betas
        beta = trial.suggest_float("beta", min(betas), max(betas), log=True)
        model: Any = trial.suggest_categorical("model", self._settings.models)
        return Point(
            trial.suggest_int("latent", min(latents), max(latents), log=True),
            float(f"{beta:.3g}"),
            model,
            self._settings.seeds[trial.number % len(self._settings.seeds)],
        )


class Grid:
    """Asks for every combination at once, and for no more."""

    def __init__(self, settings: SweepSettings) -> None:
        self._left = points(settings)
        self.total = len(self._left)

    def ask(self) -> list[Point]:
        """Return all points; none the second time."""
        asked, self._left = self._left, []
        return asked

    def tell(self, scores: Mapping[Point, float | None]) -> None:
        """Take note of nothing: what comes next does not hang on it."""


def asking(settings: SweepSettings, width: int) -> Search | Grid:
    """Return what asks for the points: a search where trials are given, else every combination."""
    return Search(settings, width) if settings.trials else Grid(settings)
