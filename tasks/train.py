"""train: patches to a variational autoencoder, tracked and registered in MLflow, kept in the store."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from prefect import task
from prefect.cache_policies import NO_CACHE

from storage import layout
from storage.arrays import Digests, digest
from storage.objects import Objects, open_store
from tasks import announce
from tasks.dataset import data_digest, held_out, read_cells, read_patches, summary
from tasks.kernels.pictures import loss_curves, reconstructions
from tasks.models.checkpoints import load_model, load_state, save_model, save_state
from tasks.models.embedding import reconstruct
from tasks.models.training import TrainedVAE, TrainingPlan, train_vae
from tasks.models.vae import ConvVAE, LatentMeans, VAEConfig
from tasks.settings import Resources, TrainSettings, question
from tasks.stage import Handle, Outcome, Question, folder, produce, references
from tasks.tracking import Run, tracked_run

ALGORITHM = 1
EXAMPLES = 12


@dataclass(frozen=True)
class Tracking:
    """Where runs are remembered: MLflow's address, the experiment, and the page of the Prefect flow run."""

    uri: str
    experiment: str
    flow_run_url: str = ""

    @property
    def tags(self) -> dict[str, str]:
        """Words every run bears, the way back to Prefect among them."""
        note = f"Started by [this Prefect flow run]({self.flow_run_url})." if self.flow_run_url else ""
        return {"prefect.flow_run_url": self.flow_run_url, "mlflow.note.content": note}


@task(task_run_name="train {tracking.experiment}", cache_policy=NO_CACHE)
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
    hold = held_out(cells, settings.validation_share, settings.seed)
    ncyx = read_patches(objects, patches, resources)
    with tracked_run(
        tracking.experiment,
        f"train {key[:8]}",
        tracking_uri=tracking.uri,
        tags=tracking.tags | {"chipcyte.key": key},
    ) as run:
        run.params({"train": question(settings), "data": summary(cells, hold)})
        run.dataset(tracking.experiment, data_digest(patches), objects.url, {"cells": len(cells)})
        trained = _fit(objects, key, ncyx, hold, settings, run)
        written = _keep(objects, key, trained)
        _show(run, trained, ncyx[hold] if hold.any() else ncyx)
        logged = run.model(
            LatentMeans(trained.model), ncyx[:2], name="vae", registered_name=registry_name(tracking)
        )
    last = trained.history[-1]
    return Outcome(
        path=folder("model", key, "model.pt"),
        written=written,
        counts={name: int(value) for name, value in summary(cells, hold).items()},
        metrics={name: round(value, 6) for name, value in last.items() if np.isfinite(value)},
        details={
            "run_id": run.id,
            "run_url": run.url,
            "tracking_uri": tracking.uri,
            "model_uri": logged.uri,
            "model_version": logged.version,
            "registered_name": registry_name(tracking),
        },
    )


def registry_name(tracking: Tracking) -> str:
    """Return the name under which an experiment's models are registered."""
    return f"chipcyte-vae-{tracking.experiment}".replace("/", "-").replace(":", "-")


def _fit(
    objects: Objects,
    key: str,
    ncyx: NDArray[np.float32],
    hold: NDArray[np.bool_],
    settings: TrainSettings,
    run: Run,
) -> TrainedVAE:
    """Train, and after each epoch keep what a killed run needs to go on."""
    state_path = f"{layout.progress_folder('model', key)}/state.pt"
    tell = announce.listener("train")

    def on_epoch(metrics: dict[str, float]) -> None:
        epoch = int(metrics["epoch"])
        run.metrics({name: value for name, value in metrics.items() if name != "epoch"}, step=epoch)
        tell(epoch, settings.epochs)

    return train_vae(
        VAEConfig(
            in_channels=ncyx.shape[1],
            height_px=ncyx.shape[2],
            width_px=ncyx.shape[3],
            latent=settings.latent,
            widths=settings.widths,
        ),
        TrainingPlan(
            epochs=settings.epochs,
            batch_size=settings.batch_size,
            learning_rate=settings.learning_rate,
            loss=settings.loss,
            beta=settings.beta,
            seed=settings.seed,
        ),
        ncyx[~hold],
        ncyx[hold] if hold.any() else None,
        resume=load_state(objects.get(state_path)) if objects.exists(state_path) else None,
        on_epoch=on_epoch,
        on_checkpoint=lambda state: objects.put(state_path, save_state(state)),
    )


def _keep(objects: Objects, key: str, trained: TrainedVAE) -> Digests:
    """Write the network and its history into the store, which needs no MLflow to be read."""
    files = {
        "model.pt": save_model(trained.model),
        "history.json": json.dumps(trained.history, indent=1).encode(),
    }
    for name, content in files.items():
        objects.put(folder("model", key, name), content)
    return {folder("model", key, name): digest(content) for name, content in files.items()}


def read_model(objects: Objects, model: Handle) -> ConvVAE:
    """Return the network of a model artifact."""
    return load_model(objects.get(folder("model", model.key, "model.pt")))


def read_history(objects: Objects, model: Handle) -> list[dict[str, float]]:
    """Return the losses of each epoch."""
    history: list[dict[str, float]] = json.loads(objects.get(folder("model", model.key, "history.json")))
    return history


def loss_panels(history: list[dict[str, float]]) -> dict[str, dict[str, list[float]]]:
    """Return the history as panels of lines: a panel for each part of the loss."""
    panels: dict[str, dict[str, list[float]]] = {}
    for kind in ("total", "reconstruction", "divergence"):
        lines = {
            part: [epoch.get(f"{part}_{kind}", np.nan) for epoch in history]
            for part in ("train", "validation")
        }
        panels[kind] = {part: values for part, values in lines.items() if np.isfinite(values).any()}
    return panels


def _show(run: Run, trained: TrainedVAE, ncyx: NDArray[Any]) -> None:
    few = ncyx[np.linspace(0, len(ncyx) - 1, min(EXAMPLES, len(ncyx))).astype(int)]
    run.picture("reconstructions", reconstructions(few, reconstruct(trained.model, few)))
    run.picture("losses", loss_curves(loss_panels(trained.history)))
