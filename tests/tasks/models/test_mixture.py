import numpy as np
import pytest
import torch
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal, kl_divergence

from tasks.models.losses import normal_divergence
from tasks.models.mixture import MixturePrior


def a_prior(clusters: int = 3, latent: int = 2) -> MixturePrior:
    prior = MixturePrior(clusters, latent)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in prior.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return prior.double()


def drawn(n: int = 5, latent: int = 2) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    mean, log_variance, latents = torch.randn(3, n, latent, generator=generator).double()
    return mean, log_variance, latents


def test_responsibilities_are_bayes_rule() -> None:
    prior, (_, _, latents) = a_prior(), drawn()
    parts = Independent(Normal(prior.means, (prior.log_variances / 2).exp()), 1)
    mixture = MixtureSameFamily(Categorical(logits=prior.logits), parts)
    joint = prior.logits.log_softmax(0) + parts.log_prob(latents[:, None])
    expected = (joint - mixture.log_prob(latents)[:, None]).exp()
    torch.testing.assert_close(prior.responsibilities(latents), expected)


def test_divergence_agrees_with_torch_distributions() -> None:
    prior, (mean, log_variance, latents) = a_prior(), drawn()
    gamma = prior.responsibilities(latents)
    posterior = Normal(mean[:, None], (log_variance / 2).exp()[:, None])
    each = kl_divergence(posterior, Normal(prior.means, (prior.log_variances / 2).exp()))
    found = prior.divergence(mean, log_variance, latents)
    torch.testing.assert_close(found.per_latent, (gamma[..., None] * each).sum(1))
    expected = kl_divergence(Categorical(probs=gamma), Categorical(logits=prior.logits))
    torch.testing.assert_close(found.of_cluster, expected, rtol=1e-4, atol=1e-6)


def test_one_standard_gaussian_is_the_ordinary_prior() -> None:
    prior, (mean, log_variance, latents) = a_prior(clusters=1), drawn()
    with torch.no_grad():
        prior.means.zero_()
        prior.log_variances.zero_()
    found = prior.divergence(mean, log_variance, latents)
    torch.testing.assert_close(found.total, normal_divergence(mean, log_variance).total)


def test_it_starts_from_the_groups_it_is_given() -> None:
    rng = np.random.default_rng(0)
    groups = rng.normal(size=(400, 2)) * [0.3, 0.6] + np.where(rng.random((400, 1)) < 0.25, 4.0, -4.0)
    prior = MixturePrior(2, 2)
    prior.start_from(groups.astype(np.float32), seed=0)
    small = int(prior.logits.argmin())
    assert prior.logits.softmax(0)[small].item() == pytest.approx(0.25, abs=0.06)
    np.testing.assert_allclose(prior.means[small].detach(), [4, 4], atol=0.2)
    np.testing.assert_allclose((prior.log_variances / 2).exp().detach(), [[0.3, 0.6]] * 2, atol=0.1)
    with pytest.raises(ValueError, match="2 patches or more, one a cluster, found 1"):
        prior.start_from(np.zeros((1, 2), np.float32), seed=0)
