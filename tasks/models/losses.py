"""The loss of a variational autoencoder, with its parts kept apart."""

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor
from torch.nn import functional

Reconstruction = Literal["bce", "mse"]


@dataclass(frozen=True)
class Divergence:
    """Kullback-Leibler divergence of posteriors from the prior, in nats."""

    per_latent: Tensor
    """(n, latent): the part of each latent dimension."""
    of_cluster: Tensor | None = None
    """(n,): the part of the choice of a cluster, where the prior is a mixture."""

    @property
    def total(self) -> Tensor:
        """(n,): all parts of a patch."""
        parts = self.per_latent.sum(1)
        return parts if self.of_cluster is None else parts + self.of_cluster

    def weighed(self, free_nats: float) -> Tensor:
        """(n,): as `total`, but a dimension whose mean over the batch is below `free_nats` costs just that.

        Its gradient is zero, so the first `free_nats` of each dimension are free, and none collapses for the
        sake of the divergence alone (Kingma et al., 2016, arXiv:1606.04934, equation 15).
        """
        if free_nats == 0.0:
            return self.total
        costs = self.per_latent.mean(0) > free_nats
        floored = torch.where(costs, self.per_latent, torch.full_like(self.per_latent, free_nats))
        return Divergence(floored, self.of_cluster).total


@dataclass(frozen=True)
class VAELoss:
    """Loss of one batch of n patches, in nats (for "mse" up to a constant, see `vae_loss`)."""

    reconstruction: Tensor
    """(n,): misfit of each patch, summed over its channels and pixels."""
    reconstruction_per_channel: Tensor
    """(c,): the same of each channel, averaged over the batch."""
    divergence: Tensor
    """(n,): divergence of each posterior from the prior, summed over its parts."""
    divergence_per_latent: Tensor
    """(latent,): the same of each latent dimension, averaged over the batch; near 0 means an unused one."""
    total: Tensor
    """(n,): reconstruction + beta * divergence, of which `free_nats` a dimension are a constant."""


def vae_loss(
    logits: Tensor,
    target_ncyx: Tensor,
    divergence: Divergence,
    *,
    kind: Reconstruction,
    beta: float,
    free_nats: float = 0.0,
) -> VAELoss:
    """Negative evidence lower bound of Kingma and Welling (2014, arXiv:1312.6114), weighted as a beta-VAE.

    ::

        total = -log p(x | z) + beta * KL(q(z | x) || p(z))

    With p = sigmoid(logits), the misfit -log p(x | z) is

    - "bce": -sum (x log p + (1 - x) log(1 - p)), pixels as Bernoulli probabilities;
    - "mse": sum (x - p)^2, pixels with Gaussian noise of variance 1/2, less the constant of its density.

    beta = 1 is the bound itself; a larger beta asks for simpler latents (Higgins et al., 2017).

    Parameters
    ----------
    logits, target_ncyx
        Decoder output and the patches in [0, 1] it should give, both (n, c, y, x).
    divergence
        From `normal_divergence`, or from a mixture prior.
    kind
        "bce" or "mse".
    beta
        Weight of the divergence, 0 or more.
    free_nats
        Divergence of each latent dimension that costs nothing, see `Divergence.weighed`.

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
    per_channel = _misfit(logits, target_ncyx, kind).sum((2, 3))
    reconstruction = per_channel.sum(1)
    return VAELoss(
        reconstruction=reconstruction,
        reconstruction_per_channel=per_channel.detach().mean(0),
        divergence=divergence.total,
        divergence_per_latent=divergence.per_latent.detach().mean(0),
        total=reconstruction + beta * divergence.weighed(free_nats),
    )


def normal_divergence(mean: Tensor, log_variance: Tensor) -> Divergence:
    """KL(N(mean, variance) || N(0, 1)) from mean and log-variance, each (n, latent).

    Of each dimension 1/2 (mean^2 + variance - 1 - log variance) (Kingma and Welling, 2014, appendix B).
    """
    return Divergence(0.5 * (mean.square() + torch.expm1(log_variance) - log_variance))


def view_disagreement(first: Tensor, second: Tensor, temperature: float) -> Tensor:
    """How badly each patch's two views find each other among all views, (n,) nats.

    The normalised temperature-scaled cross entropy of Chen et al. (2020, arXiv:2002.05709): the views of one
    patch shall be more alike, by the cosine of their projections, than those of different patches.

    Parameters
    ----------
    first, second
        Projections of two views of the same n patches, both (n, d), n of 2 or more.
    temperature
        Scale of the cosines, above 0: smaller looks more at the nearest strangers.
    """
    views = functional.normalize(torch.cat([first, second]), dim=1)
    likeness = views @ views.T / temperature
    likeness = likeness.masked_fill(torch.eye(len(views), dtype=torch.bool, device=views.device), -torch.inf)
    partner = torch.arange(len(views), device=views.device).roll(len(first))
    both = functional.cross_entropy(likeness, partner, reduction="none")
    return 0.5 * (both[: len(first)] + both[len(first) :])


def _misfit(logits: Tensor, target_ncyx: Tensor, kind: Reconstruction) -> Tensor:
    if kind == "bce":
        return functional.binary_cross_entropy_with_logits(logits, target_ncyx, reduction="none")
    if kind == "mse":
        return (torch.sigmoid(logits) - target_ncyx).square()
    raise ValueError(f"expected a loss out of {get_args(Reconstruction)}, found {kind!r}: choose one of them")
