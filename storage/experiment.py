"""A simulated experiment on disk: stacks as an instrument would write them, and the truth beside them.

    OUT/FILE                   16-bit OME-TIFF, t c z y x, one channel
    OUT/samples.csv            file, chip, position, condition, replicate
    OUT/truth/labels/FILE      labels, t y x
    OUT/truth/cells.csv        one row for each nucleus in each frame
    OUT/truth/angles.csv       file, angle_deg
    OUT/truth/design.json      what made all this; written last, so it stands for a complete experiment

Every file appears under its name only when it is complete, and the same content has the same bytes.
"""

import csv
import hashlib
import json
import os
import uuid
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from storage.errors import FormatError, InputError, MissingInputError

Row = Mapping[str, str | int | float]

SAMPLE_COLUMNS: dict[str, type] = {
    "file": str,
    "chip": str,
    "position": str,
    "condition": str,
    "replicate": int,
}
CELL_COLUMNS: dict[str, type] = {
    "file": str,
    "t": int,
    "label": int,
    "population": str,
    "condition": str,
    "chip": str,
    "position": str,
    "centroid_y_px": float,
    "centroid_x_px": float,
    "orientation_deg": float,
}
ANGLE_COLUMNS: dict[str, type] = {"file": str, "angle_deg": float}

_SAMPLES, _CELLS, _ANGLES = Path("samples.csv"), Path("truth", "cells.csv"), Path("truth", "angles.csv")
_LABELS = Path("truth", "labels")
_DESIGN, _UNFINISHED = Path("truth", "design.json"), Path("truth", "unfinished.json")


def begin_experiment(out: Path, design: Mapping[str, Any], files: Sequence[str]) -> bool:
    """Claim a folder for an experiment, or find that it holds this very experiment already.

    Parameters
    ----------
    out : Path
        The folder; made if it is missing.
    design : mapping
        What decides the experiment, as JSON can hold it.
    files : sequence of str
        Names of all stacks.

    Returns
    -------
    bool
        True if the experiment is complete and there is nothing to do. False if it is to be written, from the
        start or because a former attempt at the same design did not finish.

    Raises
    ------
    InputError
        If the folder holds anything else, or is a file.
    """
    if out.exists() and not out.is_dir():
        raise InputError(f"expected a folder, found the file {out}; choose another folder")
    wanted = _as_json(design)
    marker = next((out / path for path in (_DESIGN, _UNFINISHED) if (out / path).is_file()), None)
    if marker is None:
        found = next((path for path in out.rglob("*") if path.is_file() and not _is_part(path)), None)
        if found is not None:
            raise InputError(f"expected an empty folder, found {found}; choose another folder, or empty it")
    elif marker.read_bytes() != wanted:
        raise InputError(
            f"expected an empty folder or this very experiment, found one of another design in {out}; "
            f"choose another folder, or compare with {marker}"
        )
    elif marker == out / _DESIGN and all((out / path).is_file() for path in _all_paths(files)):
        return True
    (out / _LABELS).mkdir(parents=True, exist_ok=True)
    for left_behind in filter(_is_part, [*out.iterdir(), *out.glob("truth/*"), *out.glob("truth/labels/*")]):
        left_behind.unlink()
    _write(out / _UNFINISHED, wanted)
    (out / _DESIGN).unlink(missing_ok=True)
    return False


def write_stack(
    out: Path,
    file: str,
    *,
    tczyx: NDArray[np.uint16],
    labels_tyx: NDArray[np.unsignedinteger[Any]],
    pixel_size_um: float,
    time_interval_s: float,
    channels: Sequence[str],
) -> None:
    """Write one stack and its labels.

    Parameters
    ----------
    out : Path
        The experiment's folder.
    file : str
        Name of the stack, ending in .ome.tif.
    tczyx : (t, c, z, y, x) uint16
        The image.
    labels_tyx : (t, y, x) uint16 or uint32
        Its labels, 0 for background.
    pixel_size_um, time_interval_s : float
        Edge of a pixel; time between frames.
    channels : sequence of str
        Name of each channel.

    Raises
    ------
    ValueError
        If the shapes or the number of channels disagree.
    """
    agree = tczyx.ndim == 5 and labels_tyx.shape == (tczyx.shape[0], *tczyx.shape[3:])
    if not agree or len(channels) != tczyx.shape[1]:
        raise ValueError(
            f"expected an image t c z y x, labels t y x and a name for each channel, found {tczyx.shape}, "
            f"{labels_tyx.shape} and {len(channels)} names; pass the arrays of one stack"
        )
    scale = {
        "PhysicalSizeX": pixel_size_um,
        "PhysicalSizeXUnit": "µm",
        "PhysicalSizeY": pixel_size_um,
        "PhysicalSizeYUnit": "µm",
        "TimeIncrement": time_interval_s,
        "TimeIncrementUnit": "s",
    }
    _write_ome_tiff(out / _LABELS / file, labels_tyx, {"axes": "TYX", **scale}, compression="zlib")
    _write_ome_tiff(out / file, tczyx, {"axes": "TCZYX", **scale, "Channel": {"Name": list(channels)}})


def finish_experiment(
    out: Path, *, samples: Iterable[Row], cells: Iterable[Row], angles: Iterable[Row]
) -> None:
    """Write the tables, then put the design under its name: from here on the experiment is complete."""
    _write_table(out / _SAMPLES, SAMPLE_COLUMNS, samples)
    _write_table(out / _CELLS, CELL_COLUMNS, cells)
    _write_table(out / _ANGLES, ANGLE_COLUMNS, angles)
    (out / _UNFINISHED).replace(out / _DESIGN)


def read_samples(out: Path) -> list[dict[str, Any]]:
    """Read the table of stacks: file, chip, position, condition, replicate (int)."""
    return _read_table(out / _SAMPLES, SAMPLE_COLUMNS)


def read_cells(out: Path) -> list[dict[str, Any]]:
    """Read the truth's table of nuclei, one row for each nucleus in each frame, numbers as numbers."""
    return _read_table(out / _CELLS, CELL_COLUMNS)


def read_angles(out: Path) -> dict[str, float]:
    """Read each stack's angle: the counter-clockwise rotation in degrees that makes its grooves vertical."""
    return {row["file"]: row["angle_deg"] for row in _read_table(out / _ANGLES, ANGLE_COLUMNS)}


def read_stack(out: Path, file: str) -> NDArray[np.uint16]:
    """Read one stack as (t, c, z, y, x) uint16."""
    with _open_tiff(out / file) as tiff:
        series = tiff.series[0]
        sizes = dict(zip(series.get_axes(squeeze=False), series.get_shape(squeeze=False), strict=True))
        return np.asarray(series.asarray()).reshape([sizes.get(axis, 1) for axis in "TCZYX"])


def read_labels(out: Path, file: str) -> NDArray[np.unsignedinteger[Any]]:
    """Read one stack's labels as (t, y, x), 0 for background."""
    with _open_tiff(out / _LABELS / file) as tiff:
        labels = np.asarray(tiff.series[0].asarray())
        return labels.reshape(-1, *labels.shape[-2:])


def _all_paths(files: Sequence[str]) -> list[Path]:
    return [_SAMPLES, _CELLS, _ANGLES, *map(Path, files), *(_LABELS / file for file in files)]


def _as_json(design: Mapping[str, Any]) -> bytes:
    return (json.dumps(design, indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode()


def _open_tiff(path: Path) -> tifffile.TiffFile:
    if not path.is_file():
        raise MissingInputError(
            f"expected the stack {path}, found no such file; check the folder and the name"
        )
    return tifffile.TiffFile(path)


def _write_ome_tiff(
    path: Path, stack: NDArray[Any], metadata: dict[str, Any], compression: str | None = None
) -> None:
    """Write an OME-TIFF whose UUID comes from its content, where tifffile would take the clock."""
    digest = hashlib.sha256(np.ascontiguousarray(stack).data).hexdigest()
    identity = str(uuid.uuid5(uuid.NAMESPACE_OID, f"{path.name} {digest}"))
    part = _part(path)
    tifffile.imwrite(
        part,
        stack,
        ome=True,
        photometric="minisblack",
        metadata={**metadata, "UUID": identity},
        software="chipcyte",
        compression=compression,
    )
    part.replace(path)


def _write_table(path: Path, columns: Mapping[str, type], rows: Iterable[Row]) -> None:
    part = _part(path)
    with part.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle, lineterminator="\n")
        writer.writerow(columns)
        for row in rows:
            writer.writerow([_as_text(row[name], kind) for name, kind in columns.items()])
    part.replace(path)


def _as_text(value: str | int | float, kind: type) -> str:
    return f"{value:.4f}" if kind is float else str(value)


def _read_table(path: Path, columns: Mapping[str, type]) -> list[dict[str, Any]]:
    if not path.is_file():
        raise MissingInputError(
            f"expected the table {path}, found no such file; check the experiment's folder"
        )
    with path.open(newline="", encoding="utf-8") as handle:
        reader = csv.DictReader(handle)
        if list(reader.fieldnames or []) != list(columns):
            raise FormatError(
                f"expected the columns {', '.join(columns)} in {path}, found {reader.fieldnames}; "
                "simulate the experiment again"
            )
        return [{name: kind(row[name]) for name, kind in columns.items()} for row in reader]


def _write(path: Path, content: bytes) -> None:
    part = _part(path)
    part.write_bytes(content)
    part.replace(path)


def _part(path: Path) -> Path:
    """A hidden name for this process's unfinished file, so that a watcher of the folder passes over it."""
    return path.with_name(f".{path.name}.{os.getpid()}.part")


def _is_part(path: Path) -> bool:
    return path.name.startswith(".") and path.suffix == ".part"
