"""Variational autoencoders for patches of any size and number of channels."""

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional

from tasks.models.bodies import bottleneck_cyx, conv_decoder, conv_encoder, dense_decoder, dense_encoder
from tasks.models.conditions import PlainJoin, RefinedJoin
from tasks.models.mixture import MixturePrior
from tasks.models.views import projector

SMALLEST_SIDE_PX = 8
LOG_VARIANCE_BOUND = 10.0
Body = Literal["conv", "dense"]
Joining = Literal["none", "plain", "refined"]


@dataclass(frozen=True)
class VAEConfig:
    """What shapes the weights: two equal configs build networks whose weights are interchangeable."""

    in_channels: int
    """Channels of a patch (axis c)."""
    height_px: int
    """Rows of a patch (axis y), 8 or more."""
    width_px: int
    """Columns of a patch (axis x), 8 or more."""
    latent: int = 16
    """Numbers that describe one cell."""
    widths: tuple[int, ...] = (16, 32, 64)
    """"conv": feature maps after each halving of the patch; "dense": units of each hidden layer."""
    body: Body = "conv"
    """"conv": strided convolutions; "dense": every pixel to every unit."""
    joining: Joining = "none"
    """How the condition reaches the decoder: not at all, as further numbers, or "refined" (`RefinedJoin`)."""
    conditions: int = 0
    """Conditions told apart, numbered from 0; 0 where there is no joining."""
    embedding: int = 8
    """Numbers that stand for a condition, learned; only with a joining."""
    alpha: float = 4.0
    """"refined": 1 / alpha of the joined numbers are the condition's."""
    clusters: int = 0
    """Gaussians of the prior; 0 is the standard normal prior, more is VaDE's mixture."""
    projection: int = 0
    """Numbers in which two views of a patch are compared in training; 0: they never are."""

    def __post_init__(self) -> None:
        if min(self.height_px, self.width_px) < SMALLEST_SIDE_PX:
            raise ValueError(
                f"expected patches of {SMALLEST_SIDE_PX} px or more a side, found "
                f"{self.height_px} x {self.width_px}: extract larger patches"
            )
        least_of = {"in_channels": 1, "latent": 1, "embedding": 1, "clusters": 0, "projection": 0}
        found = {name: (getattr(self, name), least) for name, least in least_of.items()}
        found |= {f"widths[{i}]": (width, 1) for i, width in enumerate(self.widths)}
        for name, (count, least) in found.items():
            if count < least:
                raise ValueError(f"expected {name} of {least} or more, found {count}: raise it")
        if not self.widths:
            raise ValueError("expected one width or more, found none: give for example widths=(16, 32, 64)")
        for name, word, words in (("body", self.body, Body), ("joining", self.joining, Joining)):
            if word not in get_args(words):
                raise ValueError(f"expected a {name} out of {get_args(words)}, found {word!r}")
        self._check_conditions()

    def _check_conditions(self) -> None:
        if (self.joining == "none") != (self.conditions == 0) or self.conditions < 0:
            raise ValueError(
                f"expected conditions with a joining and none without, found {self.conditions} with "
                f"{self.joining!r}: set both or neither"
            )
        if self.joining == "refined" and not 1 <= self.condition_share < self.latent:
            raise ValueError(
                f"expected alpha to leave some of {self.latent} latents to the cell and some to the "
                f"condition, found {self.alpha}: choose one between 1 and {2 * self.latent}"
            )

    @property
    def shape_cyx(self) -> tuple[int, int, int]:
        """Shape of one patch."""
        return self.in_channels, self.height_px, self.width_px

    @property
    def condition_share(self) -> int:
        """Numbers of the refined joined vector that are the condition's: latent / alpha, rounded."""
        return round(self.latent / self.alpha) if self.alpha > 0 else 0

    @property
    def joined(self) -> int:
        """Numbers the decoder gets."""
        return self.latent + (self.embedding if self.joining == "plain" else 0)


class VAE(nn.Module):
    """Variational autoencoder (Kingma and Welling, 2014, arXiv:1312.6114), plain or conditional.

    The encoder sees the patch alone, so that cells of a condition that was never seen can be embedded too.
    The decoder gets the latents Z, joined with the embedding E of the condition where there is one (Sohn, Lee
    and Yan, 2015): what E says, Z need not say, and the divergence makes it costly to say it twice.

    There is no normalisation layer: the network does the same in training and in evaluation, an image's
    result does not depend on its neighbours in the batch, and an epoch on a CPU takes 0.6 times as long as
    with group normalisation. Weights are kept channels-last, which on a CPU is up to 1.4 times as fast again.

    Parameters
    ----------
    config
        Shape of the patches and of the network.
    """

    def __init__(self, config: VAEConfig) -> None:
        super().__init__()
        self.config = config
        shape, widths, conv = config.shape_cyx, config.widths, config.body == "conv"
        features = bottleneck_cyx(shape, widths).numel() if conv else widths[-1]
        self.encoder = conv_encoder(shape, widths) if conv else dense_encoder(shape, widths)
        self.to_posterior = nn.Linear(features, 2 * config.latent)
        self.join = _join(config)
        self.from_latent = nn.Linear(config.joined, features)
        self.decoder = conv_decoder(shape, widths) if conv else dense_decoder(shape, widths)
        self.prior = MixturePrior(config.clusters, config.latent) if config.clusters else None
        self.projector = projector(config.latent, config.projection) if config.projection else None
        self.to(memory_format=torch.channels_last)

    def features(self, ncyx: Tensor) -> Tensor:
        """What the encoder finds in patches (n, c, y, x), before it is boiled down to the posterior."""
        expected = self.config.shape_cyx
        if ncyx.ndim != 4 or tuple(ncyx.shape[1:]) != expected:
            raise ValueError(
                f"expected patches (n, {', '.join(map(str, expected))}), found {tuple(ncyx.shape)}: "
                "extract patches as for training, or train a model for this shape"
            )
        found: Tensor = self.encoder(ncyx)
        return found

    def posterior(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance, each float32 (n, latent), from `features`."""
        mean, raw = self.to_posterior(features).float().chunk(2, dim=1)
        return mean, LOG_VARIANCE_BOUND * torch.tanh(raw / LOG_VARIANCE_BOUND)

    def encode(self, ncyx: Tensor) -> tuple[Tensor, Tensor]:
        """Gaussian posterior of each patch.

        Parameters
        ----------
        ncyx
            float32 patches in [0, 1], shape (n, in_channels, height_px, width_px).

        Returns
        -------
        mean, log_variance
            Both float32 (n, latent). The log-variance lies within +-10, smoothly, so that the divergence
            cannot overflow and its gradient never dies at an edge.

        Raises
        ------
        ValueError
            The patches have another shape than the config says.
        """
        return self.posterior(self.features(ncyx))

    def joined(self, latents: Tensor, codes: Tensor | None = None) -> Tensor:
        """Z', what the decoder gets: latents (n, latent), with the condition where the network has one.

        `codes` are int64 (n,) from 0; -1, or None for all, is a condition that is not known, for which the
        mean of all embeddings stands.
        """
        if self.join is None:
            return latents
        if codes is None:
            codes = latents.new_full((len(latents),), -1, dtype=torch.int64)
        found: Tensor = self.join(latents, codes)
        return found

    def decode(self, latents: Tensor, codes: Tensor | None = None) -> Tensor:
        """Logits (n, c, y, x) of the patches that latents (n, latent) describe; codes as in `joined`."""
        logits: Tensor = self.decoder(functional.relu(self.from_latent(self.joined(latents, codes))))
        return logits

    def forward(self, ncyx: Tensor, codes: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Reconstruct patches through the posterior's mean; nothing is drawn, in training mode neither.

        Training draws its latents with `sample_latents` instead, from a seeded generator.

        Parameters
        ----------
        ncyx
            float32 patches in [0, 1], shape (n, in_channels, height_px, width_px).
        codes
            Condition of each patch, as in `joined`.

        Returns
        -------
        reconstruction, mean, log_variance
            Patches in [0, 1] of the input's shape, and the posterior, each (n, latent).
        """
        mean, log_variance = self.encode(ncyx)
        return torch.sigmoid(self.decode(mean, codes)), mean, log_variance


def sample_latents(mean: Tensor, log_variance: Tensor, noise: Tensor) -> Tensor:
    """Latents mean + exp(log_variance / 2) * noise, all (n, latent) (Kingma and Welling, 2014, 2.4)."""
    return mean + torch.exp(0.5 * log_variance) * noise


def seeded_vae(config: VAEConfig, *, seed: int) -> VAE:
    """Build a network on the CPU whose starting weights depend on `config` and `seed` alone.

    Weights follow Glorot and Bengio (2010), embeddings of conditions the standard normal; biases start at
    zero. Torch's global random state is neither read nor changed, so trainings in parallel threads do not
    disturb each other.
    """
    with torch.device("meta"):
        model = VAE(config)
    model.to_empty(device="cpu")
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        if parameter.ndim < 2:
            nn.init.zeros_(parameter)
        elif name == "join.embeddings":
            nn.init.normal_(parameter, generator=generator)
        else:
            nn.init.xavier_uniform_(parameter, generator=generator)
    return model


def _join(config: VAEConfig) -> PlainJoin | RefinedJoin | None:
    if config.joining == "plain":
        return PlainJoin(config.conditions, config.embedding)
    if config.joining == "refined":
        return RefinedJoin(config.conditions, config.embedding, config.latent, config.condition_share)
    return None


class LatentMeans(nn.Module):
    """The encoder alone, as others use a trained network: patches (n, c, y, x) in, means (n, latent) out."""

    def __init__(self, vae: VAE) -> None:
        super().__init__()
        self.vae = vae

    def forward(self, ncyx: Tensor) -> Tensor:
        """Return the latent means."""
        return self.vae.encode(ncyx)[0]
