"""How the condition of a cell is joined to its latents before they are decoded."""

import torch
from torch import Tensor, nn


class _Join(nn.Module):
    """The learned embedding E of each condition."""

    def __init__(self, conditions: int, embedding: int) -> None:
        super().__init__()
        self.embeddings = nn.Parameter(torch.empty(conditions, embedding))

    def embedded(self, codes: Tensor) -> Tensor:
        """E (n, embedding) of codes (n,); for -1, a condition not known, the mean of all."""
        known = self.embeddings[codes.clamp(min=0)]
        return torch.where((codes >= 0)[:, None], known, self.embeddings.mean(0))


class PlainJoin(_Join):
    """Z' = (Z, E): E joined to Z as further numbers (Sohn, Lee and Yan, 2015)."""

    def forward(self, latents: Tensor, codes: Tensor) -> Tensor:
        """Joined vectors (n, latent + embedding)."""
        return torch.cat([latents, self.embedded(codes)], dim=1)


class RefinedJoin(_Join):
    """Z' = sigmoid(f(Z), g(E)) with f and g linear: `share` of the numbers are the condition's, in (0, 1).

    So neither side can drown the other by its scale, and the condition's say is fixed at share / latent.
    """

    def __init__(self, conditions: int, embedding: int, latent: int, share: int) -> None:
        super().__init__(conditions, embedding)
        self.of_latents = nn.Linear(latent, latent - share)
        self.of_condition = nn.Linear(embedding, share)

    def forward(self, latents: Tensor, codes: Tensor) -> Tensor:
        """Joined vectors (n, latent)."""
        parts = self.of_latents(latents), self.of_condition(self.embedded(codes))
        return torch.sigmoid(torch.cat(parts, dim=1))
