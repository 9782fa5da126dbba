"""The command segment: of a store's acquisitions, or of one file."""

from pathlib import Path
from typing import Annotated, Any

import typer

from flows.cli.common import Common, command, out
from flows.cli.stages import AcquisitionsOption, NameOption, run_stage
from storage.errors import InputError


@command
def segment(
    common: Common,
    acquisition: AcquisitionsOption = None,
    name: NameOption = None,
    image: Annotated[
        Path | None,
        typer.Option("--image", metavar="FILE", help="Segment this file alone, without a store."),
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option("--out", metavar="LABELS.tif", help="With --image: the new file for its labels."),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option("--model", help="nuclei-small, threshold, or a Cellpose network by file or name."),
    ] = None,
    diameter_px: Annotated[
        float | None,
        typer.Option("--diameter-px", help="Typical diameter of a nucleus in px; found unless given."),
    ] = None,
) -> None:
    """Find the nuclei and measure them.

    Works on all acquisitions of the store, or on those given; earlier stages that are missing are computed
    first. With --image it labels one file of any format into a TIFF, each plane by itself.

    Example: chipcyte segment --store /data/store

    Example: chipcyte segment --image nuclei.tif --out labels.tif
    """
    if image is None and labels is None:
        if model is not None or diameter_px is not None:
            raise InputError("expected --model and --diameter-px with --image only; found no --image")
        run_stage("segment", common, acquisition, name)
        return
    if image is None or labels is None:
        raise InputError("expected --image and --out together, found only one of them")
    found = _label(common, image, labels, model, diameter_px)
    common.show(found, lambda: _print(found))


def _label(
    common: Common, image: Path, labels: Path, model: str | None, diameter_px: float | None
) -> dict[str, Any]:
    from tasks.label_file import label_file
    from tasks.models.segmenter import DEFAULT

    options = {} if diameter_px is None else {"diameter_px": diameter_px}
    channel = common.settings().preprocess.channel
    made = label_file(image, labels, model=model or DEFAULT, channel=channel, **options)
    t, z = made.shape_tzyx[:2]
    return {
        "key": None,
        "uri": str(labels.absolute()),
        "counts": {"cells": sum(made.cells), "frames": t, "planes": t * z},
        "metrics": {"cells_by_plane": list(made.cells), "diameter_px": made.diameter_px},
        "reused": False,
    }


def _print(found: dict[str, Any]) -> None:
    counts = found["counts"]
    out.print(f"{counts['cells']} nuclei in {counts['planes']} planes: {found['uri']}", soft_wrap=True)
