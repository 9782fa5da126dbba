"""The commands of the human loop: refine export, import, train, rollback."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from flows.cli.common import Common, command, out

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
    out.print(result["uri"], markup=False, soft_wrap=True)


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


refine_app.command("export")(refine_export)
refine_app.command("import")(refine_import)
