"""export: artifacts of a store as files and folders that other programs open.

Images are copied byte for byte, each object checked against its digest. An export is written beside its
place and moved there when it is whole: what bears its name is finished.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from storage import layout, ome, records, tables
from storage.annotated import for_scanpy
from storage.objects import Objects
from storage.plates import Plate
from storage.records import Record
from storage.staging import check_space, staged, write_file

COPIED_AT_ONCE = 4  # objects in memory at a time; the largest is a shard
IMAGE_KINDS = ("raw", "clean")
TABLE_KINDS = ("truth", "labels", "patches", "embedding", "clusters")
Listener = Callable[[int, int], None]


@dataclass(frozen=True)
class Piece:
    """An object of the store, and its name in the export."""

    target: str
    source: str
    size_bytes: int
    digest: str


@dataclass(frozen=True)
class Image:
    """What an image's copy consists of: objects of the store, and the list of its labels."""

    pieces: tuple[Piece, ...]
    labels: tuple[str, ...]

    def groups(self) -> dict[str, Any]:
        """Return the attributes of the groups that are written anew, by path in the image."""
        return {"labels": ome.labels_group_attributes(self.labels)} if self.labels else {}


def export_image(objects: Objects, record: Record, out: Path, listener: Listener | None = None) -> list[str]:
    """Copy a raw or clean image, with its labels, as one OME-Zarr 0.5 folder.

    Returns
    -------
    The keys of its labels. Those of an unfinished segmentation are left out.

    Raises
    ------
    InputError
        `out` exists and is not an empty folder, or lies in the store.
    DamagedStoreError
        An object of the image is lost or changed.
    StoreError
        The export cannot be written: the disk is full, the folder is read-only.
    """
    image = _image(objects, record, records.listing(objects, "labels"))
    _export(objects, image.pieces, image.groups(), out, listener)
    return list(image.labels)


def export_plate(
    objects: Objects, plate: Plate, out: Path, listener: Listener | None = None
) -> dict[str, int]:
    """Copy images, with their labels, as one plate of OME-Zarr 0.5; errors as of `export_image`.

    Returns
    -------
    How many images and label images it holds.
    """
    every = records.listing(objects, "labels")
    images = {
        f"{well}/{number}": _image(objects, field.image, every)
        for well, fields in plate.wells.items()
        for number, field in enumerate(fields)
    }
    name = out.name.removesuffix(".zarr").removesuffix(".ome")
    groups = {"": plate.attributes(name)} | {row: {} for row in plate.rows}
    groups |= {well: plate.well_attributes(well) for well in plate.wells}
    for place, image in images.items():
        groups |= {f"{place}/{path}": attributes for path, attributes in image.groups().items()}
    pieces = [
        Piece(f"{place}/{piece.target}", piece.source, piece.size_bytes, piece.digest)
        for place, image in images.items()
        for piece in image.pieces
    ]
    _export(objects, pieces, groups, out, listener)
    return {"images": len(images), "labels": sum(len(image.labels) for image in images.values())}


def image_shapes(objects: Objects, images: Iterable[Record]) -> set[tuple[int, ...]]:
    """Return the shapes t c z y x that raw or clean images have at full size."""
    documents = objects.get_all([f"{image.path}/0/zarr.json" for image in images])
    return {tuple(json.loads(document)["shape"]) for document in documents}


def export_table(objects: Objects, record: Record, out: Path, form: Literal["csv", "h5ad"]) -> int:
    """Write the table of cells of an artifact as CSV or by AnnData as h5ad; return the number of cells.

    An h5ad is laid out as scanpy expects it, see `for_scanpy`. In CSV, `cell_id` comes first, then the
    columns, then those of the matrices: latent_1, latent_2, ...

    Raises
    ------
    InputError
        `out` exists, or lies in the store.
    StoreError
        The table cannot be read, or the file not be written.
    """
    path = f"{layout.artifact_folder(record.kind, record.key)}/cells.zarr"
    with staged(objects, out, is_folder=False) as staging:
        table = tables.read_table(objects, path)
        if form == "csv":
            _flat(table).to_csv(staging, index_label="cell_id")
        else:
            _write_h5ad(for_scanpy(objects, record, table), staging)
    return int(table.n_obs)


def _write_h5ad(table: Any, path: Path) -> None:
    """Write by AnnData; HDF5 tells of a full disk with an error that is not the system's."""
    try:
        table.write_h5ad(path)
    except RuntimeError as error:
        said = re.search(r"error message = '([^']*)'", str(error))
        raise OSError(said[1] if said else str(error)) from error


def _flat(table: Any) -> pd.DataFrame:
    parts = [table.obs]
    for name, matrix in sorted(table.obsm.items()):
        values = np.asarray(matrix)
        columns = [f"{name}_{number}" for number in range(1, values.shape[1] + 1)]
        parts.append(pd.DataFrame(values, index=table.obs.index, columns=columns))
    flat: pd.DataFrame = pd.concat(parts, axis=1)
    return flat


def _image(objects: Objects, record: Record, every_label: Iterable[Record]) -> Image:
    labels = [one for one in every_label if record.reference in one.parents]
    pieces = [
        Piece(path.removeprefix(f"{record.path}/"), path, size_bytes, wanted)
        for part in (record, *labels)
        for path, (size_bytes, wanted) in records.read_manifest(objects, part).items()
        if path.startswith(f"{part.path}/")
    ]
    return Image(tuple(pieces), tuple(sorted(one.key for one in labels)))


def _export(
    objects: Objects,
    pieces: Sequence[Piece],
    groups: Mapping[str, Any],
    out: Path,
    listener: Listener | None,
) -> None:
    with staged(objects, out, is_folder=True) as staging:
        check_space(out.parent, sum(piece.size_bytes for piece in pieces))
        for path, attributes in groups.items():
            document = {"attributes": attributes, "zarr_format": 3, "node_type": "group"}
            write_file(staging / path / "zarr.json", json.dumps(document, indent=2).encode())
        with ThreadPoolExecutor(COPIED_AT_ONCE) as pool:
            copied = pool.map(lambda piece: _copy(objects, piece, staging), pieces)
            for number, _ in enumerate(copied, start=1):
                if listener is not None:
                    listener(number, len(pieces))


def _copy(objects: Objects, piece: Piece, staging: Path) -> None:
    content = records.checked_bytes(objects, piece.source, (piece.size_bytes, piece.digest))
    write_file(staging / piece.target, content)
