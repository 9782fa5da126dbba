"""A mixture of Gaussians as the prior of the latents: VaDE (Jiang et al., 2017, arXiv:1611.05148)."""

import math

import torch
from sklearn.mixture import GaussianMixture
from torch import Tensor, nn

from tasks.models.batches import Float32Array
from tasks.models.losses import Divergence

SMALLEST_VARIANCE = 1e-4


class MixturePrior(nn.Module):
    """p(z) = sum_k w_k N(z; mean_k, diagonal variance_k), all of it learned.

    Parameters
    ----------
    clusters, latent
        Gaussians k and dimensions.
    """

    def __init__(self, clusters: int, latent: int) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.empty(clusters))
        self.means = nn.Parameter(torch.empty(clusters, latent))
        self.log_variances = nn.Parameter(torch.empty(clusters, latent))

    def responsibilities(self, latents: Tensor) -> Tensor:
        """p(k | z), (n, k), rows sum to 1: for a sampled z the estimate of q(k | x) (their equation 16)."""
        return torch.softmax(self.logits.log_softmax(0) + self._log_densities(latents), dim=1)

    def divergence(self, mean: Tensor, log_variance: Tensor, latents: Tensor) -> Divergence:
        """KL(q(z, k | x) || p(z, k)) in nats, where q(k | x) = `responsibilities(latents)` (equation 12).

        Parameters
        ----------
        mean, log_variance
            Posterior, each (n, latent).
        latents
            Drawn from it, (n, latent).

        Returns
        -------
        Divergence
            Of each latent sum_k q(k | x) KL(q(z | x) || N_k), of the cluster KL(q(k | x) || w).
        """
        gamma = self.responsibilities(latents)
        ratio = torch.exp(log_variance)[:, None] + (mean[:, None] - self.means).square()
        to_each = 0.5 * (
            self.log_variances - log_variance[:, None] + ratio * torch.exp(-self.log_variances) - 1.0
        )
        log_gamma = gamma.clamp(min=1e-12).log()
        choice = (gamma * (log_gamma - self.logits.log_softmax(0))).sum(1)
        return Divergence(torch.einsum("nk,nkd->nd", gamma, to_each), choice)

    def start_from(self, latents: Float32Array, seed: int) -> None:
        """Set the Gaussians to those fitted to latents (n, latent) by expectation-maximisation."""
        clusters = len(self.logits)
        if len(latents) < clusters:
            raise ValueError(
                f"expected {clusters} patches or more, one a cluster, found {len(latents)}: lower clusters"
            )
        fitted = GaussianMixture(
            clusters, covariance_type="diag", n_init=3, reg_covar=SMALLEST_VARIANCE, random_state=seed
        ).fit(latents.astype("float64"))
        with torch.no_grad():
            self.logits.copy_(torch.from_numpy(fitted.weights_).log())
            self.means.copy_(torch.from_numpy(fitted.means_))
            self.log_variances.copy_(torch.from_numpy(fitted.covariances_).log())

    def _log_densities(self, latents: Tensor) -> Tensor:
        distance = (latents[:, None] - self.means).square() * torch.exp(-self.log_variances)
        return -0.5 * (distance + self.log_variances + math.log(2 * math.pi)).sum(2)
