"""The commands of the human loop: refine export, import, train, rollback."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from flows.cli import progress
from flows.cli.common import Common, command, out
from flows.cli.stages import start_servers

CHANGES = ("kept", "reshaped", "added", "removed")

refine_app = typer.Typer(
    no_args_is_help=True, help="Let people correct masks, and the segmenter learn from them."
)


@command
def refine_export(
    folder: Annotated[
        Path, typer.Argument(metavar="OUT", help="A new folder to write into; nothing is replaced.")
    ],
    common: Common,
    frames: Annotated[int, typer.Option(min=1, help="How many frames.")] = 8,
    labels: Annotated[
        list[str] | None,
        typer.Option("--labels", metavar="KEY", help="Only of these labels; may be given several times."),
    ] = None,
) -> None:
    """Write the frames most worth correcting: doubtful, unlike each other, from every chip.

    Each is written with its masks as Cellpose's NAME_seg.npy, as NAME_masks.tif, and as NAME.ome.zarr for
    napari. Correct any one of them, save it under its name, and import the folder.

    Example: chipcyte refine export to-correct --frames 8 --store /data/store
    """
    from storage.objects import open_store
    from tasks.refine_export import export_frames

    target = folder.expanduser().resolve()
    found = export_frames(open_store(common.store), target, count=frames, keys=labels or [])
    result = {
        "key": [one["labels"] for one in found["frames"]],
        "uri": str(target),
        "counts": {
            "frames": len(found["frames"]),
            "cells": sum(one["cells"] for one in found["frames"]),
            "candidates": found["candidates"],
        },
        "metrics": {},
        "reused": False,
        "frames": found["frames"],
    }
    common.show(result, lambda: _print_frames(result))


def _print_frames(result: dict[str, Any]) -> None:
    table = Table()
    for name in ("frame", "chip", "doubt", "cells"):
        table.add_column(name, overflow="fold")
    for one in result["frames"]:
        table.add_row(one["name"], one["group"], f"{one['doubt'] or 0:.3f}", str(one["cells"]))
    out.print(table)
    out.print(result["uri"], soft_wrap=True)


@command
def refine_import(
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="An exported folder, or pictures with masks.")
    ],
    common: Common,
    by: Annotated[str | None, typer.Option("--by", help="Who drew or corrected the masks.")] = None,
    part: Annotated[
        bool, typer.Option("--part", help="Make each piece of a mask in several pieces a cell.")
    ] = False,
    untouched: Annotated[
        bool, typer.Option("--untouched", help="Take exported masks that nobody changed for right.")
    ] = False,
) -> None:
    """Read corrected masks back, check them and store them with what was changed. No file is changed.

    FOLDER may also hold pictures from elsewhere: NAME.tif or NAME.png beside NAME_masks.tif, NAME_masks.png
    or NAME_seg.npy, and perhaps a samples.csv that says which chip a file is of.

    Example: chipcyte refine import to-correct --by "R. Hooke" --store /data/store
    """
    from storage.objects import open_store
    from tasks.refine_import import Said, import_folder

    objects = open_store(common.store, create=True)
    kept, waiting = import_folder(objects, folder.expanduser().resolve(), Said(by, part, untouched))
    result = _imported(objects, kept, waiting)
    common.show(result, lambda: _print_imported(result))


def _imported(objects: Any, kept: list[Any], waiting: list[str]) -> dict[str, Any]:
    counts = {"annotations": len(kept), "untouched": len(waiting)}
    for name in ("cells", *CHANGES):
        counts[name] = sum(one.counts.get(name, 0) for one in kept)
    return {
        "key": [one.key for one in kept],
        "uri": objects.url,
        "counts": counts,
        "metrics": {"iou_to_prediction": {one.name: one.metrics["iou_to_prediction"] for one in kept}},
        "reused": all(one.reused for one in kept),
        "annotations": [
            {"name": one.name, "key": one.key, "counts": one.counts, "reused": one.reused} for one in kept
        ],
        "waiting": waiting,
    }


def _print_imported(result: dict[str, Any]) -> None:
    table = Table()
    table.add_column("picture", overflow="fold")
    for name in ("cells", *CHANGES, "new"):
        table.add_column(name, justify="right")
    for one in result["annotations"]:
        numbers = [str(one["counts"].get(name, "")) for name in ("cells", *CHANGES)]
        table.add_row(one["name"], *numbers, "no" if one["reused"] else "yes")
    out.print(table)
    if result["waiting"]:
        out.print(
            f"{len(result['waiting'])} exported frames were not changed and not imported; --untouched takes "
            "their masks for right",
            soft_wrap=True,
        )


@command
def refine_train(
    common: Common,
    base: Annotated[
        str | None,
        typer.Option("--base", help="nuclei-small, champion, scratch, or the file of a Cellpose network."),
    ] = None,
    widths: Annotated[
        str | None, typer.Option("--widths", help="With --base scratch: feature maps, as 16,32,64,128.")
    ] = None,
    pairs: Annotated[
        Path | None,
        typer.Option("--pairs", metavar="FOLDER", help="Pictures with masks that are in no store."),
    ] = None,
    simulated: Annotated[
        int | None, typer.Option("--simulated", min=0, help="Simulated pictures to learn from as well.")
    ] = None,
    steps: Annotated[int | None, typer.Option("--steps", min=1, help="Most steps of the optimiser.")] = None,
    network: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Also write the network as a Cellpose file.")
    ] = None,
    name: Annotated[str | None, typer.Option("--name", help="Name in Prefect and MLflow.")] = None,
) -> None:
    """Teach the segmenter all corrections so far; it is used from now on if it is better on held-out chips.

    Nothing is learned from the chips that are held out, and the network becomes `champion` only if its AP
    there grows by refine.margin. One that was killed goes on where it was.

    Example: chipcyte refine train --store /data/store
    """
    settings = _settings(common, base, widths, simulated, steps)
    target = None if network is None else str(network.expanduser().absolute())
    folder = None if pairs is None else str(pairs.expanduser().resolve())
    called = name or Path(common.store.rstrip("/")).name
    _check(common.store, folder, target)
    servers = start_servers()
    from flows import refining

    with progress.shown():
        found = refining.refine_train(
            store=common.store,
            name=called,
            tracking_uri=servers.mlflow_url,
            settings=settings,
            pairs=folder,
            out=target,
        )
    result = refining.refined_json(found) | {"out": target}
    common.show(result, lambda: _print_refined(result))


def _settings(
    common: Common, base: str | None, widths: str | None, simulated: int | None, steps: int | None
) -> Any:
    given: dict[str, Any] = {"base": base, "simulated": simulated, "steps": steps}
    if widths is not None:
        given["widths"] = [int(one) if one.strip().isdecimal() else one for one in widths.split(",")]
    return common.settings({f"refine.{name}": value for name, value in given.items() if value is not None})


def _check(store: str, pairs: str | None, target: str | None) -> None:
    """Find wrong input before servers are started."""
    from storage.objects import open_store
    from storage.pairs import find_pairs
    from tasks.networks import out_file

    if target is not None:
        out_file(Path(target))
    if pairs is not None:
        find_pairs(Path(pairs))
    open_store(store, create=pairs is not None)


def _print_refined(result: dict[str, Any]) -> None:
    table = Table(title="AP on the hold-out, all nuclei pooled", title_justify="left")
    table.add_column("network")
    for name in result["metrics"]["after"]:
        table.add_column(name, justify="right")
    for which in ("before", "in_use", "after"):
        table.add_row(which, *(f"{value:.3f}" for value in result["metrics"][which].values()))
    out.print(table)
    champion = result["champion"]
    now = f"{champion['name']}, version {champion['version']}" if champion else "the shipped network"
    new = "This one segments from now on" if result["promoted"] else "Nothing changes; what segments is"
    out.print(f"{new}: {now}", soft_wrap=True)
    out.print(result["uri"], soft_wrap=True)


@command
def refine_rollback(common: Common) -> None:
    """Return to the champion before; without one, to the shipped network. The next segment uses it.

    Example: chipcyte refine rollback --store /data/store
    """
    from storage.objects import open_store

    objects = open_store(common.store)
    servers = start_servers()
    from flows import refining

    left, now = refining.roll_back(common.store, servers.mlflow_url)
    result = {
        "key": now.key if now else None,
        "uri": objects.url,
        "counts": {},
        "metrics": {},
        "reused": True,
        "left": refining.champion_json(left),
        "champion": refining.champion_json(now),
    }
    stands = f"{now.name}, version {now.version}" if now else "the shipped network"
    common.show(result, lambda: out.print(f"From now on segments {stands}.", soft_wrap=True))


refine_app.command("export")(refine_export)
refine_app.command("import")(refine_import)
refine_app.command("train")(refine_train)
refine_app.command("rollback")(refine_rollback)
