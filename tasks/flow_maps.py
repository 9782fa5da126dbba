"""What a network says of the planes of an image, kept patch by patch until the planes are labelled."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from storage import arrays, layout
from storage.arrays import ArraySpec, ZarrArray
from storage.images import OmeImage
from storage.objects import Objects, open_store
from storage.progress import Done
from storage.regions import Region
from tasks.kernels.flow_targets import flow_error_by_label
from tasks.kernels.patchwork import Patchwork, Place
from tasks.kernels.resampling import Box
from tasks.models.diameter import find_diameters
from tasks.models.network import NetworkSegmenter, halved, normalised
from tasks.models.networks import FLOW_SCALE
from tasks.tiles import LabelTask, PlaneFacts

MAPS = 3
AT_ONCE = 8  # most patches of a unit: what fills a GPU; on a CPU each is computed by itself all the same
UNITS_A_WORKER = 8  # at least, where there are so many patches: the last one to end is waited for


@dataclass(frozen=True)
class StorePicture:
    """A plane of a clean image; see `tasks.models.diameter.Picture`. Outside the frame it is dark."""

    image: OmeImage
    plane: tuple[int, int]
    grey: tuple[float, float]

    @property
    def shape_yx(self) -> tuple[int, int]:
        """Shape of the plane, px."""
        return self.image.shape[-2], self.image.shape[-1]

    def part(self, box: Box, level: int) -> NDArray[np.float32]:
        """Return a part of the plane halved `level` times, from the pyramid as far as that goes."""
        stored = min(level, len(self.image.levels) - 1)
        missing = level - stored
        sides = self.image.levels[stored].shape[-2:]
        (top, left), (bottom, right) = (
            [min(getattr(one, end) << missing, side) for one, side in zip(box, sides, strict=True)]
            for end in ("start", "stop")
        )
        t, z = self.plane
        yx = self.image.read(Region((t, 0, z, top, left), (t + 1, 1, z + 1, bottom, right)), stored)[0, 0, 0]
        inside = np.where(yx == 0, np.float32(self.grey[0]), yx)
        return normalised(halved(inside, missing), self.grey)


@dataclass(frozen=True)
class PlaneUnit:
    """The unit of looking for the diameter: one plane."""

    plane: tuple[int, int]
    grey: tuple[float, float]

    @property
    def name(self) -> str:
        """A name that is unique in the step."""
        return f"{self.plane[0]:06d}.{self.plane[1]:06d}"


@dataclass(frozen=True)
class PatchUnit:
    """The unit of asking the network: some patches of one plane."""

    plane: tuple[int, int]
    grey: tuple[float, float]
    places: tuple[Place, ...]

    @property
    def name(self) -> str:
        """A name that is unique in the step; units of another number of patches have others."""
        return ".".join(f"{number:06d}" for number in (*self.plane, *self.places[0], len(self.places)))


def diameters_unit(unit: PlaneUnit, *, work: LabelTask) -> Done:
    """Return diameters of some nuclei of one plane, px."""
    picture = StorePicture(work.clean_image(), unit.plane, unit.grey)
    return Done(find_diameters(_segmenter(work).network, picture).tolist(), {})


def patches_at_once(patches: int, workers: int) -> int:
    """Return how many patches a unit has, of so many in all planes together."""
    return max(1, min(AT_ONCE, patches // (UNITS_A_WORKER * workers)))


def patch_units(
    patches: Patchwork, planes: Sequence[tuple[int, int]], facts: Sequence[PlaneFacts], workers: int
) -> list[PatchUnit]:
    """Return the patches of all planes that are not even."""
    places = patches.places
    size = patches_at_once(len(places) * len(planes), workers)
    groups = [tuple(places[k : k + size]) for k in range(0, len(places), size)]
    return [
        PatchUnit(plane, known.grey, group)
        for plane, known in zip(planes, facts, strict=True)
        if known.grey is not None
        for group in groups
    ]


def patches_of(work: LabelTask) -> Patchwork:
    """Return the grid of patches that all planes of the image share."""
    segmenter = _segmenter(work)
    height, width = work.clean_image().shape[-2:]
    return segmenter.patches((height, width), segmenter.diameter_of([]))


def maps_array(objects: Objects, work: LabelTask, *, create: bool = False) -> ZarrArray:
    """Open (or create) the array of maps t z c y x: one shard a patch, so patches lie side by side."""
    path = f"{layout.progress_folder('labels', work.labels)}/maps"
    if not create:
        return arrays.open_array(objects, path)
    patches = patches_of(work)
    t, _, z = work.clean_image().shape[:3]
    sides = [count * edge for count, edge in zip(patches.counts_yx, patches.patch_yx, strict=True)]
    shards = (1, 1, MAPS, *patches.patch_yx)
    spec = ArraySpec((t, z, MAPS, *sides), "float16", shards, shards, ("t", "z", "c", "y", "x"))
    return arrays.create_array(objects, path, spec, {})


def maps_unit(unit: PatchUnit, *, work: LabelTask) -> Done:
    """Ask the network about some patches, and keep what it says."""
    picture = StorePicture(work.clean_image(), unit.plane, unit.grey)
    maps = maps_array(open_store(work.store), work)
    patches = patches_of(work)
    for place, found in zip(unit.places, _segmenter(work).maps(picture, patches, unit.places), strict=True):
        maps.write(_shard(maps, unit.plane, place), found[None, None])
    return Done(None, {})


def labels_of_window(
    plane: tuple[int, int], window: Box, *, work: LabelTask
) -> tuple[NDArray[np.uint32], NDArray[np.float64]]:
    """Return the labels of a part of a plane, and how badly the flows of each fit it, by label."""
    maps, patches, segmenter = maps_array(open_store(work.store), work), patches_of(work), _segmenter(work)
    kept = {place: maps.read(_shard(maps, plane, place))[0, 0] for place in patches.needed(window)}
    joined = patches.joined(kept, window)
    labels = segmenter.labels(joined, segmenter.diameter_of([]))
    return labels, flow_error_by_label(labels, joined[:2] / np.float32(FLOW_SCALE))


def _shard(maps: ZarrArray, plane: tuple[int, int], place: Place) -> Region:
    edges = maps.spec.shards[-2:]
    top, left = (at * edge for at, edge in zip(place, edges, strict=True))
    t, z = plane
    return Region((t, z, 0, top, left), (t + 1, z + 1, MAPS, top + edges[0], left + edges[1]))


def _segmenter(work: LabelTask) -> NetworkSegmenter:
    made = work.segmenter()
    assert isinstance(made, NetworkSegmenter)
    return made
