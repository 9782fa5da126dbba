"""The training loop of the variational autoencoder: seeded, resumable after any epoch, silent."""

import copy
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import get_args

import numpy as np
import torch

from tasks.models.batches import (
    Float32Array,
    PatchSource,
    epoch_rng,
    ordered_rows,
    random_flips,
    read_patches,
    shuffled_rows,
)
from tasks.models.checkpoints import TrainingState, config_from
from tasks.models.device import choose_device, reproducible_kernels
from tasks.models.losses import Reconstruction, VAELoss, vae_loss
from tasks.models.vae import ConvVAE, VAEConfig, sample_latents, seeded_vae

VALIDATION_EPOCH = 0
"""Validation draws its latents as this epoch does, so that its loss changes with the weights alone."""
ACTIVE_NATS = 0.01
"""A latent dimension counts as active when its mean divergence exceeds this; none active means collapse."""

EpochMetrics = dict[str, float]
"""epoch (from 1), beta; with train_ and validation_ before: total, reconstruction and divergence (nats, means
over patches), active_latents."""


class TrainingDivergedError(ArithmeticError):
    """The loss or a weight is no longer a finite number."""


@dataclass(frozen=True)
class TrainingPlan:
    """How the weights are found; equal plans, data, machine and number of threads give equal weights."""

    epochs: int = 20
    """Passes over the patches."""
    batch_size: int = 64
    """Patches in a step."""
    learning_rate: float = 1e-3
    """Step of Adam (Kingma and Ba, 2015)."""
    loss: Reconstruction = "bce"
    """Misfit of a pixel, "bce" or "mse"; see `vae_loss`."""
    beta: float = 1.0
    """Weight of the divergence in the loss."""
    beta_warmup_epochs: int = 0
    """Epochs in which that weight still rises linearly; holds off collapse (Bowman et al., 2016)."""
    flips: bool = True
    """Flip patches up-down and left-right at random; both together are a turn by 180 degrees."""
    seed: int = 0
    """Decides starting weights, order, flips and drawn latents."""

    def __post_init__(self) -> None:
        if self.loss not in get_args(Reconstruction):
            raise ValueError(f"expected a loss out of {get_args(Reconstruction)}, found {self.loss!r}")
        least_of = {"epochs": 1, "batch_size": 1, "beta": 0, "beta_warmup_epochs": 0, "seed": 0}
        for name, least in least_of.items():
            if not least <= getattr(self, name) < math.inf:
                raise ValueError(f"expected {name} of {least} or more, found {getattr(self, name)}: raise it")
        if not 0 < self.learning_rate < math.inf:
            raise ValueError(f"expected a positive learning_rate, found {self.learning_rate}: try 0.001")

    def beta_at(self, epoch: int) -> float:
        """Weight of the divergence in an epoch (from 1)."""
        return self.beta * min(1.0, epoch / (self.beta_warmup_epochs + 1))


@dataclass(frozen=True)
class TrainedVAE:
    """A network on the CPU and how it came to be."""

    model: ConvVAE
    history: list[EpochMetrics]
    """One record an epoch; during a beta warm-up their totals weigh the divergence differently."""


def train_vae(
    model_config: VAEConfig,
    plan: TrainingPlan,
    train_ncyx: PatchSource,
    validation_ncyx: PatchSource | None = None,
    *,
    device: torch.device | None = None,
    resume: TrainingState | None = None,
    on_epoch: Callable[[EpochMetrics], None] | None = None,
    on_checkpoint: Callable[[TrainingState], None] | None = None,
) -> TrainedVAE:
    """Train a variational autoencoder on patches.

    Every random number comes from (seed, epoch), never from torch's or numpy's global state, so a training
    that was killed and resumed from its last state ends with the same weights as one that was not. Sums on a
    CPU are split over torch's threads: another number of threads, another machine or another device changes
    the last digits.

    Parameters
    ----------
    model_config
        Shape of patches and network.
    plan
        Epochs, step, loss, seed.
    train_ncyx, validation_ncyx
        Patches (n, c, y, x), float32 in [0, 1], read a batch at a time; validation patches are not flipped.
    device
        Where to compute; None chooses CUDA, MPS or the CPU.
    resume
        State of an earlier run with the same config and plan; only `epochs` may be larger.
    on_epoch
        Called with the metrics after each epoch.
    on_checkpoint
        Called after `on_epoch` with a state that later epochs leave alone.

    Returns
    -------
    TrainedVAE
        The network after the last epoch, and the metrics of all epochs, those before the resumption included.

    Raises
    ------
    ValueError
        Patches of another shape or outside [0, 1], no training patches, or a state of another training.
    TrainingDivergedError
        The loss or a weight is not finite; the text names the epoch.
    """
    _check_patches(model_config, train_ncyx, "training")
    if validation_ncyx is not None:
        _check_patches(model_config, validation_ncyx, "validation")
    run = _start(model_config, plan, device or choose_device(), resume)
    with reproducible_kernels(run.device):
        for epoch in range(len(run.history) + 1, plan.epochs + 1):
            run.history.append(_epoch(run, train_ncyx, validation_ncyx, epoch))
            if on_epoch is not None:
                on_epoch(dict(run.history[-1]))
            if on_checkpoint is not None:
                on_checkpoint(_state(run, epoch))
    return TrainedVAE(run.model.to("cpu"), run.history)


@dataclass
class _Run:
    plan: TrainingPlan
    model: ConvVAE
    optimizer: torch.optim.Adam
    device: torch.device
    history: list[EpochMetrics] = field(default_factory=list)


@dataclass
class _Sums:
    patches: int = 0
    parts: dict[str, float] = field(default_factory=dict)
    per_latent: torch.Tensor | float = 0.0

    def add(self, loss: VAELoss) -> None:
        for name in ("total", "reconstruction", "divergence"):
            self.parts[name] = self.parts.get(name, 0.0) + getattr(loss, name).sum().item()
        self.per_latent = self.per_latent + loss.divergence_per_latent.detach() * len(loss.total)
        self.patches += len(loss.total)

    def means(self, prefix: str) -> EpochMetrics:
        means = {f"{prefix}_{name}": total / self.patches for name, total in self.parts.items()}
        active = torch.as_tensor(self.per_latent) > ACTIVE_NATS * self.patches
        return {**means, f"{prefix}_active_latents": float(active.sum())}


def _epoch(
    run: _Run, train_ncyx: PatchSource, validation_ncyx: PatchSource | None, epoch: int
) -> EpochMetrics:
    metrics = {"epoch": float(epoch), "beta": run.plan.beta_at(epoch)}
    metrics |= _train_epoch(run, train_ncyx, epoch)
    if validation_ncyx is not None:
        metrics |= _validate(run, validation_ncyx, metrics["beta"])
    return metrics


def _train_epoch(run: _Run, train_ncyx: PatchSource, epoch: int) -> EpochMetrics:
    plan, rng, sums = run.plan, epoch_rng(run.plan.seed, epoch), _Sums()
    for rows in shuffled_rows(train_ncyx.shape[0], plan.batch_size, rng):
        ncyx = read_patches(train_ncyx, rows)
        loss = _loss(run, random_flips(ncyx, rng) if plan.flips else ncyx, rng, plan.beta_at(epoch))
        sums.add(loss)
        _require_finite(loss.total, "loss", epoch, plan)
        run.optimizer.zero_grad(set_to_none=True)
        loss.total.mean().backward()  # type: ignore[no-untyped-call]
        run.optimizer.step()
    for weights in run.model.parameters():  # the last step has no loss after it
        _require_finite(weights, "weights", epoch, plan)
    return sums.means("train")


def _validate(run: _Run, validation_ncyx: PatchSource, beta: float) -> EpochMetrics:
    rng, sums = epoch_rng(run.plan.seed, VALIDATION_EPOCH), _Sums()
    with torch.no_grad():
        for rows in ordered_rows(validation_ncyx.shape[0], run.plan.batch_size):
            sums.add(_loss(run, read_patches(validation_ncyx, rows), rng, beta))
    return sums.means("validation")


def _loss(run: _Run, ncyx: Float32Array, rng: np.random.Generator, beta: float) -> VAELoss:
    batch = torch.from_numpy(ncyx).to(run.device)
    mean, log_variance = run.model.encode(batch)
    noise = torch.from_numpy(rng.standard_normal(mean.shape, dtype=np.float32)).to(run.device)
    logits = run.model.decode(sample_latents(mean, log_variance, noise))
    return vae_loss(logits, batch, (mean, log_variance), kind=run.plan.loss, beta=beta)


def _require_finite(values: torch.Tensor, what: str, epoch: int, plan: TrainingPlan) -> None:
    if not torch.isfinite(values).all():
        raise TrainingDivergedError(
            f"expected finite {what}, found others in epoch {epoch} of {plan.epochs}: lower "
            f"learning_rate (now {plan.learning_rate}) or beta (now {plan.beta})"
        )


def _check_patches(config: VAEConfig, ncyx: PatchSource, purpose: str) -> None:
    expected = (config.in_channels, config.height_px, config.width_px)
    if len(ncyx.shape) != 4 or tuple(ncyx.shape[1:]) != expected or ncyx.shape[0] < 1:
        raise ValueError(
            f"expected one {purpose} patch or more, (n, {', '.join(map(str, expected))}), found "
            f"{tuple(ncyx.shape)}: extract patches first, or change the model's config"
        )


def _start(config: VAEConfig, plan: TrainingPlan, device: torch.device, resume: TrainingState | None) -> _Run:
    model = seeded_vae(config, seed=plan.seed).to(device)
    run = _Run(plan, model, torch.optim.Adam(model.parameters(), lr=plan.learning_rate), device)
    if resume is not None:
        _check_resumable(config, plan, resume)
        model.load_state_dict(resume["model"])
        run.optimizer.load_state_dict(copy.deepcopy(resume["optimizer"]))
        run.history = [dict(metrics) for metrics in resume["history"]]
    return run


def _check_resumable(config: VAEConfig, plan: TrainingPlan, state: TrainingState) -> None:
    wanted = {"model": asdict(config), **asdict(plan), "epochs": None}
    stored = {"model": asdict(config_from(state)), **state["plan"], "epochs": None}
    differing = [name for name in wanted if wanted[name] != stored.get(name)]
    if differing:
        raise ValueError(
            "expected a training state of the same model and plan, found other values of "
            f"{', '.join(differing)}: start without it, or use the settings it was made with ({stored})"
        )
    if state["epoch"] > plan.epochs:
        raise ValueError(
            f"expected a state of epoch {plan.epochs} or earlier, found epoch {state['epoch']}: raise epochs"
        )


def _state(run: _Run, epoch: int) -> TrainingState:
    state = {
        "config": asdict(run.model.config),
        "plan": asdict(run.plan),
        "epoch": epoch,
        "model": run.model.state_dict(),
        "optimizer": run.optimizer.state_dict(),
        "history": run.history,
    }
    return copy.deepcopy(state)  # state_dict gives views that the next step would change
