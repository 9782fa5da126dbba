"""train: patches to a variational autoencoder, tracked and registered in MLflow, kept in the store."""

import json
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from prefect import task
from prefect.cache_policies import NO_CACHE

from storage import layout, records
from storage.arrays import Digests, digest
from storage.objects import Objects, open_store
from tasks import announce
from tasks.dataset import data_digest, patch_source, read_cells, summary, uses_of
from tasks.kernels.pictures import loss_curves, reconstructions
from tasks.models.alarms import EpochMetrics, alarms
from tasks.models.augmentation import Augmentation
from tasks.models.batches import PatchSet, unit_range
from tasks.models.checkpoints import load_model, load_state, save_model, save_state
from tasks.models.device import choose_device, fast_precision
from tasks.models.embedding import embed as embed_patches
from tasks.models.embedding import reconstruct
from tasks.models.plan import TrainingPlan
from tasks.models.training import TrainedVAE, train_vae
from tasks.models.vae import VAE, LatentMeans, VAEConfig
from tasks.models.views import Views
from tasks.passing import may_pass
from tasks.settings import Resources, TrainSettings, question
from tasks.stage import Handle, Outcome, Question, folder, produce, references
from tasks.tracking import KEY, ModelReference, Run, tracked_run
from tasks.tracking import Tracking as Tracking
from tasks.train_settings import MixturePrior, NoCondition, PairedViews, RefinedCondition
from tasks.traversing import traversal_picture

ALGORITHM = 2
EXAMPLES = 12
TRAVERSED = 1000  # cells whose latents say how far a traversal goes
LEARNING = (
    "epochs", "batch_size", "learning_rate", "schedule", "loss", "beta", "beta_warmup_epochs",
    "beta_cycle_epochs", "free_nats", "seed",
)  # fmt: skip  # settings that go into the plan as they are


@task(task_run_name="train {tracking.experiment}", cache_policy=NO_CACHE, retry_condition_fn=may_pass)
def train(
    *,
    patches: Sequence[Handle],
    store: str,
    settings: TrainSettings,
    resources: Resources,
    tracking: Tracking,
) -> Handle:
    """Train a variational autoencoder on the patches of all acquisitions."""
    objects = open_store(store)
    asked = Question("model", tracking.experiment, references(patches), question(settings), ALGORITHM)
    return produce(objects, asked, lambda key: _train(objects, key, patches, settings, resources, tracking))


def _train(
    objects: Objects,
    key: str,
    patches: Sequence[Handle],
    settings: TrainSettings,
    resources: Resources,
    tracking: Tracking,
) -> Outcome:
    cells = read_cells(objects, patches)
    uses = uses_of(cells, settings)
    codes, names = _condition_codes(cells, uses, settings)
    source = patch_source(objects, patches, resources)
    sets = {
        use: PatchSet(source, np.flatnonzero(uses == use), codes)
        for use in ("train", "validation")
        if use in uses
    }
    with tracking.run(objects, "train", key) as run:
        run.params({"train": question(settings), "data": summary(cells, uses)})
        run.dataset(tracking.experiment, data_digest(patches), objects.url, {"cells": len(cells)})
        trained = _fit(objects, key, sets, settings, names, run)
        run.metrics({"trainer_busy_share": trained.busy_share})
        written = _keep(objects, key, trained)
        _show(run, trained, sets.get("validation", sets["train"]))
        logged = _register(run, trained.model, unit_range(source[:2]), tracking, key)
    last = trained.history[-1]
    return Outcome(
        path=folder("model", key, "model.pt"),
        written=written,
        counts={name: int(value) for name, value in summary(cells, uses).items()},
        metrics={name: round(value, 6) for name, value in last.items() if np.isfinite(value)},
        details={
            "run_id": run.id,
            "run_url": run.url,
            "tracking_uri": tracking.uri,
            "model_uri": logged.uri,
            "model_version": logged.version,
            "registered_name": registry_name(tracking),
            "conditions": names,
        },
    )


def _register(
    run: Run, model: VAE, example: NDArray[np.float32], tracking: Tracking, key: str
) -> ModelReference:
    return run.model(
        LatentMeans(model), example, name="vae", registered_name=registry_name(tracking), tags={KEY: key}
    )


def register_again(objects: Objects, model: Handle, tracking: Tracking) -> int:
    """Register a model of the store with an MLflow that has lost it, or never knew it; return the version."""
    network = read_model(objects, model)
    example = np.zeros((2, *network.config.shape_cyx), np.float32)
    name, tags = f"train {model.key[:8]} again", tracking.tags | {KEY: model.key}
    with tracked_run(tracking.experiment, name, tracking_uri=tracking.uri, tags=tags) as run:
        version = _register(run, network, example, tracking, model.key).version
    assert version is not None  # without a spool a lost server is an error
    return version


def registry_name(tracking: Tracking) -> str:
    """Return the name under which an experiment's models are registered."""
    return f"chipcyte-vae-{tracking.experiment}".replace("/", "-").replace(":", "-")


def _fit(
    objects: Objects,
    key: str,
    sets: dict[str, PatchSet],
    settings: TrainSettings,
    names: Sequence[str],
    run: Run,
) -> TrainedVAE:
    """Train, and after each epoch keep what a killed run needs to go on."""
    state_path = f"{layout.progress_folder('model', key)}/state.pt"
    tell, history = announce.listener("train"), list[EpochMetrics]()

    def on_epoch(metrics: EpochMetrics) -> None:
        history.append(metrics)
        epoch = int(metrics["epoch"])
        _log_epoch(run, metrics)
        for alarm in alarms(history, settings.latent):
            announce.warn(alarm)
            run.tag("chipcyte.alarm", alarm)
        tell(epoch, settings.epochs)

    resume = load_state(objects.get(state_path)) if objects.exists(state_path) else None
    for metrics in (
        resume["history"] if resume else ()
    ):  # those that the killed run logged, in a run of its own
        _log_epoch(run, metrics)
    return train_vae(
        vae_config(settings, sets["train"].shape_cyx, conditions=len(names)),
        training_plan(settings),
        sets["train"],
        sets.get("validation"),
        resume=resume,
        on_epoch=on_epoch,
        on_checkpoint=lambda state: objects.put(state_path, save_state(state)),
    )


def _log_epoch(run: Run, metrics: EpochMetrics) -> None:
    numbers = {name: value for name, value in metrics.items() if name != "epoch"}
    run.metrics(numbers, step=int(metrics["epoch"]))


def vae_config(settings: TrainSettings, shape_cyx: Sequence[int], conditions: int) -> VAEConfig:
    """Return what the settings say about the network's shape, for patches and conditions as they are."""
    condition, prior = settings.condition, settings.prior
    channels, height_px, width_px = shape_cyx
    shape = VAEConfig(
        channels,
        height_px,
        width_px,
        latent=settings.latent,
        widths=settings.body.widths,
        body=settings.body.kind,
        clusters=prior.clusters if isinstance(prior, MixturePrior) else 0,
        projection=0 if settings.views is None else settings.views.projection,
    )
    if isinstance(condition, NoCondition):
        return shape
    return replace(
        shape,
        joining=condition.kind,
        conditions=conditions,
        embedding=condition.embedding,
        alpha=condition.alpha if isinstance(condition, RefinedCondition) else shape.alpha,
    )


def training_plan(settings: TrainSettings) -> TrainingPlan:
    """Return what the settings say about learning."""
    prior, precision = settings.prior, settings.precision
    return TrainingPlan(
        **{name: getattr(settings, name) for name in LEARNING},
        freeing=0.0 if isinstance(settings.condition, NoCondition) else settings.condition.freeing,
        pretrain_epochs=prior.pretrain_epochs if isinstance(prior, MixturePrior) else 0,
        augmentation=Augmentation(**settings.augmentation.model_dump()),
        views=None if settings.views is None else _views(settings.views),
        precision=fast_precision(choose_device()) if precision == "auto" else precision,
    )


def _views(settings: PairedViews) -> Views:
    how = Augmentation(**settings.augmentation.model_dump())
    return Views(how, weight=settings.weight, temperature=settings.temperature)


def _condition_codes(
    cells: pd.DataFrame, uses: NDArray[np.str_], settings: TrainSettings
) -> tuple[NDArray[np.int64] | None, list[str]]:
    """Return the condition of each cell as a number, and their names; -1 where training never sees it."""
    if isinstance(settings.condition, NoCondition):
        return None, []
    column = cells[settings.condition.by].astype(str)
    names = sorted(set(column[uses == "train"]))
    return pd.Categorical(column, categories=names).codes.astype(np.int64), names


def _keep(objects: Objects, key: str, trained: TrainedVAE) -> Digests:
    """Write the network and its history into the store, which needs no MLflow to be read."""
    files = {
        "model.pt": save_model(trained.model),
        "history.json": json.dumps(trained.history, indent=1).encode(),
    }
    for name, content in files.items():
        objects.put(folder("model", key, name), content)
    return {folder("model", key, name): digest(content) for name, content in files.items()}


def read_model(objects: Objects, model: Handle) -> VAE:
    """Return the network of a model artifact."""
    return load_model(objects.get(folder("model", model.key, "model.pt")))


def read_history(objects: Objects, model: Handle) -> list[dict[str, float]]:
    """Return the losses of each epoch."""
    history: list[dict[str, float]] = json.loads(objects.get(folder("model", model.key, "history.json")))
    return history


def alarms_of(objects: Objects, model: Handle) -> list[str]:
    """Return what is wrong after the last epoch, such as a posterior collapse; none if all is well."""
    latent = int(records.read(objects, "model", model.key).settings["latent"])
    return alarms(read_history(objects, model), latent)


def loss_panels(history: list[dict[str, float]]) -> dict[str, dict[str, list[float]]]:
    """Return the history as panels of lines: a panel for each part of the loss."""
    panels: dict[str, dict[str, list[float]]] = {}
    for kind in ("total", "reconstruction", "divergence", "views"):
        lines = {
            part: [epoch.get(f"{part}_{kind}", np.nan) for epoch in history]
            for part in ("train", "validation")
        }
        panels[kind] = {part: values for part, values in lines.items() if np.isfinite(values).any()}
    if not any(any(values) for values in panels["views"].values()):
        del panels["views"]
    return panels


def _show(run: Run, trained: TrainedVAE, patches: PatchSet) -> None:
    chosen = _few(patches, EXAMPLES)
    shown = unit_range(np.asarray(chosen.source[chosen.rows]))
    run.picture("reconstructions", reconstructions(shown, reconstruct(trained.model, chosen)))
    latent = embed_patches(trained.model, _few(patches, TRAVERSED))
    run.picture("traversals", traversal_picture(trained.model, latent))
    run.picture("losses", loss_curves(loss_panels(trained.history)))


def _few(patches: PatchSet, most: int) -> PatchSet:
    """Some of the patches, evenly drawn."""
    few = np.unique(np.linspace(0, len(patches) - 1, min(most, len(patches))).astype(np.int64))
    rows = few if patches.rows is None else patches.rows[few]
    return PatchSet(patches.source, rows, patches.codes)
