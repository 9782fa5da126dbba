import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.distributions import Normal, kl_divergence

from tasks.models.losses import gaussian_divergence, vae_loss

FINITE = st.floats(-5, 5)


@settings(deadline=None)
@given(mean=FINITE, log_variance=FINITE)
def test_divergence_agrees_with_torch_distributions(mean: float, log_variance: float) -> None:
    found = gaussian_divergence(
        torch.tensor(mean, dtype=torch.float64), torch.tensor(log_variance, dtype=torch.float64)
    )
    posterior = Normal(
        torch.tensor(mean, dtype=torch.float64), torch.tensor(math.exp(log_variance / 2)).double()
    )
    expected = kl_divergence(posterior, Normal(torch.zeros((), dtype=torch.float64), 1.0))
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


def test_parts_of_a_hand_computed_loss() -> None:
    logits = torch.zeros(2, 1, 1, 2)  # p = 1/2 everywhere
    target = torch.tensor([[[[0.0, 1.0]]], [[[0.5, 0.5]]]])
    mean, log_variance = torch.tensor([[1.0, 0.0], [0.0, 2.0]]), torch.zeros(2, 2)
    loss = vae_loss(logits, target, (mean, log_variance), kind="bce", beta=3.0)
    torch.testing.assert_close(loss.reconstruction, torch.full((2,), 2 * math.log(2)))
    torch.testing.assert_close(loss.divergence, torch.tensor([0.5, 2.0]))
    torch.testing.assert_close(loss.divergence_per_latent, torch.tensor([0.25, 1.0]))
    torch.testing.assert_close(loss.total, torch.tensor([2 * math.log(2) + 1.5, 2 * math.log(2) + 6.0]))
    squared = vae_loss(logits, target, (mean, log_variance), kind="mse", beta=0.0)
    torch.testing.assert_close(squared.reconstruction, torch.tensor([0.5, 0.0]))
    torch.testing.assert_close(squared.total, squared.reconstruction)


def test_bce_is_the_likelihood_of_a_bernoulli() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(3, 2, 4, 5, generator=generator)
    target = (torch.rand(3, 2, 4, 5, generator=generator) > 0.5).float()
    loss = vae_loss(logits, target, (torch.zeros(3, 2), torch.zeros(3, 2)), kind="bce", beta=1.0)
    expected = -torch.distributions.Bernoulli(logits=logits).log_prob(target).sum((1, 2, 3))
    torch.testing.assert_close(loss.total, expected)


def test_wrong_kind_and_wrong_shapes_are_refused() -> None:
    image, posterior = torch.zeros(1, 1, 8, 8), (torch.zeros(1, 2), torch.zeros(1, 2))
    with pytest.raises(ValueError, match="found 'l1'"):
        vae_loss(image, image, posterior, kind="l1", beta=1.0)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="one shape"):
        vae_loss(image, image[..., 1:], posterior, kind="mse", beta=1.0)
