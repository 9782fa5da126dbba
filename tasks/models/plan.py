"""How a variational autoencoder learns: all that decides its weights but patches and network."""

import math
from dataclasses import dataclass, field
from typing import Literal, get_args

from tasks.models.augmentation import Augmentation
from tasks.models.losses import Reconstruction
from tasks.models.views import Views

Precision = Literal["float32", "bfloat16"]
Schedule = Literal["constant", "one-cycle"]
WARM_SHARE = 0.2
LEAST_SHARE = 0.01


@dataclass(frozen=True)
class TrainingPlan:
    """How the weights are found; equal plans, data, machine and number of threads give equal weights."""

    epochs: int = 20
    """Passes over the patches, those of the pretraining included."""
    batch_size: int = 64
    """Patches in a step."""
    learning_rate: float = 1e-3
    """Largest step of Adam (Kingma and Ba, 2015)."""
    schedule: Schedule = "constant"
    """Step over the epochs: the same, or "one-cycle": up for a fifth, then down by a cosine (Smith, 2018)."""
    loss: Reconstruction = "bce"
    """Misfit of a pixel, "bce" or "mse"; see `vae_loss`."""
    beta: float = 1.0
    """Weight of the divergence in the loss."""
    beta_warmup_epochs: int = 0
    """Epochs in which that weight still rises linearly; holds off collapse (Bowman et al., 2016)."""
    beta_cycle_epochs: int = 0
    """Length of a cycle after which the warm-up starts again (Fu et al., 2019); 0: it happens once."""
    free_nats: float = 0.0
    """Divergence of each latent dimension that costs nothing; see `Divergence.weighed`."""
    pretrain_epochs: int = 0
    """First epochs in which reconstruction alone counts and nothing is drawn; a mixture prior starts from the
    latents after them, so it needs 1 or more."""
    freeing: float = 0.0
    """Weight of `condition_dependence`, in nats a patch: how hard latents are freed of the condition."""
    augmentation: Augmentation = field(default_factory=lambda: Augmentation(flips=True))
    """How patches are changed each time they are shown."""
    views: Views | None = None
    """Latents from pairs of views instead of from reconstruction; needs a network with a projection."""
    precision: Precision = "float32"
    """Numbers in which layers multiply; weights and losses are float32 either way. "bfloat16" is faster where
    the processor has units for it (`fast_precision`), slower elsewhere."""
    seed: int = 0
    """Decides starting weights, order, augmentation and drawn latents."""

    def __post_init__(self) -> None:
        for name, words in (("loss", Reconstruction), ("precision", Precision), ("schedule", Schedule)):
            if getattr(self, name) not in get_args(words):
                raise ValueError(
                    f"expected a {name} out of {get_args(words)}, found {getattr(self, name)!r}: choose one"
                )
        least_of = {"epochs": 1, "batch_size": 1, "beta": 0, "beta_warmup_epochs": 0, "beta_cycle_epochs": 0}
        least_of |= {"free_nats": 0, "pretrain_epochs": 0, "freeing": 0}
        for name, least in (least_of | {"seed": 0}).items():
            if not least <= getattr(self, name) < math.inf:
                raise ValueError(f"expected {name} of {least} or more, found {getattr(self, name)}: raise it")
        if not 0 < self.learning_rate < math.inf:
            raise ValueError(f"expected a positive learning_rate, found {self.learning_rate}: try 0.001")

    def beta_at(self, epoch: int) -> float:
        """Weight of the divergence in an epoch (from 1)."""
        if epoch <= self.pretrain_epochs:
            return 0.0
        since = epoch - self.pretrain_epochs
        if self.beta_cycle_epochs:
            since = (since - 1) % self.beta_cycle_epochs + 1
        return self.beta * min(1.0, since / (self.beta_warmup_epochs + 1))

    def learning_rate_at(self, progress: float) -> float:
        """Step of Adam when a share of all epochs, 0 to 1, is done."""
        if self.schedule == "constant":
            return self.learning_rate
        if progress < WARM_SHARE:
            height = 0.5 - 0.5 * math.cos(math.pi * progress / WARM_SHARE)
        else:
            height = 0.5 + 0.5 * math.cos(math.pi * (progress - WARM_SHARE) / (1 - WARM_SHARE))
        return self.learning_rate * (LEAST_SHARE + (1 - LEAST_SHARE) * height)
