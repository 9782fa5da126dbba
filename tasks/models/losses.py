"""The loss of a variational autoencoder, with its parts kept apart."""

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor
from torch.nn import functional

Reconstruction = Literal["bce", "mse"]
KERNEL_VARIANCES = (1 / 16, 1 / 4, 1.0)


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
    dependence: Tensor
    """(n,): `condition_dependence` of the batch for each patch, which `total` does not hold; 0 if untold."""
    views: Tensor
    """(n,): `view_disagreement` of each patch, which `total` does not hold; 0 without views."""


def vae_loss(
    logits: Tensor,
    target_ncyx: Tensor,
    divergence: Divergence,
    *,
    kind: Reconstruction,
    beta: float,
    free_nats: float = 0.0,
    dependence: Tensor | None = None,
    views: Tensor | None = None,
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
    dependence, views
        `condition_dependence` and `view_disagreement`, to be handed on; None where there are none.

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
        dependence=torch.zeros_like(reconstruction) if dependence is None else dependence.expand(len(logits)),
        views=torch.zeros_like(reconstruction) if views is None else views,
    )


def normal_divergence(mean: Tensor, log_variance: Tensor) -> Divergence:
    """KL(N(mean, variance) || N(0, 1)) from mean and log-variance, each (n, latent).

    Of each dimension 1/2 (mean^2 + variance - 1 - log variance) (Kingma and Welling, 2014, appendix B).
    """
    return Divergence(0.5 * (mean.square() + torch.expm1(log_variance) - log_variance))


def condition_dependence(latents: Tensor, codes: Tensor) -> Tensor:
    """How much the latents of each condition differ from those of all others: a scalar, 0 where not at all.

    The mean over conditions of the squared maximum mean discrepancy (Gretton et al., 2012), unbiased, as in
    the variational fair autoencoder (Louizos et al., 2016, arXiv:1511.00830), with the sum of three Gaussian
    kernels of variances 1/16, 1/4 and 1 a dimension. It sees differences of any kind, not of the means alone.

    Parameters
    ----------
    latents
        (n, latent), about standard normal.
    codes
        (n,) condition of each from 0; those of -1 are left out, as are conditions of fewer than 2.
    """
    known = codes >= 0
    points = latents[known]
    members = functional.one_hot(codes.clamp(min=0))[known].to(latents.dtype)
    distance = torch.cdist(points, points).square() / max(1, latents.shape[1])
    kernel = sum(torch.exp(-distance / (2 * variance)) for variance in KERNEL_VARIANCES)
    kernel = kernel * (1 - torch.eye(len(points), device=latents.device))
    others = 1 - members
    own, rest = members.sum(0), others.sum(0)
    discrepancy = (
        torch.einsum("ik,ij,jk->k", members, kernel, members) / (own * (own - 1)).clamp(min=1)
        + torch.einsum("ik,ij,jk->k", others, kernel, others) / (rest * (rest - 1)).clamp(min=1)
        - 2 * torch.einsum("ik,ij,jk->k", members, kernel, others) / (own * rest).clamp(min=1)
    )
    enough = (own >= 2) & (rest >= 2)
    return (discrepancy * enough).sum() / enough.sum().clamp(min=1)


def _misfit(logits: Tensor, target_ncyx: Tensor, kind: Reconstruction) -> Tensor:
    if kind == "bce":
        return functional.binary_cross_entropy_with_logits(logits, target_ncyx, reduction="none")
    if kind == "mse":
        return (torch.sigmoid(logits) - target_ncyx).square()
    raise ValueError(f"expected a loss out of {get_args(Reconstruction)}, found {kind!r}: choose one of them")
