from typing import Any

import numpy as np
import pytest
import torch

from tasks.models.batches import PatchSet
from tasks.models.embedding import embed, embed_joined, most_probable_clusters, reconstruct, traverse
from tasks.models.training import TrainingPlan, train_vae
from tasks.models.vae import VAEConfig, seeded_vae
from tests.tasks.models.blobs import ellipses_ncyx

MODEL = seeded_vae(VAEConfig(1, 24, 24, latent=5, widths=(8, 8)), seed=1)


@pytest.mark.parametrize("batch_size", [1, 3, 7, 256])
def test_batches_do_not_change_the_means(batch_size: int) -> None:
    ncyx = ellipses_ncyx(7)
    means = embed(MODEL, ncyx, batch_size)
    assert means.dtype == np.float32
    expected = MODEL.encode(torch.from_numpy(ncyx))[0].detach().numpy()
    np.testing.assert_allclose(means, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(
        reconstruct(MODEL, ncyx, batch_size), MODEL(torch.from_numpy(ncyx))[0].detach().numpy(), atol=1e-5
    )


def test_no_patches_give_no_rows() -> None:
    none_ncyx = np.zeros((0, 1, 24, 24), np.float32)
    assert embed(MODEL, none_ncyx).shape == (0, 5)
    assert reconstruct(MODEL, none_ncyx).shape == (0, 1, 24, 24)


def test_rows_and_shards_of_a_source_are_read_as_they_lie() -> None:
    reads: list[Any] = []

    class Reader:
        shape = (10, 1, 24, 24)
        shard_edges = (0, 4, 8, 10)

        def __getitem__(self, rows: Any) -> Any:
            reads.append(rows)
            return ellipses_ncyx(10)[rows]

    assert np.array_equal(embed(MODEL, Reader(), 4), embed(MODEL, ellipses_ncyx(10), 4))
    assert reads == [slice(0, 4), slice(4, 8), slice(8, 10)]
    some = np.array([1, 2, 9])
    few = embed(MODEL, PatchSet(Reader(), some))
    np.testing.assert_allclose(few, embed(MODEL, ellipses_ncyx(10))[some], rtol=1e-4, atol=1e-5)


def test_joined_numbers_hold_the_condition_and_the_latents_do_not() -> None:
    config = VAEConfig(1, 24, 24, latent=5, widths=(8,), joining="plain", conditions=3, embedding=2)
    model, ncyx = seeded_vae(config, seed=1), ellipses_ncyx(6)
    codes = np.array([0, 1, 2, 0, 1, -1])
    told = embed_joined(model, PatchSet(ncyx, codes=codes))
    assert told.shape == (6, 7)
    np.testing.assert_allclose(told[:, :5], embed(model, ncyx), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(told[0, 5:], told[3, 5:])
    np.testing.assert_allclose(told[5, 5:], told[:3, 5:].mean(0), rtol=1e-5)


def test_clusters_are_those_of_the_mixture_and_only_of_one() -> None:
    model = seeded_vae(VAEConfig(1, 24, 24, latent=2, widths=(8,), clusters=2), seed=1)
    assert model.prior is not None
    with torch.no_grad():
        model.prior.means.copy_(torch.tensor([[-2.0, 0.0], [2.0, 0.0]]))
    latents = np.array([[3.0, 1.0], [-3.0, 5.0]], np.float32)
    assert most_probable_clusters(model, latents).tolist() == [1, 0]
    with pytest.raises(ValueError, match="mixture prior"):
        most_probable_clusters(MODEL, latents)


def test_wrong_patches_and_batches_are_refused() -> None:
    with pytest.raises(ValueError, match="expected patches"):
        embed(MODEL, np.zeros((2, 1, 24, 25), np.float32))
    with pytest.raises(ValueError, match="batch_size"):
        embed(MODEL, ellipses_ncyx(2), 0)


def test_a_trained_embedding_separates_lying_from_standing() -> None:
    plan = TrainingPlan(epochs=12, batch_size=16, learning_rate=3e-3)
    model = train_vae(MODEL.config, plan, ellipses_ncyx(256), device=torch.device("cpu")).model
    means, unseen = embed(model, ellipses_ncyx(64)), embed(model, ellipses_ncyx(60, seed=8))
    axis = means[::2].mean(0) - means[1::2].mean(0)
    middle = (means[::2].mean(0) + means[1::2].mean(0)) / 2
    stands = (unseen - middle) @ axis > 0
    assert (stands == (np.arange(60) % 2 == 0)).mean() > 0.95


def test_a_traversal_moves_one_number_and_passes_through_the_centre() -> None:
    model = seeded_vae(VAEConfig(1, 16, 16, latent=3, widths=(4, 8)), seed=0)
    centre, deviation = np.array([0.5, -1.0, 2.0]), np.array([1.0, 2.0, 3.0])
    drawn = traverse(model, centre, deviation, [2, 0], (-1.0, 0.0, 2.0))
    assert drawn.shape == (2, 3, 1, 16, 16)
    for row, step, latent in (
        (0, 0, [0.5, -1.0, -1.0]), (1, 2, [2.5, -1.0, 2.0]), (0, 1, centre.tolist()), (1, 1, centre.tolist())
    ):  # fmt: skip
        expected = torch.sigmoid(model.decode(torch.tensor([latent]))).detach().numpy()[0]
        np.testing.assert_allclose(drawn[row, step], expected, atol=1e-6)
