"""A look at some frames of a recording before they are cleaned: how they lie, and how dense the cells are."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial

import numpy as np

from storage.images import OmeImage
from storage.objects import Objects
from storage.progress import Done, Ledger
from tasks import announce
from tasks.chunked import run_units
from tasks.kernels.density import Density, estimate_density, pool_densities
from tasks.kernels.orientation import ANGLES_DEG, Orientation, estimate_rotation_deg, pool_orientations
from tasks.kernels.preprocessing import Box
from tasks.reading import RawFrames, spread
from tasks.settings import Resources

LONGEST_PX = 2048  # of what is looked at as a whole, full size or halved; of larger frames some parts are
PARTS = 3  # along y and along x


@dataclass(frozen=True)
class Moment:
    """The unit: one of the time points that are cleaned."""

    t: int

    @property
    def name(self) -> str:
        """A name that is unique in the step."""
        return f"{self.t:06d}"


@dataclass(frozen=True)
class Looked:
    """What was seen, and how much work it was."""

    orientations: list[Orientation]
    density: Density
    computed: int
    reused: int


def look(objects: Objects, source: RawFrames, key: str, most: int, resources: Resources) -> Looked:
    """Look at no more than `most` frames, spread evenly over time."""
    units = run_units(
        partial(look_unit, source=source),
        [Moment(t) for t in spread(len(source.times), most)],
        ledger=Ledger(objects, "clean", key, "looks"),
        resources=resources,
        listener=announce.listener("preprocess: look"),
    )
    votes = [
        Orientation(0.0, 0.0, np.asarray(one["grooves"]), np.asarray(one["nuclei"])) for one in units.results
    ]
    densities = [Density(**one["density"]) for one in units.results]
    return Looked(votes, pool_densities(densities), units.computed, units.reused)


def look_unit(unit: Moment, *, source: RawFrames) -> Done:
    """Return the votes on the angle, a number for each of ANGLES_DEG, and the cells counted, of one frame."""
    image = source.image()
    level, depth = _level(image), image.shape[2] // 2
    boxes = [_all_of(image.levels[level].shape[-2:])]
    if level > 1:  # there grooves and small nuclei have run together
        level, boxes = 0, _some_parts(image.shape[-2:])
    read, size_um = source.reader(unit.t, depth, level), image.metadata.pixel_size_um[1]
    orientations, densities = [], []
    for yx in map(read, boxes):
        orientations.append(estimate_rotation_deg(yx))
        densities.append(estimate_density(yx, pixel_size_um=size_um, reduced_by=2**level))
    votes, density = pool_orientations(orientations), pool_densities(densities)
    assert votes.votes.shape == ANGLES_DEG.shape
    result = {
        "grooves": votes.votes.tolist(),
        "nuclei": votes.nuclei_votes.tolist(),
        "density": asdict(density),
    }
    return Done(result, {})


def _level(image: OmeImage) -> int:
    """Return the first level of the pyramid that is small enough to be looked at whole."""
    small = [n for n, level in enumerate(image.levels) if max(level.shape[-2:]) <= LONGEST_PX]
    return small[0] if small else len(image.levels) - 1


def _all_of(shape_yx: Sequence[int]) -> Box:
    return slice(0, shape_yx[0]), slice(0, shape_yx[1])


def _some_parts(shape_yx: Sequence[int]) -> list[Box]:
    """Return parts of a large frame, spread evenly over it."""
    starts = [np.linspace(0, max(size - LONGEST_PX, 0), PARTS).astype(int).tolist() for size in shape_yx]
    height, width = (min(size, LONGEST_PX) for size in shape_yx)
    return [
        (slice(top, top + height), slice(left, left + width))
        for top in sorted(set(starts[0]))
        for left in sorted(set(starts[1]))
    ]
