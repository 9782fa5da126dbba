import dataclasses

import numpy as np
import pytest
import torch

from tasks.models.augmentation import Augmentation
from tasks.models.batches import epoch_rng
from tasks.models.embedding import embed
from tasks.models.plan import TrainingPlan
from tasks.models.training import TrainedVAE, train_vae
from tasks.models.vae import VAEConfig
from tasks.models.views import Views, both_views, view_disagreement
from tests.tasks.models.blobs import ellipses_ncyx

CPU = torch.device("cpu")
CONFIG = VAEConfig(1, 24, 24, latent=4, widths=(8, 16), projection=8)
ANY_TURN = Augmentation(turn_deg=180, intensity=0.5)
PLAN = TrainingPlan(epochs=15, batch_size=32, learning_rate=5e-3, views=Views(ANY_TURN))


def test_views_that_find_each_other_agree_and_others_do_not() -> None:
    eye = torch.eye(8)
    agree = view_disagreement(torch.cat([eye, 3 * eye]), temperature=0.1)  # length does not matter
    assert agree.shape == (8,)
    assert (agree < 1e-3).all()
    assert (view_disagreement(torch.cat([eye, eye.roll(1, 0)]), temperature=0.1) > 9).all()


def test_views_that_say_nothing_cost_the_logarithm_of_their_number() -> None:
    said = view_disagreement(torch.ones(10, 3), temperature=0.3)
    assert said.tolist() == pytest.approx([np.log(9)] * 5, rel=1e-5)


def test_the_two_views_of_a_patch_differ_and_lie_one_patch_set_apart() -> None:
    ncyx = ellipses_ncyx(3)
    assert np.array_equal(both_views(ncyx, Augmentation(), epoch_rng(0, 1)), np.concatenate([ncyx, ncyx]))
    first, second = np.split(both_views(ncyx, ANY_TURN, epoch_rng(0, 1)), 2)
    assert np.abs(first - second).max(axis=(1, 2, 3)).min() > 0.1


def turned_apart(trained: TrainedVAE) -> float:
    """How far a turn moves a patch's latents, as a share of how far patches lie apart."""
    ncyx = ellipses_ncyx(64, seed=9)
    plain, turned = (embed(trained.model, one) for one in (ncyx, np.rot90(ncyx, axes=(2, 3)).copy()))
    return float((plain - turned).std() / plain.std(axis=0).mean())


def test_latents_leave_out_what_views_differ_in_and_the_decoder_still_draws() -> None:
    patches = ellipses_ncyx(128)
    plain = dataclasses.replace(CONFIG, projection=0)
    ours = train_vae(CONFIG, PLAN, patches, ellipses_ncyx(32, seed=5), device=CPU)
    other = train_vae(plain, dataclasses.replace(PLAN, views=None), patches, device=CPU)
    assert turned_apart(ours) < 0.5 * turned_apart(other)
    first, last = ours.history[0], ours.history[-1]
    for part in ("train", "validation"):
        assert last[f"{part}_views"] < first[f"{part}_views"]
    assert last["train_reconstruction"] < 0.6 * first["train_reconstruction"]
    assert {epoch["train_views"] for epoch in other.history} == {0.0}


def test_the_decoder_does_not_teach_the_encoder() -> None:
    """Another decoder's loss leaves the encoder's weights as they are."""
    one, other = (
        train_vae(CONFIG, dataclasses.replace(PLAN, epochs=2, loss=loss), ellipses_ncyx(64), device=CPU)
        for loss in ("bce", "mse")
    )
    pairs = zip(one.model.encoder.parameters(), other.model.encoder.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    pairs = zip(one.model.decoder.parameters(), other.model.decoder.parameters(), strict=True)
    assert not all(torch.equal(a, b) for a, b in pairs)


def test_views_need_a_projection_and_no_mixture() -> None:
    for config, plan in (
        (dataclasses.replace(CONFIG, projection=0), PLAN),
        (CONFIG, dataclasses.replace(PLAN, views=None)),
        (dataclasses.replace(CONFIG, clusters=2), dataclasses.replace(PLAN, pretrain_epochs=2)),
    ):
        with pytest.raises(ValueError, match="expected views with a projection and a normal prior"):
            train_vae(config, plan, ellipses_ncyx(4))


@pytest.mark.parametrize("bad", [{"weight": 0.0}, {"temperature": -1.0}, {"weight": float("inf")}])
def test_views_refuse_the_impossible(bad: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="expected"):
        Views(ANY_TURN, **bad)
