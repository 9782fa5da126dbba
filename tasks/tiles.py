"""A segmentation and its tiles: which pixels each sees, writes and shares with its neighbours."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from storage import arrays, images, layout
from storage.arrays import ArraySpec, Digests, ZarrArray
from storage.errors import InputError
from storage.images import OmeImage
from storage.objects import Objects, open_store
from storage.regions import Region, grid_regions
from tasks.models.network import NetworkSegmenter
from tasks.models.networks import SHIPPED, load_network
from tasks.models.threshold import ThresholdSegmenter
from tasks.network_files import local_model
from tasks.refine_settings import CHAMPION
from tasks.segment_settings import Network, Threshold
from tasks.settings import Resources, SegmentSettings

STRIP_PX = (
    32  # what a tile keeps of its view beyond its right and lower border, to compare with the neighbour's
)


AnySegmenter = ThresholdSegmenter | NetworkSegmenter


@dataclass(frozen=True)
class LabelTask:
    """One segmentation: where it reads and writes, and how.

    Attributes
    ----------
    diameter_px
        Of the nuclei of this recording; None where it is not known yet, or nobody asks for it.
    """

    store: str
    clean: str
    labels: str
    settings: SegmentSettings
    resources: Resources
    diameter_px: float | None = None

    def segmenter(self) -> AnySegmenter:
        """Return what labels the planes, for nuclei of the recording's diameter."""
        pixel_size_um = self.clean_image().metadata.pixel_size_um[1]
        made = make_segmenter(self.settings, pixel_size_um, open_store(self.store))
        if isinstance(made, NetworkSegmenter) and self.diameter_px is not None:
            return replace(made, diameter_px=self.diameter_px)
        return made

    def clean_image(self) -> OmeImage:
        """Open the image that is segmented."""
        return images.open_image(open_store(self.store), layout.image_path("clean", self.clean))

    def label_image(self, written: Digests | None = None) -> OmeImage:
        """Open the label image that is made."""
        return images.open_image(open_store(self.store), layout.labels_path(self.clean, self.labels), written)


def make_segmenter(
    settings: SegmentSettings, pixel_size_um: float | None, objects: Objects | None = None
) -> AnySegmenter:
    """Return the segmenter that the settings name, its lengths in px; `objects` may hold its network.

    Raises
    ------
    InputError
        There is no such network on this machine.
    """
    method = settings.method
    px_per_um = 1 / pixel_size_um if pixel_size_um else 1.0
    area = None if settings.min_area_um2 is None else max(1, round(settings.min_area_um2 * px_per_um**2))
    if isinstance(method, Threshold):
        wide_px = method.diameter_um * px_per_um if pixel_size_um else method.diameter_px
        return ThresholdSegmenter(diameter_px=wide_px, min_area_px=area)
    model = SHIPPED[0] if method.model == CHAMPION else method.model
    try:
        network = load_network(model if objects is None else local_model(objects, model))
    except ValueError as error:
        raise InputError(str(error)) from error
    return NetworkSegmenter(
        network,
        diameter_px=_given_px(method, pixel_size_um),
        flow_threshold=method.flow_threshold,
        cellprob_threshold=method.cellprob_threshold,
        min_area_px=area,
    )


def _given_px(method: Network, pixel_size_um: float | None) -> float | None:
    """Return the diameter that the settings give, px; None if it is to be found."""
    if method.diameter_um != "auto" and pixel_size_um:
        return method.diameter_um / pixel_size_um
    return None if method.diameter_px == "auto" else method.diameter_px


@dataclass(frozen=True)
class PlaneFacts:
    """What a part must know of its plane.

    Attributes
    ----------
    histogram
        For a threshold: counts of the pixels in the frame in even bins of [0, 1].
    grey
        For a network: what becomes 0 and 1 of the grey values; None where all are the same.
    """

    histogram: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64), compare=False)
    grey: tuple[float, float] | None = None


@dataclass(frozen=True)
class Tile:
    """The part of one plane that is segmented at a time.

    Attributes
    ----------
    plane
        (t, z).
    core
        Region y x that this tile, and no other, writes.
    place
        Row and column in the grid of tiles.
    facts
        What is known of the whole plane, so that every tile uses the same.
    neighbours
        The tiles right, below and diagonally below.
    """

    plane: tuple[int, int]
    core: Region
    place: tuple[int, int]
    facts: PlaneFacts = PlaneFacts()
    neighbours: tuple["Tile", ...] = ()

    @property
    def name(self) -> str:
        """A name that is unique in the acquisition."""
        return ".".join(f"{number:06d}" for number in (*self.plane, *self.place))

    @property
    def stop_seen(self) -> tuple[int, ...]:
        """Where the strip ends that the tile keeps of its view."""
        return tuple(stop + STRIP_PX for stop in self.core.stop)

    def clean_region(self, window: Region) -> Region:
        """Return a region y x of this plane in the clean image t c z y x."""
        t, z = self.plane
        return Region((t, 0, z, *window.start), (t + 1, 1, z + 1, *window.stop))

    def label_region(self) -> Region:
        """Return the core in the label image t z y x."""
        t, z = self.plane
        return Region((t, z, *self.core.start), (t + 1, z + 1, *self.core.stop))

    def scratch_region(self, shards: tuple[int, ...]) -> Region:
        """Return this tile's shard of the scratch array."""
        start = tuple(index * edge for index, edge in zip(self.place, shards[-2:], strict=True))
        stop = tuple(begin + edge for begin, edge in zip(start, shards[-2:], strict=True))
        t, z = self.plane
        return Region((t, z, *start), (t + 1, z + 1, *stop))


def tiles_of(labels: OmeImage, facts: Sequence[PlaneFacts]) -> list[Tile]:
    """Return the tiles of every plane of a label image, each with its neighbours.

    Parameters
    ----------
    facts
        Of each plane, t slowest, then z.
    """
    t, z, height, width = labels.shape
    shards = labels.levels[0].spec.shards[-2:]
    cores = {
        (region.start[0] // shards[0], region.start[1] // shards[1]): region
        for region in grid_regions((height, width), shards)
    }
    planes = [(i, j) for i in range(t) for j in range(z)]
    return [
        Tile(plane, core, place, known, _neighbours(plane, place, cores))
        for plane, known in zip(planes, facts, strict=True)
        for place, core in cores.items()
    ]


def _neighbours(
    plane: tuple[int, int], place: tuple[int, int], cores: dict[tuple[int, int], Region]
) -> tuple[Tile, ...]:
    around = [(place[0] + down, place[1] + right) for down, right in ((0, 1), (1, 0), (1, 1))]
    return tuple(Tile(plane, cores[there], there) for there in around if there in cores)


def scratch_array(objects: Objects, work: LabelTask, labels: OmeImage, *, create: bool = False) -> ZarrArray:
    """Open (or create) the array of provisional labels: one shard a tile, with the strip it saw beyond."""
    path = f"{layout.progress_folder('labels', work.labels)}/scratch"
    if not create:
        return arrays.open_array(objects, path)
    t, z, height, width = labels.shape
    shards = labels.levels[0].spec.shards[-2:]
    edges = tuple(edge + STRIP_PX for edge in shards)
    counts = tuple(-(-size // edge) for size, edge in zip((height, width), shards, strict=True))
    spec = ArraySpec(
        shape=(t, z, *(count * edge for count, edge in zip(counts, edges, strict=True))),
        dtype="uint32" if height * width < np.iinfo(np.uint32).max else "uint64",
        chunks=(1, 1, *edges),
        shards=(1, 1, *edges),
        axes=("t", "z", "y", "x"),
    )
    return arrays.create_array(objects, path, spec, {})
