"""The command that hands results to other programs: export."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from flows.cli.common import Common, command, out
from storage.errors import InputError


class Form(StrEnum):
    """What an export may be."""

    ome_zarr = "ome-zarr"
    plate = "plate"
    ome_tiff = "ome-tiff"
    png = "png"
    ro_crate = "ro-crate"
    csv = "csv"
    h5ad = "h5ad"


@command
def export(
    common: Common,
    *,
    keys: Annotated[
        list[str] | None, typer.Argument(metavar="KEY", help="Keys, or their first digits.")
    ] = None,
    place: Annotated[
        str, typer.Argument(metavar="OUT", help="The file or folder to make; nothing is ever replaced.")
    ],
    form: Annotated[
        Form | None,
        typer.Option(
            "--as",
            help="ome-zarr: one image (raw or clean) with its labels; plate: many images as one OME-Zarr "
            "plate; ome-tiff: an image, or labels, as one file; png: a picture of each frame with the "
            "outlines of labels, coloured by cluster; csv, h5ad: the cells of labels, patches, embedding or "
            "clusters; ro-crate: any artifact and how it was made. Unless given, the ending of OUT says it, "
            "and an image becomes ome-zarr.",
        ),
    ] = None,
) -> None:
    """Hand images and tables to other programs.

    A plate's rows are chips, its columns conditions, its fields positions. Without KEY it holds all
    clean images.

    Example: chipcyte export --as plate plate.ome.zarr --store /data/store

    Example: chipcyte export 3f9a cells.csv --store /data/store
    """
    from flows.cli.progress import shown
    from storage import records
    from storage.objects import open_store

    target = _target(place)
    objects = open_store(common.store)
    chosen = [records.resolve(objects, key) for key in dict.fromkeys(keys or [])]
    wanted = form or _usual_form(target, chosen)
    with shown():
        if wanted is Form.plate:
            result = _plate(objects, chosen or records.listing(objects, "clean"), target)
        elif wanted in SINGLE:
            result = SINGLE[wanted](objects, _only(chosen, wanted), target)
        else:
            result = _table(objects, _only(chosen, wanted), target, wanted)
    common.show(result, lambda: _print_export(result))


def _target(place: str) -> Path:
    if "://" in place:
        raise InputError(f"expected a file or folder of this machine as OUT, found {place}")
    return Path(place).expanduser().resolve()


def _usual_form(target: Path, chosen: list[Any]) -> Form:
    from storage.exporting import IMAGE_KINDS

    by_ending = {".csv": Form.csv, ".h5ad": Form.h5ad}
    if target.name.lower().endswith((".ome.tif", ".ome.tiff")):
        return Form.ome_tiff
    if target.suffix in by_ending:
        return by_ending[target.suffix]
    if len(chosen) == 1 and chosen[0].kind in IMAGE_KINDS:
        return Form.ome_zarr
    found = ", ".join(f"{one.kind} {one.key[:12]}" for one in chosen) or "no KEY"
    raise InputError(
        f"found {found} and no --as: expected --as plate for many images, or the KEY of one image or table, "
        "and --as csv or --as h5ad for a table"
    )


def _only(chosen: list[Any], form: Form) -> Any:
    """Return the one artifact that an image or table is made of."""
    if len(chosen) != 1:
        raise InputError(f"expected one KEY for --as {form}, found {len(chosen)}; `chipcyte list` shows them")
    return chosen[0]


def _check_kinds(chosen: list[Any], kinds: tuple[str, ...], form: Form) -> None:
    for one in chosen:
        if one.kind not in kinds:
            raise InputError(
                f"expected the key of {' or '.join(kinds)} for --as {form}, found {one.kind} {one.key[:12]}"
            )


def _plate(objects: Any, images: list[Any], target: Path) -> dict[str, Any]:
    from storage import exporting, plates
    from storage.samples import Sample
    from tasks import announce
    from tasks.samples import standing_samples

    _check_kinds(images, exporting.IMAGE_KINDS, Form.plate)
    said = standing_samples(objects)
    fields = []
    for image in images:
        stands = said.get(plates.raw_key(image))
        sample = Sample.model_validate(stands.settings) if stands else Sample(file=image.name)
        fields.append(plates.Field(image, sample))
    plate = plates.plan_plate(fields)
    _warn(plates.repeated_recordings(fields), exporting.image_shapes(objects, images))
    counts = exporting.export_plate(objects, plate, target, announce.listener("export"))
    counts |= {"rows": len(plate.rows), "columns": len(plate.columns), "wells": len(plate.wells)}
    wells = {well: [field.image.key for field in here] for well, here in plate.wells.items()}
    layout = {"rows": plate.rows, "columns": plate.columns, "wells": wells}
    return _result(target, Form.plate, [image.key for image in images], counts) | {"plate": layout}


def _warn(repeated: list[str], shapes: set[tuple[int, ...]]) -> None:
    """Say what is right, but maybe not what people want."""
    from tasks import announce

    if repeated:
        named = ", ".join(repeated[:3]) + (", ..." if len(repeated) > 3 else "")
        announce.warn(
            f"the plate holds several images of {len(repeated)} recordings ({named}): raw and clean, or made "
            "with different settings; name the keys you want if each should be there once"
        )
    if len(shapes) > 1:
        announce.warn(
            f"the plate's images have {len(shapes)} different shapes, since chips lay at different angles or "
            "were recorded differently; viewers that stitch a plate into one picture want one shape: open "
            "its images singly, or export the keys of raw images"
        )


def _image(objects: Any, record: Any, target: Path) -> dict[str, Any]:
    from storage import exporting
    from tasks import announce

    _check_kinds([record], exporting.IMAGE_KINDS, Form.ome_zarr)
    labels = exporting.export_image(objects, record, target, announce.listener("export"))
    counts = {"images": 1, "labels": len(labels)}
    return _result(target, Form.ome_zarr, record.key, counts)


def _tiff(objects: Any, record: Any, target: Path) -> dict[str, Any]:
    from storage import ome_tiff
    from tasks import announce

    _check_kinds([record], ome_tiff.KINDS, Form.ome_tiff)
    planes = ome_tiff.export_ome_tiff(objects, record, target, announce.listener("export"))
    return _result(target, Form.ome_tiff, record.key, {"planes": planes})


def _overlays(objects: Any, record: Any, target: Path) -> dict[str, Any]:
    from tasks import announce, looked_at

    _check_kinds([record], looked_at.KINDS, Form.png)
    sights = looked_at.sights(objects, record)
    if sights[0].labels is None:
        raise InputError(f"expected labels of {record.kind} {record.key[:12]}, found none; segment it first")
    if len(sights) > 1:
        announce.warn(
            f"the first of {len(sights)} recordings is drawn; name others by the keys of their labels"
        )
    return _result(
        target, Form.png, record.key, {"pictures": looked_at.export_overlays(objects, sights[0], target)}
    )


def _crate(objects: Any, record: Any, target: Path) -> dict[str, Any]:
    from storage import crates
    from tasks import announce

    actions = crates.export_crate(objects, record, target, announce.listener("export"))
    return _result(target, Form.ro_crate, record.key, {"actions": actions})


SINGLE = {Form.ome_zarr: _image, Form.ome_tiff: _tiff, Form.png: _overlays, Form.ro_crate: _crate}


def _table(objects: Any, record: Any, target: Path, form: Any) -> dict[str, Any]:
    from storage import exporting

    _check_kinds([record], exporting.TABLE_KINDS, form)
    cells = exporting.export_table(objects, record, target, form.value)
    return _result(target, form, record.key, {"cells": cells})


def _result(target: Path, form: Form, key: Any, counts: dict[str, int]) -> dict[str, Any]:
    files = [target] if target.is_file() else [path for path in target.rglob("*") if path.is_file()]
    counts |= {"files": len(files), "bytes": sum(path.stat().st_size for path in files)}
    return {
        "key": key,
        "uri": str(target),
        "counts": counts,
        "metrics": {},
        "reused": False,
        "form": form.value,
    }


def _print_export(result: dict[str, Any]) -> None:
    from storage.records import counted

    if "plate" in result:
        out.print(_plate_table(result["plate"]))
        out.print("In brackets: the row's or column's name in the plate, letters and digits alone.")
    counts = dict(result["counts"])
    size_bytes = counts.pop("bytes")
    out.print(f"Exported as {result['form']}: {counted(counts)}, {_size(size_bytes)}", soft_wrap=True)
    out.print(result["uri"], soft_wrap=True)


def _size(size_bytes: int) -> str:
    if size_bytes < 2**20:
        return f"{size_bytes / 2**10:,.1f} KiB"
    return f"{size_bytes / 2**20:,.1f} MiB"


def _plate_table(plate: dict[str, Any]) -> Table:
    """Return how many images each chip and condition has; in brackets the names in the plate."""
    table = Table(title="Images of each chip and condition", title_justify="left")
    table.add_column("chip", overflow="fold")
    for name, condition in plate["columns"].items():
        table.add_column(f"{condition}\n({name})", justify="right", overflow="fold")
    for row, chip in plate["rows"].items():
        images = [len(plate["wells"].get(f"{row}/{column}", [])) for column in plate["columns"]]
        table.add_row(f"{chip} ({row})", *(str(count or "") for count in images))
    return table
