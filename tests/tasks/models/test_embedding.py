from typing import Any

import numpy as np
import pytest
import torch

from tasks.models.embedding import embed, reconstruct
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


def test_only_one_batch_is_read_at_a_time() -> None:
    sizes: list[int] = []

    class Reader:
        shape = (10, 1, 24, 24)

        def __getitem__(self, rows: Any) -> Any:
            sizes.append(rows.stop - rows.start)
            return ellipses_ncyx(10)[rows]

    assert np.array_equal(embed(MODEL, Reader(), 4), embed(MODEL, ellipses_ncyx(10), 4))
    assert sizes == [4, 4, 2]


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
