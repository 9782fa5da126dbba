"""What a training step learns from: the posterior of a batch, and the latents that the decoder gets."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from tasks.models.batches import Float32Array
from tasks.models.vae import VAE, sample_latents
from tasks.models.views import Views, both_views, view_disagreement


@dataclass(frozen=True)
class Encoded:
    """What the encoder says of n patches."""

    mean: Tensor
    """(n, latent) of the posterior."""
    log_variance: Tensor
    """(n, latent) of the posterior."""
    latents: Tensor
    """(n, latent) for the decoder."""
    disagreement: Tensor | None = None
    """(n,) `view_disagreement`, where there are views."""


def on_device(device: torch.device, ncyx: Float32Array) -> Tensor:
    """Patches as a network wants them, channels last."""
    return torch.from_numpy(ncyx).to(device, memory_format=torch.channels_last)


def encode_patches(model: VAE, patches: Tensor, rng: np.random.Generator | None) -> Encoded:
    """Encode patches and draw latents from their posteriors; without random numbers take the means."""
    mean, log_variance = model.encode(patches)
    if rng is None:
        return Encoded(mean, log_variance, mean)
    noise = torch.from_numpy(rng.standard_normal(mean.shape, dtype=np.float32)).to(mean.device)
    return Encoded(mean, log_variance, sample_latents(mean, log_variance, noise))


def encode_views(
    model: VAE, ncyx: Float32Array, how: Views, rng: np.random.Generator, device: torch.device
) -> Encoded:
    """Encode two views of each patch; the decoder learns from the first's latents and does not teach them.

    Were they to serve the reconstruction too, they would hold what the views differ in.
    """
    assert model.projector is not None
    means, log_variances = model.encode(on_device(device, both_views(ncyx, how.augmentation, rng)))
    disagreement = view_disagreement(model.projector(means).float(), how.temperature)
    mean, log_variance = means[: len(ncyx)], log_variances[: len(ncyx)]
    return Encoded(mean, log_variance, mean.detach(), disagreement)
