"""A search: where it looks, that it finds, and that a killed one goes on to the same end."""

import math

import numpy as np
import pytest

from storage.objects import open_store
from storage.progress import Done
from tasks import sweep as sweeping
from tasks.sweep import read_points, sweep
from tasks.sweep_points import Point
from tasks.sweep_search import Search, asking
from tasks.sweep_settings import SweepSettings
from tasks.tracking import Tracking
from tests.support import QUICK, dies_at

ASKED = SweepSettings(latents=(4, 64), betas=(1e-4, 1e3), models=("conv", "dense"), seeds=(0, 1), trials=24)


def goodness(point: Point) -> float | None:
    """Best at beta 0.1, latent 16, dense; beyond beta 100 the training diverges."""
    if point.beta > 100:
        return None
    return -(math.log(point.beta / 0.1) ** 2) - math.log(point.latent / 16) ** 2 - (point.model != "dense")


def searched(settings: SweepSettings, width: int) -> list[list[Point]]:
    search, batches = Search(settings, width), []
    while batch := search.ask():
        batches.append(batch)
        search.tell({point: goodness(point) for point in batch})
    return batches


def test_a_search_asks_for_batches_between_the_ends_and_for_the_same_again():
    batches = searched(ASKED, 5)
    assert batches == searched(ASKED, 5) != searched(ASKED.model_copy(update={"trial_seed": 1}), 5)
    assert [len(batch) for batch in batches] == [5, 5, 5, 5, 4]
    found = [point for batch in batches for point in batch]
    assert all(4 <= one.latent <= 64 and 1e-4 <= one.beta <= 1e3 for one in found)
    assert [one.seed for one in found] == [0, 1] * 12  # turns, not what is sought


@pytest.mark.parametrize("width", [1, 4])
def test_a_search_learns_from_what_it_is_told(width):
    """Of six searches together, for one may be unlucky; one that failed counts as the worst."""
    asked = ASKED.model_copy(update={"latents": (16,), "models": ("dense",)})
    drawn, last = [], []
    for seed in range(6):
        batches = searched(asked.model_copy(update={"trial_seed": seed}), width)
        scores = [goodness(point) for batch in batches for point in batch]
        told = [-60.0 if score is None else score for score in scores]
        drawn += told[:6]
        last += told[-10:]
    assert np.mean(last) > np.mean(drawn) + 3


def test_without_trials_every_combination_is_asked_for_once():
    source = asking(SweepSettings(latents=(2, 3), betas=(1, 2)), 1)
    assert (len(source.ask()), source.ask(), source.total) == (4, [], 4)


@pytest.fixture
def by_formula(monkeypatch):
    """Points score what the formula says, at once."""

    def tried(trial):
        score = goodness(trial.point)
        found = {
            "metrics": {"validation_silhouette": score},
            "failed": "" if score is not None else "too hot",
        }
        return Done(trial.point.facts() | found | {"trained": "", "clustered": ""}, {})

    monkeypatch.setattr(sweeping, "try_point", tried)


def test_a_killed_search_goes_on_and_ends_alike(carried, tmp_path, by_formula, monkeypatch):
    settings = QUICK.model_copy(
        update={"sweep": ASKED, "resources": QUICK.resources.model_copy(update={"workers": 4})}
    )

    def run(name: str):
        objects = open_store(str(tmp_path / name), create=True)
        made = sweep.fn(
            patches=[one.patches for one in carried[1]],
            store=objects.url,
            settings=settings,
            tracking=Tracking(f"sqlite:///{tmp_path}/mlflow.db", name),
        )
        return read_points(objects, made), made

    whole, made = run("whole")
    assert (made.units_done, made.units_reused) == (len(whole), 0)
    assert whole[0]["score"] == max(row["score"] for row in whole if row["score"] is not None)
    assert made.counts["failed"] == sum(row["failed"] == "too hot" for row in whole)
    with monkeypatch.context() as patch:
        dies_at(patch, "tasks.sweep.try_point", 10)
        with pytest.raises(KeyboardInterrupt):
            run("killed")
    again, made = run("killed")
    assert again == whole
    assert made.units_reused == 9
