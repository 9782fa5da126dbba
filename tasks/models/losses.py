"""The loss of a variational autoencoder, with its parts kept apart."""

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor
from torch.nn import functional

Reconstruction = Literal["bce", "mse"]
Posterior = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class VAELoss:
    """Loss of one batch of n patches, in nats (for "mse" up to a constant, see `vae_loss`)."""

    reconstruction: Tensor
    """(n,): misfit of each patch, summed over its channels and pixels."""
    divergence: Tensor
    """(n,): Kullback-Leibler divergence of each posterior from the prior, summed over latent dimensions."""
    divergence_per_latent: Tensor
    """(latent,): the same of each latent dimension, averaged over the batch; near 0 means an unused one."""
    total: Tensor
    """(n,): reconstruction + beta * divergence."""


def vae_loss(
    logits: Tensor,
    target_ncyx: Tensor,
    posterior: Posterior,
    *,
    kind: Reconstruction,
    beta: float,
) -> VAELoss:
    """Negative evidence lower bound of Kingma and Welling (2014, arXiv:1312.6114), weighted as a beta-VAE.

    ::

        total = -log p(x | z) + beta * KL(q(z | x) || N(0, 1))
        KL    = 1/2 * sum_j (mean_j^2 + variance_j - 1 - log variance_j)          (their appendix B)

    With p = sigmoid(logits), the misfit -log p(x | z) is

    - "bce": -sum (x log p + (1 - x) log(1 - p)), pixels as Bernoulli probabilities;
    - "mse": sum (x - p)^2, pixels with Gaussian noise of variance 1/2, less the constant of its density.

    beta = 1 is the bound itself; a larger beta asks for simpler latents (Higgins et al., 2017).

    Parameters
    ----------
    logits, target_ncyx
        Decoder output and the patches in [0, 1] it should give, both (n, c, y, x).
    posterior
        Mean and log-variance, each (n, latent).
    kind
        "bce" or "mse".
    beta
        Weight of the divergence, 0 or more.

    Raises
    ------
    ValueError
        The shapes differ, or `kind` is another word.
    """
    if logits.shape != target_ncyx.shape:
        raise ValueError(
            f"expected logits and patches of one shape, found {tuple(logits.shape)} and "
            f"{tuple(target_ncyx.shape)}: decode with the model that encoded"
        )
    reconstruction = _misfit(logits, target_ncyx, kind).flatten(1).sum(1)
    divergence = gaussian_divergence(*posterior)
    per_patch = divergence.sum(1)
    return VAELoss(reconstruction, per_patch, divergence.mean(0), reconstruction + beta * per_patch)


def gaussian_divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL(N(mean, variance) || N(0, 1)) of each latent dimension in nats, (n, latent); see `vae_loss`."""
    return 0.5 * (mean.square() + torch.expm1(log_variance) - log_variance)


def _misfit(logits: Tensor, target_ncyx: Tensor, kind: Reconstruction) -> Tensor:
    if kind == "bce":
        return functional.binary_cross_entropy_with_logits(logits, target_ncyx, reduction="none")
    if kind == "mse":
        return (torch.sigmoid(logits) - target_ncyx).square()
    raise ValueError(f"expected a loss out of {get_args(Reconstruction)}, found {kind!r}: choose one of them")
