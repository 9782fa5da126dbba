"""segment: a clean image to labels, tile by tile without seams, and a table of the cells found."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from prefect import task
from prefect.cache_policies import NO_CACHE

from storage import images, layout, records, tables
from storage.arrays import Digests
from storage.images import OmeImage
from storage.objects import Objects, open_store
from storage.progress import Done, Ledger
from storage.regions import Region
from tasks import announce, budget
from tasks.cells import columns_of_plane, columns_of_planes, measure_unit
from tasks.chunked import Units, run_units
from tasks.kernels.histograms import plane_histogram
from tasks.kernels.pyramid import downsample_labels
from tasks.kernels.stitching import merge_ids, overlapping_pairs, provisional_labels, relabel
from tasks.models.threshold import ThresholdSegmenter
from tasks.settings import Resources, SegmentSettings, question
from tasks.stage import Handle, Outcome, Question, folder, produce, references
from tasks.tiles import LabelTask, Tile, scratch_array, tiles_of

ALGORITHM = 1


@task(task_run_name="segment {clean.name}", cache_policy=NO_CACHE)
def segment(clean: Handle, store: str, settings: SegmentSettings, resources: Resources) -> Handle:
    """Find the nuclei of every plane, and measure them."""
    objects = open_store(store)
    image = images.open_image(objects, layout.image_path("clean", clean.key))
    segmenter = make_segmenter(settings, image.metadata.pixel_size_um[1])
    asked = Question(
        kind="labels",
        name=clean.name,
        parents=references([clean]),
        settings={**question(settings), "segmenter": [segmenter.name, segmenter.version]},
        algorithm=ALGORITHM,
    )
    done = produce(objects, asked, lambda key: _label(objects, clean, key, settings, resources))
    _list_labels(objects, clean.key)
    return done


def make_segmenter(settings: SegmentSettings, pixel_size_um: float | None) -> ThresholdSegmenter:
    """Return the segmenter that the settings name, its lengths in px."""
    px_per_um = settings.diameter_px / settings.diameter_um if pixel_size_um is None else 1 / pixel_size_um
    return ThresholdSegmenter(
        diameter_px=settings.diameter_um * px_per_um,
        min_area_px=max(1, round(settings.min_area_um2 * px_per_um**2)),
    )


def _list_labels(objects: Objects, clean_key: str) -> None:
    """Keep NGFF's list of label images true to the records."""
    every = records.listing(objects, "labels")
    images.list_labels(objects, clean_key, [one.key for one in every if one.parents[0].key == clean_key])


def _label(
    objects: Objects, clean: Handle, key: str, settings: SegmentSettings, resources: Resources
) -> Outcome:
    image = images.open_image(objects, layout.image_path("clean", clean.key))
    pixel_size_um = image.metadata.pixel_size_um[1]
    if pixel_size_um is None:
        announce.warn(
            f"{clean.name}: the pixel size is not known; nuclei are taken to be "
            f"{settings.diameter_px:g} px wide"
        )
    _check_budget(clean.name, image, settings, resources)
    written: Digests = {}
    t, _, z, height, width = image.shape
    labels = images.create_image(
        objects,
        layout.labels_path(clean.key, key),
        shape=(t, z, height, width),
        dtype="uint32",
        metadata=image.metadata,
        written=written,
        shard_px=settings.tile_px,
    )
    work = LabelTask(objects.url, clean.key, key, settings, resources)
    units = _run_steps(objects, work, image, labels, clean.name)
    columns = columns_of_planes(units["cells"].results, pixel_size_um)
    tables.write_table(
        objects,
        folder("labels", key, "cells.zarr"),
        names=[
            f"t{a}-z{b}-{c}" for a, b, c in zip(columns["t"], columns["z"], columns["label"], strict=True)
        ],
        columns=columns,
        written=written,
    )
    return Outcome(
        path=labels.path,
        written=written | units["labels"].written,
        counts={
            "cells": len(columns["label"]),
            "frames": t,
            "planes": t * z,
        },
        metrics={
            "cells_by_frame": [int(np.sum(columns["t"] == frame)) for frame in range(t)],
            "pixel_size_um": pixel_size_um,
        },
        units_done=sum(step.computed for step in units.values()),
        units_reused=sum(step.reused for step in units.values()),
    )


def _check_budget(name: str, image: OmeImage, settings: SegmentSettings, resources: Resources) -> None:
    """Tiles are segmented, whole planes measured."""
    halo_px = make_segmenter(settings, image.metadata.pixel_size_um[1]).halo_px
    tile_edges = [min(edge, settings.tile_px) + 2 * halo_px for edge in image.shape[-2:]]
    budget.check(f"segment {name}", budget.SEGMENT, tile_edges, resources)
    budget.check(f"measure {name}", budget.MEASURE, image.shape[-2:], resources)


def _run_steps(
    objects: Objects, work: LabelTask, image: OmeImage, labels: OmeImage, name: str
) -> dict[str, Units]:
    """Histogram of each plane; labels of each tile; pairs over borders; final labels; measured cells."""
    planes = [image.plane(t, 0, z) for t in range(image.shape[0]) for z in range(image.shape[2])]

    def step(
        called: str, function: Any, units: Any, keep: Callable[[Any], Any], *, shown: bool = False
    ) -> Units:
        return run_units(
            partial(function, work=work),
            units,
            ledger=Ledger(objects, "labels", work.labels, called),
            resources=work.resources,
            listener=announce.listener(f"segment {name}") if shown else None,
            keep=keep,
        )

    histograms = step("histograms", histogram_unit, planes, tuple)
    tiles = tiles_of(labels, histograms.results)
    scratch_array(objects, work, labels, create=True)
    found = step("tiles", tile_unit, tiles, _numbers, shown=True)
    pairs = step("pairs", pair_unit, [tile for tile in tiles if tile.neighbours], _numbers)
    final = step("labels", label_unit, _numbered(tiles, found.results, pairs.results), lambda _: None)
    cells = step("cells", measure_unit, planes, columns_of_plane)
    return {"histograms": histograms, "tiles": found, "pairs": pairs, "labels": final, "cells": cells}


def histogram_unit(unit: Region, *, work: LabelTask) -> Done:
    """Return the histogram of one plane of the clean image."""
    return Done([int(count) for count in plane_histogram(work.clean_image().read(unit)[0, 0, 0])], {})


def tile_unit(unit: Tile, *, work: LabelTask) -> Done:
    """Segment one tile with its halo; keep its provisional labels and a strip of what it saw beyond."""
    image = work.clean_image()
    segmenter = make_segmenter(work.settings, image.metadata.pixel_size_um[1])
    plane = image.shape[-2:]
    window = unit.core.expanded((segmenter.halo_px,) * 2, plane)
    yx = image.read(unit.clean_region(window))[0, 0, 0]
    labels = segmenter.segment(yx, histogram=np.asarray(unit.histogram, dtype=np.int64))
    provisional = provisional_labels(labels, window.start, plane)
    scratch = scratch_array(open_store(work.store), work, work.label_image())
    block = np.zeros(scratch.spec.shards[-2:], scratch.spec.dtype)
    seen = Region(unit.core.start, tuple(min(s, w) for s, w in zip(unit.stop_seen, window.stop, strict=True)))
    part = provisional[seen.within(window)]
    block[: part.shape[0], : part.shape[1]] = part
    scratch.write(unit.scratch_region(scratch.spec.shards), block[None, None])
    core = provisional[unit.core.within(window)]
    return Done([int(number) for number in np.unique(core[core > 0])], {})


def pair_unit(unit: Tile, *, work: LabelTask) -> Done:
    """Return the numbers that mean one object, of a tile and those right of and below it."""
    scratch = scratch_array(open_store(work.store), work, work.label_image())
    mine = scratch.read(unit.scratch_region(scratch.spec.shards))[0, 0]
    pairs: list[list[int]] = []
    for neighbour in unit.neighbours:
        offset = [there - here for there, here in zip(neighbour.core.start, unit.core.start, strict=True)]
        theirs = scratch.read(neighbour.scratch_region(scratch.spec.shards))[0, 0]
        overlap = [edge - shift for edge, shift in zip(mine.shape, offset, strict=True)]
        height, width = (min(o, c) for o, c in zip(overlap, neighbour.core.shape, strict=True))
        strip = mine[offset[0] : offset[0] + height, offset[1] : offset[1] + width]
        pairs += overlapping_pairs(strip, theirs[:height, :width]).tolist()
    return Done(pairs, {})


@dataclass(frozen=True)
class _Numbered:
    """A tile with what its provisional numbers become."""

    tile: Tile
    ids: NDArray[np.uint64]
    final: NDArray[np.uint32]

    @property
    def name(self) -> str:
        return self.tile.name


def _numbers(plain: list[Any]) -> NDArray[np.uint64]:
    return np.asarray(plain, dtype=np.uint64)


def _numbered(
    tiles: list[Tile], found: list[NDArray[np.uint64]], pairs: list[NDArray[np.uint64]]
) -> list[_Numbered]:
    """Merge the numbers of each plane and make them dense."""
    none = np.zeros((0, 2), np.uint64)
    paired = {tile.name: pair for tile, pair in zip([t for t in tiles if t.neighbours], pairs, strict=True)}
    members: dict[tuple[int, int], list[tuple[Tile, NDArray[np.uint64]]]] = {}
    for tile, ids in zip(tiles, found, strict=True):
        members.setdefault(tile.plane, []).append((tile, ids))
    units = []
    for of_plane in members.values():
        every = np.unique(np.concatenate([ids for _, ids in of_plane]))
        joined = [paired.get(tile.name, none).reshape(-1, 2) for tile, _ in of_plane]
        final = merge_ids(np.concatenate(joined), every)
        for tile, ids in of_plane:
            units.append(_Numbered(tile, ids, final[np.searchsorted(every, ids)].astype(np.uint32)))
    return units


def label_unit(unit: _Numbered, *, work: LabelTask) -> Done:
    """Write the final labels of one tile."""
    objects = open_store(work.store)
    scratch = scratch_array(objects, work, work.label_image())
    height, width = unit.tile.core.shape
    core = scratch.read(unit.tile.scratch_region(scratch.spec.shards))[0, 0, :height, :width]
    labels = relabel(core, unit.ids.astype(core.dtype), unit.final)
    written: Digests = {}
    image = work.label_image(written)
    region = unit.tile.label_region()
    image.write(region, labels.reshape(region.shape), downsample_labels)
    return Done(None, written)
