"""The steps from planes to labels: facts of planes, maps of a network, tiles, pairs over borders, numbers.

What is known of tiles and cells is held for some frames at a time: as many as keep the workers at work.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation

from storage.arrays import Digests
from storage.images import OmeImage
from storage.objects import Objects, open_store
from storage.progress import Done, Ledger
from storage.regions import Region, grid_regions
from tasks import announce
from tasks.cells import Columns, columns_of_plane, columns_of_planes, groups_of, measure_unit
from tasks.chunked import run_units
from tasks.flow_maps import (
    PlaneUnit,
    diameters_unit,
    labels_of_window,
    maps_array,
    maps_unit,
    patch_units,
    patches_of,
)
from tasks.kernels.cells import cell_boxes
from tasks.kernels.histograms import add_histograms, plane_histogram
from tasks.kernels.pyramid import downsample_labels
from tasks.kernels.stitching import overlapping_pairs, provisional_labels, relabel
from tasks.models.diameter import pooled_diameter
from tasks.models.network import NetworkSegmenter, grey_range
from tasks.numbering import Found, Numbered, numbered, overlap_units, stacked
from tasks.reading import spread
from tasks.segment_settings import Network
from tasks.settings import Resources
from tasks.tiles import LabelTask, PlaneFacts, Tile, scratch_array, tiles_of

Planes = Sequence[tuple[int, int]]
UNITS_AT_A_TIME = 32  # for each worker: a step waits for its last unit, so there should be many
UNITS_OF_OTHERS = 2048  # where a scheduler has workers that are not ours to count


@dataclass
class Steps:
    """Runs the steps of one segmentation.

    Attributes
    ----------
    frames
        Which frames are being labelled, in words; empty where it is all of them.
    written
        Digests of the label image's objects.
    computed, reused
        How many units were worked on, and how many an earlier run had finished.
    """

    objects: Objects
    work: LabelTask
    name: str
    frames: str = ""
    written: Digests = field(default_factory=dict)
    computed: int = 0
    reused: int = 0

    def run(
        self,
        step: str,
        function: Any,
        units: Sequence[Any],
        keep: Callable[[Any], Any] = lambda result: result,
        *,
        gpu: bool = False,
    ) -> list[Any]:
        """Run one step over its units and return their results in order."""
        done = run_units(
            partial(function, work=self.work),
            units,
            ledger=Ledger(self.objects, "labels", self.work.labels, step),
            resources=self.work.resources,
            listener=announce.listener(f"segment {self.name}{self.frames}: {step}"),
            keep=keep,
            gpu=gpu,
        )
        self.written |= done.written
        self.computed += done.computed
        self.reused += done.reused
        return done.results


def run_steps(steps: Steps, image: OmeImage, labels: OmeImage) -> Iterator[tuple[Planes, Columns]]:
    """Label every plane of a clean image; yield planes, some after the other, with their cells."""
    planes = [(t, z) for t in range(image.shape[0]) for z in range(image.shape[2])]
    facts = steps.run("facts", facts_unit, [image.plane(t, 0, z) for t, z in planes], _plane_facts)
    if isinstance(steps.work.settings.method, Network):
        _ask_network(steps, image, planes, facts)
    tiles = tiles_of(labels, facts)
    scratch_array(steps.objects, steps.work, labels, create=True)
    of_frame = len(tiles) // image.shape[0]
    at_a_time = max(1, _units_at_a_time(steps.work.resources) // of_frame)
    for first in range(0, image.shape[0], at_a_time):
        last = min(first + at_a_time, image.shape[0])
        steps.frames = "" if at_a_time >= image.shape[0] else f", frames {first} to {last - 1}"
        part = tiles[first * of_frame : last * of_frame]
        yield list(dict.fromkeys(tile.plane for tile in part)), _cells_of(steps, image, part)


def _units_at_a_time(resources: Resources) -> int:
    ours = resources.compute in ("local", "serial")
    return UNITS_AT_A_TIME * resources.workers if ours else UNITS_OF_OTHERS


def _cells_of(steps: Steps, image: OmeImage, tiles: Sequence[Tile]) -> Columns:
    """Label the tiles of some frames, and measure their cells."""
    found = steps.run("tiles", tile_unit, tiles, Found.of)
    neighboured = [tile for tile in tiles if tile.neighbours]
    pairs = steps.run("pairs", pair_unit, neighboured, partial(np.asarray, dtype=np.uint64))
    joined = dict(zip([tile.name for tile in neighboured], pairs, strict=True))
    final = numbered(tiles, found, joined, steps.work)
    if steps.work.settings.stitch_z is not None and image.shape[2] > 1:
        units = overlap_units(final)
        overlaps = steps.run("overlaps", overlap_unit, units, partial(np.asarray, dtype=np.int64))
        final = stacked(final, units, overlaps, steps.work.settings.stitch_z)
    boxes = steps.run("labels", label_unit, final, _boxes)
    groups = groups_of(tiles, boxes, image.shape[-2:])
    measured = steps.run("cells", measure_unit, groups, columns_of_plane)
    columns = columns_of_planes(measured, image.metadata.pixel_size_um[1])
    return columns | {"flow_error": _misfits(final, steps.work)}


def _misfits(units: Sequence[Numbered], work: LabelTask) -> NDArray[np.float64]:
    """Return the misfit of every cell, plane by plane in the order of the labels; NaN without a network."""
    by_plane = {one.tile.plane: one.misfits[np.argsort(one.labels)] for one in units}
    every = np.concatenate([by_plane[plane] for plane in sorted(by_plane)])
    return every if isinstance(work.settings.method, Network) else np.full_like(every, np.nan)


def _ask_network(
    steps: Steps, image: OmeImage, planes: Sequence[tuple[int, int]], facts: Sequence[PlaneFacts]
) -> None:
    """Find the diameter unless it is given, and keep the network's maps of all planes."""
    segmenter, method = steps.work.segmenter(), steps.work.settings.method
    assert isinstance(segmenter, NetworkSegmenter)
    assert isinstance(method, Network)
    if segmenter.diameter_px is None and not segmenter.network.any_diameter:
        known = dict(zip(planes, facts, strict=True))
        chosen = [(t, image.shape[2] // 2) for t in spread(image.shape[0], method.looked_at)]
        looks = [PlaneUnit(one, grey) for one in chosen if (grey := known[one].grey) is not None]
        found = steps.run("looks", diameters_unit, looks, np.asarray, gpu=True)
        steps.work = replace(steps.work, diameter_px=pooled_diameter(segmenter.network, found))
    else:
        steps.work = replace(steps.work, diameter_px=segmenter.diameter_of([]))
    maps_array(steps.objects, steps.work, create=True)
    units = patch_units(patches_of(steps.work), planes, facts, steps.work.resources.workers)
    steps.run("maps", maps_unit, units, lambda _: None, gpu=True)


def facts_unit(unit: Region, *, work: LabelTask) -> Done:
    """Return what every part of one plane must know of it; the plane is read shard by shard."""
    image = work.clean_image()
    shards = image.levels[0].spec.shards[-2:]
    lead, sides = unit.start[:3], unit.stop[3:]
    regions = [
        Region((*lead, *one.start), (*(at + 1 for at in lead), *one.stop))
        for one in grid_regions(sides, shards)
    ]
    held = [image.read(regions[0])[0, 0, 0]] if len(regions) == 1 else None

    def parts() -> Any:
        return held or (image.read(region)[0, 0, 0] for region in regions)

    if not isinstance(work.settings.method, Network):
        counts = add_histograms([plane_histogram(part) for part in parts()])
        return Done({"histogram": counts.tolist(), "grey": None}, {})
    return Done({"histogram": [], "grey": grey_range(lambda: (part[part > 0] for part in parts()))}, {})


def _plane_facts(result: dict[str, Any]) -> PlaneFacts:
    grey = result["grey"]
    return PlaneFacts(np.asarray(result["histogram"], np.int64), None if grey is None else (grey[0], grey[1]))


def tile_unit(unit: Tile, *, work: LabelTask) -> Done:
    """Label one tile with its halo; keep its provisional labels and a strip of what it saw beyond."""
    image, segmenter = work.clean_image(), work.segmenter()
    plane = image.shape[-2:]
    window = unit.core.expanded((segmenter.halo_px,) * 2, plane)
    labels, errors = _labelled(unit, window, work)
    provisional = provisional_labels(labels, window.start, plane)
    scratch = scratch_array(open_store(work.store), work, work.label_image())
    block = np.zeros(scratch.spec.shards[-2:], scratch.spec.dtype)
    seen = Region(unit.core.start, tuple(min(s, w) for s, w in zip(unit.stop_seen, window.stop, strict=True)))
    part = provisional[seen.within(window)]
    block[: part.shape[0], : part.shape[1]] = part
    scratch.write(unit.scratch_region(scratch.spec.shards), block[None, None])
    core = unit.core.within(window)
    ids, first, areas = np.unique(provisional[core], return_index=True, return_counts=True)
    misfits = errors[labels[core].ravel()[first]]
    cut = np.isin(ids, _at_edge(unit, provisional[core], work))
    rows = [ids, areas, np.nan_to_num(misfits).round(4), cut]
    return Done([row[ids > 0].tolist() for row in rows], {})


def _labelled(unit: Tile, window: Region, work: LabelTask) -> tuple[NDArray[np.uint32], NDArray[np.float64]]:
    """Return the labels of a window, and how badly each fits its flows (0 where there are none)."""
    image, segmenter = work.clean_image(), work.segmenter()
    if isinstance(segmenter, NetworkSegmenter):
        if unit.facts.grey is None:
            return np.zeros(window.shape, np.uint32), np.zeros(1)
        rows, columns = window.slices
        return labels_of_window(unit.plane, (rows, columns), work=work)
    yx = image.read(unit.clean_region(window))[0, 0, 0]
    labels = segmenter.segment(yx, histogram=unit.facts.histogram)
    return labels, np.zeros(int(labels.max()) + 1)


def _at_edge(unit: Tile, core: NDArray[Any], work: LabelTask) -> NDArray[Any]:
    """Return the numbers in a tile's core that touch the border of the frame, if these are to be dropped."""
    if work.settings.edge_cells == "keep":
        return np.zeros(0, core.dtype)
    image = work.clean_image()
    around = unit.core.expanded((1, 1), image.shape[-2:])
    outside = np.pad(image.read(unit.clean_region(around))[0, 0, 0] == 0, 1, constant_values=True)
    near = binary_dilation(outside, np.ones((3, 3), bool))[1:-1, 1:-1][unit.core.within(around)]
    return np.unique(core[near])


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


def _final(unit: Numbered, work: LabelTask) -> NDArray[np.uint32]:
    scratch = scratch_array(open_store(work.store), work, work.label_image())
    height, width = unit.tile.core.shape
    core = scratch.read(unit.tile.scratch_region(scratch.spec.shards))[0, 0, :height, :width]
    return relabel(core, unit.ids.astype(core.dtype), unit.final)


def overlap_unit(unit: Any, *, work: LabelTask) -> Done:
    """Return which labels of a tile lie over which of the plane above, and with how many pixels."""
    here, there = (_final(one, work).ravel() for one in (unit.below, unit.above))
    both = (here > 0) & (there > 0)
    pairs, common = np.unique(np.stack([here[both], there[both]]), axis=1, return_counts=True)
    return Done(np.stack([*pairs, common], axis=1).tolist(), {})


def label_unit(unit: Numbered, *, work: LabelTask) -> Done:
    """Write the final labels of one tile; return each label's box in the plane."""
    written: Digests = {}
    region, labels = unit.tile.label_region(), _final(unit, work)
    work.label_image(written).write(region, labels.reshape(region.shape), downsample_labels)
    return Done((cell_boxes(labels) + np.array([0, *unit.tile.core.start * 2])).tolist(), written)


def _boxes(rows: list[list[int]]) -> NDArray[np.int64]:
    return np.asarray(rows, np.int64).reshape(-1, 5)
