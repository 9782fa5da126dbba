"""extract: labels to patches, one for each nucleus, with the table that says what each row is."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from prefect import task
from prefect.cache_policies import NO_CACHE

from storage import arrays, images, layout, tables
from storage.arrays import ArraySpec, Digests
from storage.errors import InputError
from storage.images import OmeImage
from storage.long_tables import ROWS, GrowingTable, read_rows
from storage.objects import Objects, open_store
from storage.progress import Ledger
from storage.regions import grid_regions
from storage.samples import Sample
from tasks import announce
from tasks.chunked import run_units
from tasks.cutting import BOX, PLACE, TURN, Cut, cut_unit
from tasks.extract_settings import AreaLimits, ExtractSettings
from tasks.kernels.matching import match_centroids
from tasks.kernels.patches import patch_size_px
from tasks.passing import may_pass
from tasks.samples import sample_facts
from tasks.settings import Resources, question
from tasks.stage import Handle, Outcome, Question, folder, produce, references

ALGORITHM = 2
ROWS_PER_SHARD = 1024
ROWS_PER_CHUNK = 64
SHARDS_PER_UNIT = 16  # a part of a plane whose rows fall into two units is read by both
FARTHEST_UM = 5.0
MULTIPLE_PX = 8  # of a patch's edge, which networks halve
UNKNOWN = ""  # of a cell that no known one lies near


@task(task_run_name="extract {labels.name}", cache_policy=NO_CACHE, retry_condition_fn=may_pass)
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
    """Cut a patch for each nucleus, and say of each which chip, position and condition it comes from.

    Without a size in the settings it is that of this acquisition's own nuclei; see `sized` for many.
    """
    objects = open_store(store)
    settings = sized(objects, settings, [labels])
    parents = references([clean, labels, sample] + ([truth] if truth else []))
    asked = Question("patches", sample.name, parents, question(settings), ALGORITHM)

    def compute(key: str) -> Outcome:
        image = images.open_image(objects, layout.image_path("clean", clean.key))
        cut = Cut(
            objects.url,
            clean.key,
            labels.key,
            key,
            _size_px(settings, labels),
            _channels(settings, image),
            settings,
        )
        said = _Said(objects, clean, labels, sample_facts(objects, sample), truth, settings)
        return _cut_all(objects, cut, _all_rows(said, image), resources)

    return produce(objects, asked, compute)


def sized(objects: Objects, settings: ExtractSettings, labels: Sequence[Handle]) -> ExtractSettings:
    """Return settings with a patch's size, which these acquisitions' nuclei give where none was set.

    Patches of acquisitions that are learned from together need one size, so it is asked of all of them.
    """
    if settings.crop.is_sized:
        return settings
    sides = [_sides(objects, one) for one in labels]
    heights_px, widths_px = (np.concatenate(every) for every in zip(*sides, strict=True))
    size_px = MULTIPLE_PX
    if heights_px.size:
        size_px = patch_size_px(heights_px, widths_px, settings.crop.percentile, MULTIPLE_PX)
    return settings.model_copy(update={"crop": settings.crop.model_copy(update={"size_px": size_px})})


def _sides(objects: Objects, labels: Handle) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    cells = read_rows(objects, folder("labels", labels.key, "cells.zarr"), columns=BOX)
    y0, x0, y1, x1 = (cells[name].to_numpy(np.int64) for name in BOX)
    return y1 - y0, x1 - x0


def _size_px(settings: ExtractSettings, labels: Handle) -> int:
    if settings.crop.size_um is None:
        assert settings.crop.size_px is not None
        return settings.crop.size_px
    pixel_size_um: float | None = labels.metrics.get("pixel_size_um")
    if not pixel_size_um:
        raise InputError(
            f"{labels.name}: expected a pixel size, as extract.crop.size_um is set, found none; set "
            "ingest.pixel_size_um, or size_px in place of size_um"
        )
    return math.ceil(settings.crop.size_um / pixel_size_um / MULTIPLE_PX) * MULTIPLE_PX


def _channels(settings: ExtractSettings, image: OmeImage) -> tuple[int, ...]:
    every = tuple(range(image.shape[1]))
    wanted = settings.channels or every
    strangers = sorted(set(wanted) - set(every))
    if strangers:
        raise InputError(f"expected extract.channels among {list(every)}, found {strangers[0]}; leave it out")
    return wanted


def _turns(cells: pd.DataFrame, clean: Handle, settings: ExtractSettings) -> NDArray[np.float64]:
    """Return by how much each cell is turned, counter-clockwise, in degrees."""
    if settings.turn == "long_axis":
        return cells["orientation_deg"].to_numpy(np.float64)
    undone = settings.turn == "none" and clean.metrics["rotated"]
    return np.full(len(cells), -float(clean.metrics["angle_deg"]) if undone else 0.0)


def _tiles(cells: pd.DataFrame, image: OmeImage) -> NDArray[np.int64]:
    """Return the number of the image's shard in which the middle of each cell's box lies."""
    y0, x0, y1, x1 = (cells[name].to_numpy(np.int64) for name in BOX)
    height, width = image.levels[0].spec.shards[-2:]
    across = math.ceil(image.shape[-1] / width)
    tiles: NDArray[np.int64] = (y0 + y1) // 2 // height * across + (x0 + x1) // 2 // width
    return tiles


@dataclass(frozen=True)
class _Said:
    """What is known of an acquisition whose patches are cut."""

    objects: Objects
    clean: Handle
    labels: Handle
    sample: Sample
    truth: Handle | None
    settings: ExtractSettings


def _all_rows(said: _Said, image: OmeImage) -> Iterator[pd.DataFrame]:
    """Yield the rows of the patches, by their place in the image: those of some frames after the other."""
    known, path = _known(said), folder("labels", said.labels.key, "cells.zarr")
    times = read_rows(said.objects, path, columns=("t",))["t"].to_numpy()
    start = stop = 0
    for edge in [*(np.flatnonzero(np.diff(times)) + 1), len(times)]:
        if edge - start > ROWS and stop > start:
            yield _rows(said, image, known, start, stop)
            start = stop
        stop = int(edge)
    yield _rows(said, image, known, start, stop)


def _known(said: _Said) -> pd.DataFrame | None:
    if said.truth is None:
        return None
    known: pd.DataFrame = tables.read_table(said.objects, folder("truth", said.truth.key, "cells.zarr")).obs
    return known


def _rows(said: _Said, image: OmeImage, known: pd.DataFrame | None, start: int, stop: int) -> pd.DataFrame:
    """Return some rows of the patches: the cells that are kept, with what is known of them."""
    labels, settings = said.labels, said.settings
    table = read_rows(said.objects, folder("labels", labels.key, "cells.zarr"), start, stop)
    if known is not None:
        table["population"] = _populations(table, known, labels)
    if settings.edge_cells == "drop":
        table = table[~table["touches_edge"].to_numpy(bool)]
    if settings.area is not None:
        table = table[_of_size(table, settings.area, labels)]
    table = table.copy()
    for name, value in said.sample.model_dump().items():
        table[name] = value
    table["acquisition"] = labels.name
    table.index = pd.Index([layout.cell_name(labels.key, name) for name in table.index])
    table[TURN] = _turns(table, said.clean, settings)
    table["tile"] = _tiles(table, image)
    return table.sort_values(list(PLACE), kind="stable")


def _of_size(table: pd.DataFrame, limits: AreaLimits, labels: Handle) -> NDArray[np.bool_]:
    if limits.unit == "um2" and not labels.metrics.get("pixel_size_um"):
        raise InputError(
            f"{labels.name}: expected a pixel size, as extract.area is in um2, found none; set "
            "ingest.pixel_size_um, or extract.area.unit = 'px'"
        )
    area = table[f"area_{limits.unit}"].to_numpy(np.float64)
    return (area >= limits.least) & (area <= (math.inf if limits.most is None else limits.most))


def _populations(table: pd.DataFrame, known: pd.DataFrame, labels: Handle) -> pd.Categorical:
    """Return the population of each found cell, from the nearest known one in the raw image."""
    pixel_size_um = labels.metrics.get("pixel_size_um") or 1.0
    population = np.full(len(table), UNKNOWN, dtype=object)
    for t in np.unique(table["t"]):
        here, there = table["t"].to_numpy() == t, known["t"].to_numpy() == t
        found_yx = table.loc[here, ["centroid_y_raw_px", "centroid_x_raw_px"]].to_numpy(np.float64)
        known_yx = known.loc[there, ["centroid_y_px", "centroid_x_px"]].to_numpy(np.float64)
        match = match_centroids(found_yx, known_yx, farthest_px=FARTHEST_UM / pixel_size_um)
        names = known.loc[there, "population"].astype(str).to_numpy(object)
        population[here] = np.where(match >= 0, names[match] if names.size else UNKNOWN, UNKNOWN)
    every = sorted({UNKNOWN, *known["population"].astype(str)})
    return pd.Categorical(population, categories=every)


def _cut_all(objects: Objects, cut: Cut, parts: Iterable[pd.DataFrame], resources: Resources) -> Outcome:
    written: Digests = {}
    count = 0
    with GrowingTable(objects, folder("patches", cut.patches, "cells.zarr"), written) as table:
        for rows in parts:
            table.append(rows)
            count += len(rows)
    path = folder("patches", cut.patches, "patches.zarr")
    shape = (max(1, count), len(cut.channels), cut.size_px, cut.size_px)
    spec = ArraySpec(
        shape=shape,
        dtype=cut.settings.dtype,
        chunks=(ROWS_PER_CHUNK, *shape[1:]),
        shards=(ROWS_PER_SHARD, *shape[1:]),
        axes=("n", "c", "y", "x"),
    )
    arrays.create_array(objects, path, spec, written)
    units = run_units(
        partial(cut_unit, cut=cut),
        grid_regions(shape, (SHARDS_PER_UNIT * ROWS_PER_SHARD, *shape[1:])) if count else [],
        ledger=Ledger(objects, "patches", cut.patches, "rows"),
        resources=resources,
        listener=announce.listener(f"extract {cut.patches[:8]}"),
    )
    return Outcome(
        path=path,
        written=written | units.written,
        counts={"patches": count},
        details={"size_px": cut.size_px},
        units_done=units.computed,
        units_reused=units.reused,
    )
