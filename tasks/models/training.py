"""The training loop of the variational autoencoders: seeded, resumable after any epoch, silent."""

import copy
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from tasks.models.alarms import ACTIVE_NATS, EpochMetrics
from tasks.models.augmentation import augmented
from tasks.models.batches import Batch, Float32Array, Loader, PatchSet, PatchSource, as_set, epoch_rng
from tasks.models.checkpoints import TrainingState, check_resumable, state_of
from tasks.models.device import choose_device, multiplying_in, reproducible_kernels
from tasks.models.encoding import encode_patches, encode_views, on_device
from tasks.models.losses import VAELoss, condition_dependence, normal_divergence, vae_loss
from tasks.models.plan import TrainingPlan
from tasks.models.vae import VAE, VAEConfig, seeded_vae

VALIDATION_EPOCH = 0
"""Validation draws its latents as this epoch does, so that its loss changes with the weights alone."""
PARTS = ("total", "reconstruction", "divergence", "dependence", "views")
MIXTURE_PATCHES = 20_000
"""Patches whose latents a mixture prior starts from, at most."""


class TrainingDivergedError(ArithmeticError):
    """The loss or a weight is no longer a finite number."""


@dataclass(frozen=True)
class TrainedVAE:
    """A network on the CPU and how it came to be."""

    model: VAE
    history: list[EpochMetrics]
    """One record an epoch; during a beta warm-up their totals weigh the divergence differently."""
    busy_share: float = 1.0
    """Share of the time, 0 to 1, in which the loop did not wait for patches to be read."""


def train_vae(
    model_config: VAEConfig,
    plan: TrainingPlan,
    train: PatchSource | PatchSet,
    validation: PatchSource | PatchSet | None = None,
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
    train, validation
        Patches, read a few shards at a time; validation patches are not augmented.
    device
        Where to train; None takes the best there is.
    resume
        State of an earlier, killed training of the same model and plan; `epochs` alone may differ.
    on_epoch
        Called after each epoch with its metrics.
    on_checkpoint
        Called after each epoch with all that `resume` needs, a snapshot.

    Returns
    -------
    TrainedVAE
        The network and the metrics of all epochs, those before the resumption included.

    Raises
    ------
    ValueError
        Patches of another shape or outside [0, 1], no training patches, or a state of another training.
    TrainingDivergedError
        The loss or a weight is not finite; the text names the epoch.
    """
    sets = {"training": as_set(train)} | ({} if validation is None else {"validation": as_set(validation)})
    _check(model_config, plan, sets)
    run = _start(model_config, plan, device or choose_device(), sets, resume)
    began = time.perf_counter()
    with reproducible_kernels(run.device):
        for epoch in range(len(run.history) + 1, plan.epochs + 1):
            run.history.append(_epoch(run, epoch))
            if on_epoch is not None:
                on_epoch(dict(run.history[-1]))
            if on_checkpoint is not None:
                on_checkpoint(state_of(run.model, plan, run.optimizer, run.history))
    waited = sum(loader.waited_s for loader in run.loaders.values()) / (time.perf_counter() - began + 1e-9)
    return TrainedVAE(run.model.to("cpu"), run.history, busy_share=1.0 - waited)


@dataclass
class _Run:
    plan: TrainingPlan
    model: VAE
    optimizer: torch.optim.Adam
    device: torch.device
    loaders: dict[str, Loader]
    history: list[EpochMetrics] = field(default_factory=list)


@dataclass
class _Sums:
    """Sums over the patches of an epoch; kept as tensors, for a number a step would stop the device."""

    patches: int = 0
    parts: dict[str, Tensor] = field(default_factory=dict)

    def add(self, loss: VAELoss) -> None:
        count = len(loss.total)
        parts = {name: getattr(loss, name).sum() for name in PARTS}
        parts["latents"] = loss.divergence_per_latent * count
        parts["channels"] = loss.reconstruction_per_channel * count
        for name, part in parts.items():
            self.parts[name] = self.parts.get(name, torch.zeros_like(part)) + part.detach()
        self.patches += count

    def means(self, prefix: str) -> EpochMetrics:
        parts = {name: part.cpu().double() / self.patches for name, part in self.parts.items()}
        latents, channels = parts.pop("latents"), parts.pop("channels")
        found = {name: part.item() for name, part in parts.items()}
        found["active_latents"] = float((latents > ACTIVE_NATS).sum())
        found |= {f"divergence_latent_{i}": nats for i, nats in enumerate(latents.tolist())}
        found |= {f"reconstruction_channel_{i}": nats for i, nats in enumerate(channels.tolist())}
        return {f"{prefix}_{name}": value for name, value in found.items()}


def _epoch(run: _Run, epoch: int) -> EpochMetrics:
    metrics = {"epoch": float(epoch), "beta": run.plan.beta_at(epoch)}
    if run.model.prior is not None and epoch == run.plan.pretrain_epochs + 1:
        run.model.prior.start_from(_few_latents(run), run.plan.seed)
    metrics |= _train_epoch(run, epoch)
    if "validation" in run.loaders:
        metrics |= _validate(run, epoch)
    return metrics


def _train_epoch(run: _Run, epoch: int) -> EpochMetrics:
    plan, rng, sums = run.plan, epoch_rng(run.plan.seed, epoch), _Sums()
    finite = torch.ones((), dtype=torch.bool, device=run.device)
    for batch in run.loaders["training"].shuffled(rng):
        _set_step(run, epoch - 1 + sums.patches / len(run.loaders["training"].patches))
        loss = _loss(run, _changed(batch, plan, rng), rng, epoch)
        sums.add(loss)
        total = loss.total + plan.freeing * loss.dependence
        total = (total if plan.views is None else total + plan.views.weight * loss.views).mean()
        run.optimizer.zero_grad(set_to_none=True)
        total.backward()  # type: ignore[no-untyped-call]
        run.optimizer.step()
        finite &= total.detach().isfinite()
    _require_finite(finite, "loss", epoch, plan)
    for weights in run.model.parameters():  # the last step has no loss after it
        _require_finite(weights.isfinite().all(), "weights", epoch, plan)
    return sums.means("train")


def _validate(run: _Run, epoch: int) -> EpochMetrics:
    rng, sums = epoch_rng(run.plan.seed, VALIDATION_EPOCH), _Sums()
    with torch.no_grad():
        for batch in run.loaders["validation"].ordered():
            sums.add(_loss(run, batch, rng, epoch))
    return sums.means("validation")


def _loss(run: _Run, batch: Batch, rng: np.random.Generator, epoch: int) -> VAELoss:
    model, plan = run.model, run.plan
    patches = on_device(run.device, batch.ncyx)
    codes = None if batch.codes is None else torch.from_numpy(batch.codes).to(run.device)
    with multiplying_in(plan.precision, run.device):
        if plan.views is None:
            encoded = encode_patches(model, patches, rng if epoch > plan.pretrain_epochs else None)
        else:
            encoded = encode_views(model, batch.ncyx, plan.views, rng, run.device)
        logits = model.decode(encoded.latents, codes)
    if model.prior is None or epoch <= plan.pretrain_epochs:
        divergence = normal_divergence(encoded.mean, encoded.log_variance)
    else:
        divergence = model.prior.divergence(encoded.mean, encoded.log_variance, encoded.latents)
    return vae_loss(
        logits.float(),
        patches,
        divergence,
        kind=plan.loss,
        beta=plan.beta_at(epoch),
        free_nats=plan.free_nats,
        dependence=None if codes is None else condition_dependence(encoded.mean, codes),
        views=encoded.disagreement,
    )


def _changed(batch: Batch, plan: TrainingPlan, rng: np.random.Generator) -> Batch:
    return Batch(augmented(batch.ncyx, plan.augmentation, rng), batch.codes)


def _set_step(run: _Run, epochs_done: float) -> None:
    for group in run.optimizer.param_groups:
        group["lr"] = run.plan.learning_rate_at(epochs_done / run.plan.epochs)


def _few_latents(run: _Run) -> Float32Array:
    """Latent means of some training patches, drawn evenly."""
    loader = run.loaders["training"]
    step = max(1, len(loader.patches) // MIXTURE_PATCHES)
    with torch.no_grad():
        means = [
            run.model.encode(on_device(run.device, batch.ncyx[::step]))[0].cpu().numpy()
            for batch in loader.ordered()
        ]
    return np.concatenate(means)


def _require_finite(finite: Tensor, what: str, epoch: int, plan: TrainingPlan) -> None:
    if not finite:
        raise TrainingDivergedError(
            f"expected finite {what}, found others in epoch {epoch} of {plan.epochs}: lower "
            f"learning_rate (now {plan.learning_rate}) or beta (now {plan.beta})"
        )


def _check(config: VAEConfig, plan: TrainingPlan, sets: dict[str, PatchSet]) -> None:
    for purpose, patches in sets.items():
        if len(patches.source.shape) != 4 or patches.shape_cyx != config.shape_cyx or len(patches) < 1:
            raise ValueError(
                f"expected one {purpose} patch or more, (n, {', '.join(map(str, config.shape_cyx))}), found "
                f"{len(patches)} of {tuple(patches.source.shape)}: extract patches first, or change the "
                "model's config"
            )
        if patches.codes is not None and patches.codes.max() >= max(config.conditions, 1):
            raise ValueError(
                f"expected conditions below {config.conditions}, found {patches.codes.max()} among the "
                f"{purpose} patches: raise the config's conditions"
            )
    if config.clusters and not 1 <= plan.pretrain_epochs < plan.epochs:
        raise ValueError(
            f"expected a mixture prior to start after 1 to {plan.epochs - 1} epochs of pretraining, found "
            f"{plan.pretrain_epochs}: change pretrain_epochs or epochs"
        )
    if (plan.views is None) != (config.projection == 0) or (plan.views and config.clusters):
        raise ValueError(
            "expected views with a projection and a normal prior, or neither views nor projection, found "
            f"views {plan.views}, projection {config.projection}, clusters {config.clusters}: change them"
        )
    if plan.freeing and not config.conditions:
        raise ValueError("expected conditions to free the latents of, found none: set freeing to 0")


def _start(
    config: VAEConfig,
    plan: TrainingPlan,
    device: torch.device,
    sets: dict[str, PatchSet],
    resume: TrainingState | None,
) -> _Run:
    model = seeded_vae(config, seed=plan.seed).to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=plan.learning_rate, foreach=True)
    loaders = {purpose: Loader(patches, plan.batch_size) for purpose, patches in sets.items()}
    run = _Run(plan, model, optimizer, device, loaders)
    if resume is not None:
        check_resumable(config, plan, resume)
        model.load_state_dict(resume["model"])
        run.optimizer.load_state_dict(copy.deepcopy(resume["optimizer"]))
        run.history = [dict(metrics) for metrics in resume["history"]]
    return run
