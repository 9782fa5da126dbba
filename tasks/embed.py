"""embed: patches and a model to latent means, a row for each cell; of VaDE its clusters' shares too."""

from collections.abc import Sequence

from prefect import task
from prefect.cache_policies import NO_CACHE

from storage import tables
from storage.arrays import Digests
from storage.objects import Objects, open_store
from tasks.dataset import held_out, patch_source, read_cells
from tasks.models.embedding import cluster_shares
from tasks.models.embedding import embed as embed_patches
from tasks.passing import may_pass
from tasks.settings import EmbedSettings, Resources, TrainSettings, question
from tasks.stage import Handle, Outcome, Question, folder, produce, references
from tasks.train import read_model

ALGORITHM = 2


@task(task_run_name="embed {model.name}", cache_policy=NO_CACHE, retry_condition_fn=may_pass)
def embed(
    *,
    patches: Sequence[Handle],
    model: Handle,
    store: str,
    settings: EmbedSettings,
    training: TrainSettings,
    resources: Resources,
) -> Handle:
    """Encode every patch. `training` says which cells the model has not seen."""
    objects = open_store(store)
    asked = Question(
        "embedding", model.name, (*references(patches), *references([model])), question(settings), ALGORITHM
    )

    def compute(key: str) -> Outcome:
        return _embed(objects, key, patches, model, settings, training, resources)

    return produce(objects, asked, compute)


def _embed(
    objects: Objects,
    key: str,
    patches: Sequence[Handle],
    model: Handle,
    settings: EmbedSettings,
    training: TrainSettings,
    resources: Resources,
) -> Outcome:
    cells = read_cells(objects, patches)
    source = patch_source(objects, patches, resources)
    network = read_model(objects, model)
    latent = embed_patches(network, source, settings.batch_size)
    matrices = {"latent": latent}
    if network.prior is not None:
        matrices["responsibilities"] = cluster_shares(network, latent)
    cells["held_out"] = held_out(cells, training)
    written: Digests = {}
    path = folder("embedding", key, "cells.zarr")
    tables.write_table(
        objects,
        path,
        names=list(cells.index),
        columns={name: cells[name].to_numpy() for name in cells.columns},
        matrices=matrices,
        written=written,
    )
    return Outcome(path=path, written=written, counts={"cells": len(cells), "latent": latent.shape[1]})
