"""reproduce: the study's table on MNIST and FashionMNIST, under both protocols."""

import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from flows.cli import progress
from flows.cli.common import Common, command, err, out
from storage.errors import InputError

BETAS = tuple(10.0**power for power in (-10, -7, *range(-4, 4)))  # below 0.01 points differ by chance
SWEEP_IMAGES, SWEEP_EPOCHS = 5_000, 6
SCORES = ("accuracy", "silhouette", "davies_bouldin", "calinski_harabasz")


class Dataset(StrEnum):
    """Which pictures."""

    digits = "digits"
    fashion = "fashion"


class Protocol(StrEnum):
    """What the method is told."""

    told = "label-conditioned"
    untold = "unsupervised"


@command
def reproduce(
    dataset: Annotated[Dataset, typer.Argument(help="MNIST or FashionMNIST.")],
    common: Common,
    data: Annotated[Path, typer.Option(help="Folder with the four IDX files, gzipped or not.")],
    more: Annotated[list[int] | None, typer.Argument(metavar="[LATENT]...", hidden=True)] = None,
    latent: Annotated[list[int] | None, typer.Option(help="Latent sizes, such as 16 32.")] = None,
    protocol: Annotated[
        list[Protocol] | None, typer.Option(help="With the true label as an input, or without; both.")
    ] = None,
    betas: Annotated[
        bool, typer.Option("--betas", help="Sweep beta of a VAE from 1e-10 to 1e3 instead, on a part.")
    ] = False,
    images: Annotated[int | None, typer.Option(help="Use the first so many images of each split.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the training images.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of weights, order, map and mixture.")] = 0,
) -> None:
    """Repeat the study on public pictures: clusters of a conditional autoencoder, and of one without labels.

    Rows that were made before are not made again; a killed training goes on where it was.

    Example: chipcyte reproduce digits --data mnist/ --latent 16 32 --protocol unsupervised
    """
    from storage.objects import normal_url, open_store
    from tasks.reproduce_settings import as_vae, recipe

    objects = open_store(normal_url(common.store), create=True)
    if betas:
        images, epochs = images or SWEEP_IMAGES, epochs or SWEEP_EPOCHS
    rows: list[dict[str, Any]] = []
    with progress.shown():
        for told in protocol or list(Protocol):
            for size in [*(latent or [16]), *(more or [])]:
                settings = _changed(recipe(dataset.value, told.value, size), images, epochs, seed)
                made = _sweep(objects, data, as_vae(settings)) if betas else _row(objects, data, settings)
                rows += made
    common.show({"rows": rows}, lambda: _print(rows))


def _changed(settings: Any, images: int | None, epochs: int | None, seed: int) -> Any:
    from tasks.reproduce_settings import ReproduceSettings

    changed = settings.model_dump()
    changed["images"] = images
    changed["train"] |= {"seed": seed, "epochs": epochs or settings.train.epochs}
    if images is not None:
        changed["map_points"] = min(settings.map_points, images)
    try:
        return ReproduceSettings.model_validate(changed)
    except ValueError as error:
        raise InputError(str(error)) from error


def _row(objects: Any, data: Path, settings: Any) -> list[dict[str, Any]]:
    from tasks.reproduce import reproduce as make

    return [_facts(objects, make(objects, data, settings), settings)]


def _sweep(objects: Any, data: Path, settings: Any) -> list[dict[str, Any]]:
    from tasks.reproduce import sweep

    chart, made = sweep(objects, data, settings, BETAS)
    err.print(f"accuracy and silhouette over beta: {chart.uri}", soft_wrap=True)
    return [_facts(objects, one, settings) | {"beta": beta} for one, beta in zip(made, BETAS, strict=True)]


def _facts(objects: Any, made: Any, settings: Any) -> dict[str, Any]:
    """Return what is known of a row, and deliver it to MLflow where there is one."""
    from tasks.reproduce import track
    from tasks.reproduce_settings import NOTES, STUDY_ACCURACY

    uri = os.environ.get("MLFLOW_TRACKING_URI", "")
    return {
        "dataset": settings.dataset,
        "protocol": settings.protocol,
        "latent": settings.train.latent,
        "study_accuracy": STUDY_ACCURACY.get((settings.dataset, settings.train.latent)),
        "note": NOTES[settings.protocol],
        "key": made.key,
        "uri": made.uri,
        "reused": made.reused,
        "mlflow": track(objects, made, uri) if uri else "",
        "metrics": made.metrics,
    }


def _print(rows: list[dict[str, Any]]) -> None:
    from rich.table import Table

    table = Table(title="test split; scores of shape in the space clustered")
    for name in ("data", "protocol", "latent", "beta", "accuracy", "study", "silhouette", "DB", "CH"):
        table.add_column(name)
    for row in rows:
        scores = [row["metrics"].get(f"test_{name}") for name in SCORES]
        shown = ["-" if value is None else f"{value:.4g}" for value in scores]
        study = "-" if row["study_accuracy"] is None else str(row["study_accuracy"])
        table.add_row(
            row["dataset"],
            row["protocol"],
            str(row["latent"]),
            f"{row.get('beta', ''):}",
            shown[0],
            study,
            *shown[1:],
        )
    out.print(table)
    for protocol, note in {row["protocol"]: row["note"] for row in rows}.items():
        out.print(f"{protocol}: {note}", soft_wrap=True)
