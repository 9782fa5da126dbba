import copy
import dataclasses
from typing import Any

import numpy as np
import pytest
import torch

from tasks.models.alarms import alarms
from tasks.models.augmentation import Augmentation
from tasks.models.batches import PatchSet
from tasks.models.checkpoints import load_state, save_state
from tasks.models.embedding import embed, most_probable_clusters
from tasks.models.plan import TrainingPlan
from tasks.models.training import EpochMetrics, TrainedVAE, TrainingDivergedError, train_vae
from tasks.models.vae import VAEConfig
from tasks.models.views import Views
from tests.tasks.models.blobs import ellipses_ncyx

CONFIG = VAEConfig(1, 24, 24, latent=4, widths=(8, 16))
PLAN = TrainingPlan(epochs=4, batch_size=16, seed=3)
CPU = torch.device("cpu")


def same_weights(one: TrainedVAE, other: TrainedVAE) -> bool:
    pairs = zip(one.model.parameters(), other.model.parameters(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


def train(plan: TrainingPlan = PLAN, n: int = 40, **options: Any) -> TrainedVAE:
    return train_vae(CONFIG, plan, ellipses_ncyx(n), device=CPU, **options)


@pytest.mark.parametrize("loss", ["bce", "mse"])
def test_it_learns_ellipses(loss: Any) -> None:
    plan = TrainingPlan(epochs=15, batch_size=16, learning_rate=3e-3, loss=loss)
    history = train_vae(CONFIG, plan, ellipses_ncyx(256), ellipses_ncyx(64, seed=9), device=CPU).history
    assert history[-1]["validation_reconstruction"] < 0.4 * history[0]["train_reconstruction"]
    assert history[-1]["validation_total"] < 0.6 * history[0]["train_total"]
    assert history[-1]["validation_active_latents"] >= 1


def test_same_seed_same_weights_whatever_the_global_state() -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = train()
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    again = train()
    assert same_weights(first, again)
    assert first.history == again.history
    assert not same_weights(first, train(TrainingPlan(epochs=4, batch_size=16, seed=4)))


KINDS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "conv": ({}, {"beta_warmup_epochs": 2}),
    "dense": ({"body": "dense", "widths": (12,)}, {"free_nats": 0.1, "loss": "mse"}),
    "conditional": ({"joining": "plain", "conditions": 2}, {"beta_cycle_epochs": 2}),
    "refined": ({"joining": "refined", "conditions": 2}, {"schedule": "one-cycle"}),
    "VaDE": ({"clusters": 2}, {"pretrain_epochs": 2}),
    "freed": ({"joining": "plain", "conditions": 2}, {"freeing": 10.0}),
    "bfloat16": ({}, {"precision": "bfloat16"}),
    "views": ({"projection": 4}, {"views": Views(Augmentation(turn_deg=90, gamma=0.3, light=0.2))}),
}


@pytest.mark.parametrize("killed_in_epoch", [2, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_killed_and_resumed_equals_uninterrupted(kind: str, killed_in_epoch: int) -> None:
    shape, learning = KINDS[kind]
    config, plan = dataclasses.replace(CONFIG, **shape), dataclasses.replace(PLAN, **learning)
    patches = PatchSet(ellipses_ncyx(40), codes=np.arange(40) % 2 if config.conditions else None)
    validation, saved = ellipses_ncyx(10, seed=5), list[bytes]()

    def train(**options: Any) -> TrainedVAE:
        return train_vae(config, plan, patches, validation, device=CPU, **options)

    whole = train()

    def power_cut(metrics: EpochMetrics) -> None:
        if metrics["epoch"] == killed_in_epoch:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(on_epoch=power_cut, on_checkpoint=lambda state: saved.append(save_state(state)))
    state = load_state(saved[-1])
    assert state["epoch"] == killed_in_epoch - 1
    seen: list[float] = []
    resumed = train(resume=state, on_epoch=lambda metrics: seen.append(metrics["epoch"]))
    assert same_weights(whole, resumed)
    assert resumed.history == whole.history
    assert seen == list(range(killed_in_epoch, 5))


def test_states_are_snapshots_and_resuming_leaves_them_alone() -> None:
    states: list[dict[str, Any]] = []
    whole = train(on_checkpoint=states.append)
    assert [state["epoch"] for state in states] == [1, 2, 3, 4]
    kept = copy.deepcopy(states[0])
    assert same_weights(train(resume=states[0]), whole)
    assert save_state(kept) == save_state(states[0])
    assert same_weights(train(resume=states[0]), whole)


def test_more_epochs_continue_and_a_finished_state_trains_no_further() -> None:
    states: list[dict[str, Any]] = []
    short = train(TrainingPlan(epochs=2, batch_size=16, seed=3), on_checkpoint=states.append)
    assert same_weights(train(resume=states[-1]), train())
    finished = train(TrainingPlan(epochs=2, batch_size=16, seed=3), resume=states[-1])
    assert same_weights(finished, short)
    with pytest.raises(ValueError, match="epoch 1 or earlier, found epoch 2"):
        train(TrainingPlan(epochs=1, batch_size=16, seed=3), resume=states[-1])


def test_a_state_of_another_training_names_what_differs() -> None:
    states: list[dict[str, Any]] = []
    train(TrainingPlan(epochs=1), on_checkpoint=states.append)
    with pytest.raises(ValueError, match=r"other values of learning_rate, seed"):
        train(TrainingPlan(epochs=1, learning_rate=0.1, seed=1), resume=states[0])
    other = VAEConfig(1, 24, 24, latent=5, widths=(8, 16))
    with pytest.raises(ValueError, match=r"other values of model"):
        train_vae(other, TrainingPlan(epochs=1), ellipses_ncyx(4), device=CPU, resume=states[0])


def test_divergence_names_the_epoch() -> None:
    with pytest.raises(TrainingDivergedError, match="in epoch 1 of 4: lower learning_rate"):
        train(TrainingPlan(epochs=4, batch_size=16, learning_rate=1e30))


def test_weights_that_break_in_the_last_step_are_found() -> None:
    with pytest.raises(TrainingDivergedError, match="finite weights"):
        train(TrainingPlan(epochs=1, batch_size=64, learning_rate=3e37))


def test_history_counts_every_patch_once() -> None:
    """With a step too small to matter, the mean over uneven batches is the mean over patches."""
    tiny = TrainingPlan(epochs=1, batch_size=16, learning_rate=1e-20, beta=0.0, augmentation=Augmentation())
    uneven, single = (
        train(tiny, n=33).history[0],
        train(TrainingPlan(**{**vars(tiny), "batch_size": 33}), n=33),
    )
    assert uneven["train_divergence"] == pytest.approx(single.history[0]["train_divergence"], rel=1e-5)
    assert uneven["train_total"] == uneven["train_reconstruction"]


def test_beta_warms_up_linearly_and_stays() -> None:
    plan = TrainingPlan(epochs=6, beta=2.0, beta_warmup_epochs=3)
    assert [plan.beta_at(epoch) for epoch in range(1, 7)] == [0.5, 1.0, 1.5, 2.0, 2.0, 2.0]
    assert TrainingPlan(beta=2.0).beta_at(1) == 2.0
    cyclic = TrainingPlan(beta=2.0, beta_warmup_epochs=1, beta_cycle_epochs=3, pretrain_epochs=1)
    assert [cyclic.beta_at(epoch) for epoch in range(1, 8)] == [0.0, 1.0, 2.0, 2.0, 1.0, 2.0, 2.0]
    assert [metrics["beta"] for metrics in train(TrainingPlan(epochs=2, beta_warmup_epochs=1)).history] == [
        0.5,
        1.0,
    ]


def test_a_huge_beta_collapses_the_latents_and_the_history_shows_it() -> None:
    plan = TrainingPlan(epochs=12, batch_size=16, beta=1e4, learning_rate=3e-3)
    history = train(plan, n=128).history
    assert history[-1]["train_active_latents"] == 0
    assert "posterior collapse, none of 4 latent dimensions" in alarms(history, 4)[0]
    assert alarms(train(dataclasses.replace(plan, beta=1.0), n=128).history, 4) == []


def test_free_nats_hold_off_the_collapse() -> None:
    plan = TrainingPlan(epochs=12, batch_size=16, beta=50.0, learning_rate=3e-3, free_nats=0.5)
    active = [
        train(dataclasses.replace(plan, free_nats=free), n=128).history[-1]["train_active_latents"]
        for free in (0.0, 0.5)
    ]
    assert active[0] < active[1] == 4


def test_the_divergence_is_named_by_latent_and_its_parts_make_the_whole() -> None:
    last = train().history[-1]
    parts = [last[f"train_divergence_latent_{i}"] for i in range(4)]
    assert sum(parts) == pytest.approx(last["train_divergence"], rel=1e-5)
    assert last["train_reconstruction_channel_0"] == pytest.approx(last["train_reconstruction"], rel=1e-5)


def test_vade_learns_in_two_steps_and_finds_the_two_kinds_of_ellipses() -> None:
    plan = TrainingPlan(epochs=24, batch_size=32, learning_rate=6e-3, pretrain_epochs=12)
    config = VAEConfig(1, 24, 24, latent=2, widths=(8, 16), clusters=2)
    trained = train_vae(config, plan, ellipses_ncyx(256), device=CPU)
    betas = [metrics["beta"] for metrics in trained.history]
    assert betas == [0.0] * 12 + [1.0] * 12
    clusters = most_probable_clusters(trained.model, embed(trained.model, ellipses_ncyx(100, seed=9)))
    right = (clusters == np.arange(100) % 2).mean()
    assert max(right, 1 - right) > 0.95
    with pytest.raises(ValueError, match="after 1 to 23 epochs of pretraining, found 0"):
        train_vae(config, dataclasses.replace(plan, pretrain_epochs=0), ellipses_ncyx(4))


def test_the_step_goes_up_and_down_and_the_length_of_a_cycle_is_part_of_the_plan() -> None:
    plan = TrainingPlan(epochs=4, batch_size=16, schedule="one-cycle", learning_rate=0.01)
    steps = [plan.learning_rate_at(share / 10) for share in range(11)]
    assert steps[2] == pytest.approx(0.01) == max(steps)
    assert steps[0] == pytest.approx(steps[-1]) == pytest.approx(1e-4)
    assert {TrainingPlan().learning_rate_at(share) for share in (0, 0.5, 1)} == {1e-3}
    states: list[dict[str, Any]] = []
    train(plan, on_checkpoint=states.append)
    with pytest.raises(ValueError, match="other values of epochs"):
        train(dataclasses.replace(plan, epochs=5), resume=states[0])


def test_a_divergence_that_runs_away_is_an_alarm_once_beta_stands_still() -> None:
    def at(beta: float, nats: float, total: float, epoch: int = 1) -> EpochMetrics:
        names = ("epoch", "beta", "train_divergence", "train_total", "train_active_latents")
        return dict(zip(names, (epoch, beta, nats, total, 4.0), strict=True))

    learning = [at(1, 0.1, 400), at(1, 15, 300), at(1, 20, 200)]  # it rises from nothing in any training
    assert alarms(learning, 4) == []
    (alarm,) = alarms([*learning, at(1, 101, 260, epoch=4)], 4)
    assert "epoch 4: the KL diverges, 101.0 nats where the best epoch has 20.0" in alarm
    assert alarms([at(0.1, 1, 90), at(1, 101, 260)], 4) == []  # another beta is another question
    assert "201.0 nats" in alarms([at(1e-10, 201, 90)], 4)[0]


def test_conditions_beyond_those_of_the_network_are_refused() -> None:
    patches = PatchSet(ellipses_ncyx(4), codes=np.array([0, 1, 2, -1]))
    config = dataclasses.replace(CONFIG, joining="plain", conditions=2)
    with pytest.raises(ValueError, match="expected conditions below 2, found 2"):
        train_vae(config, PLAN, patches)
    with pytest.raises(ValueError, match="conditions to free the latents of, found none"):
        train_vae(CONFIG, dataclasses.replace(PLAN, freeing=1.0), ellipses_ncyx(4))


@pytest.mark.parametrize(
    "bad", [{"epochs": 0}, {"batch_size": 0}, {"learning_rate": 0.0}, {"beta": -1.0}, {"beta": float("nan")},
            {"loss": "l1"}, {"seed": -1}, {"beta_warmup_epochs": -1}, {"learning_rate": float("inf")}]
)  # fmt: skip
def test_plan_refuses_the_impossible(bad: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="expected"):
        TrainingPlan(**bad)


def test_wrong_patches_are_refused_before_training() -> None:
    called: list[Any] = []
    for n, side_px in ((0, 24), (4, 25)):
        with pytest.raises(ValueError, match=r"\(n, 1, 24, 24\), found"):
            train_vae(CONFIG, PLAN, np.zeros((n, 1, side_px, side_px), np.float32), on_epoch=called.append)
    with pytest.raises(ValueError, match="validation patch"):
        train_vae(
            CONFIG, PLAN, ellipses_ncyx(4), np.zeros((0, 1, 24, 24), np.float32), on_epoch=called.append
        )
    with pytest.raises(ValueError, match=r"in \[0, 1\]"):
        train_vae(CONFIG, PLAN, 255 * ellipses_ncyx(4), device=CPU, on_epoch=called.append)
    assert called == []
