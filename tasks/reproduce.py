"""reproduce: the lab's study on MNIST and FashionMNIST, with the label and without it."""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from storage import layout, records
from storage.arrays import Digests, digest
from storage.idx import LabelledImages, read_split
from storage.objects import Objects
from tasks import announce
from tasks.kernels.clustering import Assignment, Clusters, fit_mixture
from tasks.kernels.even import fit_even
from tasks.kernels.pictures import confusion, loss_curves, scatter_2d
from tasks.kernels.pictures.sweeps import sweep_chart
from tasks.kernels.projection import Projection, fit_spectral, fit_umap, place_all
from tasks.kernels.scores import SHAPE_SCORES, cluster_scores
from tasks.kernels.upright import upright
from tasks.models.augmentation import Augmentation
from tasks.models.batches import PatchSet
from tasks.models.checkpoints import load_state, save_model, save_state
from tasks.models.device import choose_device
from tasks.models.embedding import embed, embed_joined
from tasks.models.selflabels import SelfLabelPlan, cluster_logits, learn_clusters, most_probable
from tasks.models.training import TrainedVAE, train_vae
from tasks.reproduce_settings import CLASSES, NOTES, ReproduceSettings
from tasks.settings import question
from tasks.stage import Handle, Outcome, Question, folder, produce, references
from tasks.tracking import KEY, TrackingError, tracked_run
from tasks.train import loss_panels, training_plan, vae_config

ALGORITHM = 1
SHOWN_POINTS = 4000
Float32s = NDArray[np.float32]


@dataclass(frozen=True)
class Split:
    """One part of the data, ready to be shown to a network."""

    patches: PatchSet
    labels: NDArray[np.uint8]


@dataclass(frozen=True)
class Found:
    """What was found in one part of the data."""

    latent: Float32s
    """(n, latent): what the network says of a picture alone."""
    clustered: Float32s
    """(n, d): the space in which clusters were sought: a map of the latents, or vectors themselves."""
    clusters: NDArray[np.int64]


def reproduce(objects: Objects, data: Path, settings: ReproduceSettings) -> Handle:
    """Make one row of the study's table, or find it where it was made before.

    A killed training goes on at the epoch in which it was killed.

    Raises
    ------
    InputError
        `data` does not hold the four IDX files.
    """
    images = {split: read_split(data, split) for split in ("train", "test")}
    asked = Question(
        "reproduction",
        f"{settings.dataset} {settings.protocol} latent {settings.train.latent}",
        (),
        question(settings) | {"data": _digest(images)},
        ALGORITHM,
    )
    return produce(objects, asked, lambda key: _reproduce(objects, key, images, settings))


def sweep(
    objects: Objects, data: Path, settings: ReproduceSettings, betas: Sequence[float]
) -> tuple[Handle, list[Handle]]:
    """Make a row for each beta and draw accuracy and silhouette of the test part over it."""
    rows = []
    for beta in sorted(betas):
        training = settings.train.model_copy(update={"beta": beta})
        rows.append(reproduce(objects, data, settings.model_copy(update={"train": training})))
    name = f"{settings.dataset} {settings.protocol} over beta"
    asked = Question("reproduction", name, references(rows), {"betas": sorted(betas)}, ALGORITHM)
    scores = {
        score: [row.metrics.get(f"test_{score}") or math.nan for row in rows]
        for score in ("accuracy", "silhouette")
    }

    def draw(key: str) -> Outcome:
        picture = sweep_chart(sorted(betas), scores, setting="beta", title=name)
        return Outcome(
            folder("reproduction", key, "sweep.png"),
            _put(objects, key, {"sweep.png": picture}),
            {"rows": len(rows)},
        )

    return produce(objects, asked, draw), rows


def track(objects: Objects, made: Handle, tracking_uri: str) -> str:
    """Remember a row in MLflow and return the run's page; "" where MLflow refuses.

    Nothing was waited for: the row is in the store already. What a lost MLflow cannot take waits there too.
    """
    record = records.read(objects, "reproduction", made.key)
    try:
        with tracked_run(
            "reproduce", made.name, tracking_uri=tracking_uri, tags={KEY: made.key}, spool=objects
        ) as run:
            run.params(record.settings)
            run.dataset(made.name, str(record.settings["data"]), objects.uri(record.path), made.counts)
            for epoch in json.loads(objects.get(folder("reproduction", made.key, "history.json"))):
                numbers = {name: value for name, value in epoch.items() if name != "epoch"}
                run.metrics(numbers, step=int(epoch["epoch"]))
            run.metrics(listed_names(made.metrics))
            run.tag("chipcyte.note", str(record.details["note"]))
            for name in objects.names(layout.artifact_folder("reproduction", made.key)):
                if name.endswith(".png"):
                    run.picture(Path(name).stem, objects.get(name))
            return run.url
    except TrackingError as error:
        announce.warn(f"{made.name}: not tracked, for {error}")
        return ""


def listed_names(metrics: Mapping[str, float | None]) -> dict[str, float | None]:
    """Return scores of both splits by the names of docs/reference/metrics.md; here shape is "clustered_"."""
    found: dict[str, float | None] = {}
    for name, value in metrics.items():
        split, _, score = name.partition("_")
        of_latent = score.startswith("latent_")
        space = "clustered_" if score.startswith(SHAPE_SCORES) and not of_latent else ""
        part = "held_out_" if split == "test" else f"{split}_"
        found[f"{part}{space}{score.removeprefix('latent_')}"] = value
    return found


def _digest(images: dict[str, LabelledImages]) -> str:
    content = hashlib.sha256()
    for part in images.values():
        content.update(part.nyx.tobytes())
        content.update(part.labels.tobytes())
    return content.hexdigest()


def _reproduce(
    objects: Objects, key: str, images: dict[str, LabelledImages], settings: ReproduceSettings
) -> Outcome:
    splits = {name: _prepared(part, settings) for name, part in images.items()}
    trained = _fit(objects, key, splits["train"], settings)
    found = _cluster(trained, splits, settings)
    scores = {
        f"{name}_{score}": value
        for name in splits
        for score, value in _scores(found[name], splits[name].labels).items()
    }
    files = {
        "model.pt": save_model(trained.model),
        "history.json": json.dumps(trained.history, indent=1).encode(),
        **_pictures(trained, found["test"], splits["test"].labels),
    }
    return Outcome(
        path=folder("reproduction", key, "model.pt"),
        written=_put(objects, key, files),
        counts={f"{name}_images": len(split.labels) for name, split in splits.items()},
        metrics={name: round(value, 6) if math.isfinite(value) else None for name, value in scores.items()},
        details={"note": NOTES[settings.protocol], "losses": trained.history[-1]},
    )


def _prepared(part: LabelledImages, settings: ReproduceSettings) -> Split:
    nyx, labels = part.nyx[: settings.images], part.labels[: settings.images]
    nyx = upright(nyx) if settings.upright else nyx
    codes = labels.astype(np.int64) if settings.protocol == "label-conditioned" else None
    return Split(PatchSet(nyx[:, None], codes=codes), labels)


def _fit(objects: Objects, key: str, split: Split, settings: ReproduceSettings) -> TrainedVAE:
    state_path = f"{layout.progress_folder('reproduction', key)}/state.pt"
    tell = announce.listener(f"{settings.dataset} {settings.protocol}")
    return train_vae(
        vae_config(settings.train, split.patches.shape_cyx, conditions=CLASSES),
        training_plan(settings.train),
        split.patches,
        resume=load_state(objects.get(state_path)) if objects.exists(state_path) else None,
        on_epoch=lambda metrics: tell(int(metrics["epoch"]), settings.train.epochs),
        on_checkpoint=lambda state: objects.put(state_path, save_state(state)),
    )


def _cluster(trained: TrainedVAE, splits: dict[str, Split], settings: ReproduceSettings) -> dict[str, Found]:
    """Fit everything to the training part alone; the test part is placed in what was fitted."""
    latent = {name: embed(trained.model, split.patches, 1000) for name, split in splits.items()}
    mapped = latent
    if settings.protocol == "label-conditioned":
        mapped = {name: embed_joined(trained.model, split.patches, 1000) for name, split in splits.items()}
    if settings.map_dimensions:
        mapped = _mapped(mapped, settings)
    fit = fit_even if settings.even else fit_mixture
    fitted: Clusters = fit(mapped["train"], CLASSES, seed=settings.train.seed)
    found = {name: fitted.assign(mapped[name]) for name in splits}
    clusters = {name: one.labels for name, one in found.items()}
    if settings.teach_epochs:
        logits = _taught(splits, found["train"], settings)
        clusters = {name: most_probable(one) for name, one in logits.items()}
    return {name: Found(latent[name], mapped[name], clusters[name]) for name in splits}


def _taught(splits: dict[str, Split], found: Assignment, settings: ReproduceSettings) -> dict[str, Float32s]:
    """Teach a network the sure clusters of the training part; return its logits for both parts."""
    plan = training_plan(settings.train)
    codes = np.where(found.probability >= settings.teach_from, found.labels, -1).astype(np.int64)
    net = learn_clusters(
        PatchSet(splits["train"].patches.source, codes=codes),
        SelfLabelPlan(
            CLASSES,
            epochs=settings.teach_epochs,
            augmentation=Augmentation(**settings.teach_augmentation.model_dump()),
            precision=plan.precision,
            seed=plan.seed,
        ),
        choose_device(),
    )
    return {name: cluster_logits(net, split.patches) for name, split in splits.items()}


def _mapped(spaces: dict[str, Float32s], settings: ReproduceSettings) -> dict[str, Float32s]:
    made = _map_of(spaces["train"], settings)
    return {"train": place_all(made, spaces["train"]), "test": made.place(spaces["test"])}


def _map_of(points: Float32s, settings: ReproduceSettings) -> Projection:
    seed, dimensions = settings.train.seed, settings.map_dimensions
    neighbours, most = settings.map_neighbours, settings.map_points
    if settings.map_kind == "spectral":
        return fit_spectral(
            points, seed=seed, dimensions=dimensions, n_neighbors=neighbours, most_points=most
        )
    return fit_umap(
        points, seed=seed, dimensions=dimensions, n_neighbors=neighbours, min_dist=0.0, most_points=most
    )


def _scores(found: Found, labels: NDArray[np.uint8]) -> dict[str, float]:
    """Score in the space clustered; the shape of the clusters in the latents too, named so."""
    truth = labels.astype(str)
    scores = cluster_scores(found.clustered, found.clusters, truth)
    shape = cluster_scores(found.latent, found.clusters)
    return scores | {f"latent_{name}": value for name, value in shape.items()}


def _pictures(trained: TrainedVAE, test: Found, labels: NDArray[np.uint8]) -> dict[str, bytes]:
    table = np.zeros((CLASSES, CLASSES), dtype=np.int64)
    np.add.at(table, (labels, test.clusters), 1)
    names = [str(i) for i in range(CLASSES)]
    pictures = {
        "losses.png": loss_curves(loss_panels(trained.history)),
        "confusion.png": confusion(table, names, names, row_axis="class", column_axis="cluster"),
    }
    if test.clustered.shape[1] == 2:
        few = slice(0, SHOWN_POINTS)
        pictures["map.png"] = scatter_2d(
            test.clustered[few], labels[few].astype(np.int64), title="Test images by class", legend=names
        )
    return pictures


def _put(objects: Objects, key: str, files: dict[str, bytes]) -> Digests:
    for name, content in files.items():
        objects.put(folder("reproduction", key, name), content)
    return {folder("reproduction", key, name): digest(content) for name, content in files.items()}
