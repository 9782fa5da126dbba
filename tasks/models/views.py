"""Latents from pairs of views: two changed views of a patch shall be known as the same among all others."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from tasks.models.augmentation import Augmentation, augmented
from tasks.models.batches import Float32Array


@dataclass(frozen=True)
class Views:
    """How views are made and compared."""

    augmentation: Augmentation
    """What differs between two views of a patch, and is therefore left out of the latents."""
    weight: float = 100.0
    """Weight of `view_disagreement` beside the divergence, which alone holds the latents' scale."""
    temperature: float = 0.3
    """Scale of the cosines: smaller looks more at the nearest strangers."""

    def __post_init__(self) -> None:
        for name in ("weight", "temperature"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"expected {name} above 0, found {getattr(self, name)}: try the default")


def both_views(ncyx: Float32Array, how: Augmentation, rng: np.random.Generator) -> Float32Array:
    """Two views of each of n patches, (2 n, c, y, x): the first of all, then the second of all."""
    return np.concatenate([augmented(ncyx, how, rng) for _ in range(2)])


def projector(latent: int, out: int) -> nn.Sequential:
    """From latents to the numbers in which views are compared, which the latents need not be fit for."""
    return nn.Sequential(nn.Linear(latent, 2 * out), nn.ReLU(), nn.Linear(2 * out, out))


def view_disagreement(projections: Tensor, temperature: float) -> Tensor:
    """How badly each patch's two views find each other among all views, (n,) nats.

    The normalised temperature-scaled cross entropy of Chen et al. (2020, arXiv:2002.05709): the views of one
    patch shall be more alike, by the cosine of their projections, than those of different patches. Views that
    say nothing cost log(2 n - 1).

    Parameters
    ----------
    projections
        (2 n, d), the first views of n patches, then the second.
    temperature
        Scale of the cosines, above 0.
    """
    n = len(projections) // 2
    views = functional.normalize(projections, dim=1)
    likeness = views @ views.T / temperature
    likeness = likeness.masked_fill(torch.eye(2 * n, dtype=torch.bool, device=views.device), -torch.inf)
    partner = torch.arange(2 * n, device=views.device).roll(n)
    both = functional.cross_entropy(likeness, partner, reduction="none")
    return 0.5 * (both[:n] + both[n:])
