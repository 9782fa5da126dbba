"""extract: labels to patches, one for each nucleus, with the table that says what each row is."""

from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from prefect import task
from prefect.cache_policies import NO_CACHE

from storage import arrays, images, layout, tables
from storage.arrays import ArraySpec, Digests
from storage.objects import Objects, open_store
from storage.progress import Done, Ledger
from storage.regions import Region, grid_regions
from storage.samples import Sample
from tasks import announce
from tasks.chunked import run_units
from tasks.kernels.matching import match_centroids
from tasks.kernels.patches import extract_patches
from tasks.samples import sample_facts
from tasks.settings import CropAndPad, ExtractSettings, Resources, question
from tasks.stage import Handle, Outcome, Question, folder, produce, references

ALGORITHM = 1
ROWS_PER_SHARD = 1024
ROWS_PER_CHUNK = 64
FARTHEST_UM = 5.0
UNKNOWN = ""  # of a cell that no known one lies near


@dataclass(frozen=True)
class _Cut:
    """Where patches are cut from and written to."""

    store: str
    clean: str
    labels: str
    patches: str


@task(task_run_name="extract {labels.name}", cache_policy=NO_CACHE)
def extract(
    *,
    clean: Handle,
    labels: Handle,
    sample: Handle,
    truth: Handle | None,
    store: str,
    settings: ExtractSettings,
    resources: Resources,
) -> Handle:
    """Cut a patch for each nucleus, and say of each which chip, position and condition it comes from."""
    objects = open_store(store)
    parents = references([clean, labels, sample] + ([truth] if truth else []))
    asked = Question("patches", sample.name, parents, question(settings), ALGORITHM)
    return produce(
        objects,
        asked,
        lambda key: _cut_all(
            objects,
            _Cut(objects.url, clean.key, labels.key, key),
            _cells(objects, labels, sample_facts(objects, sample), truth, settings),
            settings,
            resources,
        ),
    )


def _cells(
    objects: Objects, labels: Handle, sample: Sample, truth: Handle | None, settings: ExtractSettings
) -> pd.DataFrame:
    """Return the rows of the patches: the cells that are kept, with what is known of them."""
    table: pd.DataFrame = tables.read_table(objects, folder("labels", labels.key, "cells.zarr")).obs
    if truth is not None:
        table["population"] = _populations(objects, table, truth, labels)
    if settings.edge_cells == "drop":
        table = table[~table["touches_edge"].to_numpy(bool)]
    for name, value in sample.model_dump().items():
        table[name] = value
    table["acquisition"] = labels.name
    table.index = [f"{labels.key[:12]}-{name}" for name in table.index]
    return table


def _populations(objects: Objects, table: pd.DataFrame, truth: Handle, labels: Handle) -> NDArray[Any]:
    """Return the population of each found cell, from the nearest known one in the raw image."""
    known = tables.read_table(objects, folder("truth", truth.key, "cells.zarr")).obs
    pixel_size_um = labels.metrics.get("pixel_size_um") or 1.0
    population = np.full(len(table), UNKNOWN, dtype=object)
    for t in np.unique(table["t"]):
        here, there = table["t"].to_numpy() == t, known["t"].to_numpy() == t
        found_yx = table.loc[here, ["centroid_y_raw_px", "centroid_x_raw_px"]].to_numpy(np.float64)
        known_yx = known.loc[there, ["centroid_y_px", "centroid_x_px"]].to_numpy(np.float64)
        match = match_centroids(found_yx, known_yx, farthest_px=FARTHEST_UM / pixel_size_um)
        names = known.loc[there, "population"].astype(str).to_numpy(object)
        population[here] = np.where(match >= 0, names[match] if names.size else UNKNOWN, UNKNOWN)
    return population


def _cut_all(
    objects: Objects, cut: _Cut, cells: pd.DataFrame, settings: ExtractSettings, resources: Resources
) -> Outcome:
    written: Digests = {}
    path = folder("patches", cut.patches, "patches.zarr")
    size, rows = settings.crop.size_px, max(1, len(cells))
    spec = ArraySpec(
        shape=(rows, 1, size, size),
        dtype="float16",
        chunks=(ROWS_PER_CHUNK, 1, size, size),
        shards=(ROWS_PER_SHARD, 1, size, size),
        axes=("n", "c", "y", "x"),
    )
    arrays.create_array(objects, path, spec, written)
    tables.write_table(
        objects,
        folder("patches", cut.patches, "cells.zarr"),
        names=list(cells.index),
        columns={name: cells[name].to_numpy() for name in cells.columns},
        written=written,
    )
    units = run_units(
        partial(cut_unit, cut=cut, settings=settings),
        grid_regions(spec.shape, spec.shards) if len(cells) else [],
        ledger=Ledger(objects, "patches", cut.patches, "rows"),
        resources=resources,
        listener=announce.listener(f"extract {cut.patches[:8]}"),
    )
    return Outcome(
        path=path,
        written=written | units.written,
        counts={"patches": len(cells)},
        details={"size_px": size},
        units_done=units.computed,
        units_reused=units.reused,
    )


@lru_cache(maxsize=4)
def _rows(store: str, patches: str) -> pd.DataFrame:
    rows: pd.DataFrame = tables.read_table(open_store(store), folder("patches", patches, "cells.zarr")).obs
    return rows


def cut_unit(unit: Region, *, cut: _Cut, settings: ExtractSettings) -> Done:
    """Cut the patches of one shard; every plane is read once."""
    rows = _rows(cut.store, cut.patches).iloc[unit.slices[0]]
    objects = open_store(cut.store)
    image = images.open_image(objects, layout.image_path("clean", cut.clean))
    labels = images.open_image(objects, layout.labels_path(cut.clean, cut.labels))
    patches = np.zeros(unit.shape, np.float16)
    planes = rows[["t", "z"]].to_numpy()
    for t, z in np.unique(planes, axis=0):
        here = np.flatnonzero((planes == (t, z)).all(axis=1))
        plane = image.plane(int(t), 0, int(z))
        where = Region((*plane.start[:1], *plane.start[2:]), (*plane.stop[:1], *plane.stop[2:]))
        nyx = extract_patches(
            image.read(plane)[0, 0, 0],
            labels.read(where)[0, 0],
            {name: rows.iloc[here][name].to_numpy() for name in rows.columns},
            size_px=settings.crop.size_px,
            mode="pad" if isinstance(settings.crop, CropAndPad) else "resize",
            keep_background=settings.keep_background,
        )
        patches[here, 0] = nyx
    written: Digests = {}
    arrays.open_array(objects, folder("patches", cut.patches, "patches.zarr"), written).write(unit, patches)
    return Done(None, written)
