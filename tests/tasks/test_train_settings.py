import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from tasks.settings import Settings, TrainSettings
from tasks.train import _condition_codes, training_plan, vae_config


def asked(**changes):
    return TrainSettings.model_validate(changes)


def test_each_kind_of_network_is_asked_for_by_its_name():
    dense = vae_config(asked(body={"kind": "dense", "widths": [50, 20]}), (2, 20, 24), 0)
    assert (dense.body, dense.widths, dense.shape_cyx) == ("dense", (50, 20), (2, 20, 24))
    plain = vae_config(asked(condition={"kind": "plain", "by": "chip", "embedding": 3}), (1, 20, 20), 5)
    assert (plain.joining, plain.conditions, plain.joined) == ("plain", 5, 16 + 3)
    refined = vae_config(asked(condition={"kind": "refined", "alpha": 8}), (1, 20, 20), 5)
    assert (refined.joining, refined.condition_share, refined.joined) == ("refined", 2, 16)
    mixture = asked(prior={"kind": "mixture", "clusters": 6, "pretrain_epochs": 4})
    assert vae_config(mixture, (1, 20, 20), 0).clusters == 6
    assert training_plan(mixture).pretrain_epochs == 4


def test_the_plan_is_what_the_settings_say():
    plan = training_plan(
        asked(
            epochs=7, beta=3, beta_warmup_epochs=2, free_nats=0.5, precision="float32", seed=4,
            augmentation={"flips": False, "intensity": 0.2}, condition={"kind": "plain", "freeing": 9},
        )
    )  # fmt: skip
    assert (plan.epochs, plan.beta, plan.beta_warmup_epochs, plan.free_nats, plan.seed) == (7, 3, 2, 0.5, 4)
    assert (plan.augmentation.flips, plan.augmentation.intensity, plan.freeing) == (False, 0.2, 9)
    assert training_plan(asked()).precision in ("float32", "bfloat16")
    assert training_plan(asked()).freeing == 0


def test_views_are_asked_for_with_what_differs_between_them():
    settings = asked(views={"weight": 5, "projection": 24, "augmentation": {"turn_deg": 90}})
    assert vae_config(settings, (1, 20, 20), 0).projection == 24
    views = training_plan(settings).views
    assert (views.weight, views.augmentation.turn_deg, views.augmentation.flips) == (5, 90, True)
    assert training_plan(asked()).views is None
    assert vae_config(asked(), (1, 20, 20), 0).projection == 0


def test_conditions_are_numbered_by_name_and_unseen_ones_are_unknown():
    cells = pd.DataFrame({"chip": ["b", "a", "c", "b"]})
    uses = np.array(["train", "train", "validation", "validation"])
    codes, names = _condition_codes(cells, uses, asked(condition={"kind": "plain", "by": "chip"}))
    assert names == ["a", "b"]
    assert codes.tolist() == [1, 0, -1, 1]
    assert _condition_codes(cells, uses, asked()) == (None, [])


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"prior": {"kind": "mixture", "pretrain_epochs": 20}}, "epochs above prior.pretrain_epochs"),
        ({"latent": 2, "condition": {"kind": "refined", "alpha": 8}}, "condition.alpha"),
        ({"validation_share": 0.6, "test_share": 0.5}, "something to learn from"),
        ({"body": {"kind": "graph"}}, "conv"),
        ({"prior": {"kind": "mixture", "pretrain_epochs": 2}, "views": {}}, "views and a mixture prior"),
        ({"views": {"weight": 0}}, "greater than 0"),
    ],
)
def test_what_cannot_be_is_refused_with_a_reason(changes, word):
    with pytest.raises(ValidationError, match=word):
        Settings.model_validate({"train": changes})
