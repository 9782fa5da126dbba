import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.distributions import Normal, kl_divergence

from tasks.models.losses import Divergence, condition_dependence, normal_divergence, vae_loss

FINITE = st.floats(-5, 5)


@settings(deadline=None)
@given(mean=FINITE, log_variance=FINITE)
def test_divergence_agrees_with_torch_distributions(mean: float, log_variance: float) -> None:
    found = normal_divergence(
        torch.tensor(mean, dtype=torch.float64), torch.tensor(log_variance, dtype=torch.float64)
    ).per_latent
    posterior = Normal(
        torch.tensor(mean, dtype=torch.float64), torch.tensor(math.exp(log_variance / 2)).double()
    )
    expected = kl_divergence(posterior, Normal(torch.zeros((), dtype=torch.float64), 1.0))
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


def test_parts_of_a_hand_computed_loss() -> None:
    logits = torch.zeros(2, 1, 1, 2)  # p = 1/2 everywhere
    target = torch.tensor([[[[0.0, 1.0]]], [[[0.5, 0.5]]]])
    mean, log_variance = torch.tensor([[1.0, 0.0], [0.0, 2.0]]), torch.zeros(2, 2)
    divergence = normal_divergence(mean, log_variance)
    loss = vae_loss(logits, target, divergence, kind="bce", beta=3.0)
    torch.testing.assert_close(loss.reconstruction, torch.full((2,), 2 * math.log(2)))
    torch.testing.assert_close(loss.divergence, torch.tensor([0.5, 2.0]))
    torch.testing.assert_close(loss.divergence_per_latent, torch.tensor([0.25, 1.0]))
    torch.testing.assert_close(loss.total, torch.tensor([2 * math.log(2) + 1.5, 2 * math.log(2) + 6.0]))
    torch.testing.assert_close(loss.reconstruction_per_channel, torch.tensor([2 * math.log(2)]))
    squared = vae_loss(logits, target, divergence, kind="mse", beta=0.0)
    torch.testing.assert_close(squared.reconstruction, torch.tensor([0.5, 0.0]))
    torch.testing.assert_close(squared.total, squared.reconstruction)


def test_bce_is_the_likelihood_of_a_bernoulli() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(3, 2, 4, 5, generator=generator)
    target = (torch.rand(3, 2, 4, 5, generator=generator) > 0.5).float()
    loss = vae_loss(logits, target, Divergence(torch.zeros(3, 2)), kind="bce", beta=1.0)
    expected = -torch.distributions.Bernoulli(logits=logits).log_prob(target).sum((1, 2, 3))
    torch.testing.assert_close(loss.total, expected)


def test_wrong_kind_and_wrong_shapes_are_refused() -> None:
    image, nothing = torch.zeros(1, 1, 8, 8), Divergence(torch.zeros(1, 2))
    with pytest.raises(ValueError, match="found 'l1'"):
        vae_loss(image, image, nothing, kind="l1", beta=1.0)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="one shape"):
        vae_loss(image, image[..., 1:], nothing, kind="mse", beta=1.0)


def test_the_misfit_of_each_channel_is_named() -> None:
    target = torch.zeros(2, 3, 4, 4)
    target[:, 1] = 1.0
    loss = vae_loss(
        torch.full((2, 3, 4, 4), -50.0), target, Divergence(torch.zeros(2, 1)), kind="mse", beta=1.0
    )
    torch.testing.assert_close(loss.reconstruction_per_channel, torch.tensor([0.0, 16.0, 0.0]))


def test_free_nats_cost_the_same_whatever_a_poor_dimension_does() -> None:
    rich_and_poor = torch.tensor([[2.0, 0.1], [4.0, 0.3]], requires_grad=True)
    weighed = Divergence(rich_and_poor).weighed(0.5)
    torch.testing.assert_close(weighed, torch.tensor([2.5, 4.5]))
    weighed.sum().backward()
    assert rich_and_poor.grad is not None
    assert rich_and_poor.grad.tolist() == [[1.0, 0.0], [1.0, 0.0]]
    torch.testing.assert_close(Divergence(rich_and_poor).weighed(0.0), torch.tensor([2.1, 4.3]))


def test_dependence_sees_shifts_and_spreads_and_is_nothing_without_either() -> None:
    generator = torch.Generator().manual_seed(0)
    latents, codes = torch.randn(600, 3, generator=generator), torch.arange(600) % 3
    told = (codes == 1)[:, None]
    alike = condition_dependence(latents, codes).item()
    assert abs(alike) < 0.01
    assert condition_dependence(latents + 1.5 * told, codes).item() > 0.1
    assert condition_dependence(torch.where(told, 0.3 * latents, latents), codes).item() > 0.05
    unknown = torch.where(codes == 1, -1, codes)
    assert abs(condition_dependence(latents + 9.0 * told, unknown).item()) < 0.01


def test_dependence_of_too_few_is_nothing() -> None:
    latents = torch.randn(4, 2, generator=torch.Generator().manual_seed(0))
    assert condition_dependence(latents, torch.tensor([0, 1, -1, -1])).item() == 0.0
    assert condition_dependence(latents, torch.full((4,), -1)).item() == 0.0
