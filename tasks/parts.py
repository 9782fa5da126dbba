"""The frames of one image on their way from raw to clean: read, gone through part by part, written.

A frame that is one shard is cleaned in one go. A larger one takes several passes, since some steps need to
know all of it: its range, the histograms of its tiles, its percentiles, when the denoising stops. Each pass
reads the raw frame again; nothing as large as a frame is ever held.
"""

import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from storage import images, layout
from storage.arrays import Digests, digest, power_of_two_shards
from storage.images import OmeImage
from storage.objects import Objects, open_store
from storage.progress import Done, Ledger
from storage.regions import Region
from tasks import announce, frames
from tasks.chunked import Units, run_units
from tasks.kernels import quality_sums
from tasks.kernels.levels import value_range
from tasks.kernels.preprocessing import Box, Cleaner, clean_whole, expanded, within
from tasks.kernels.pyramid import downsample_mean
from tasks.kernels.recipe import Facts
from tasks.kernels.tv import stop_iteration
from tasks.preprocess_settings import Off, PreprocessSettings
from tasks.reading import RawFrames
from tasks.recipes import largest_halo_px
from tasks.settings import Resources

Plane = tuple[int, int]
Item = TypeVar("Item")
LARGEST_SHARD_PX = 4096
FIRST_ITERATIONS = 32  # of the denoising, among which its end is looked for; then among twice as many


@dataclass(frozen=True)
class Work:
    """One preprocessing: what is read, how it is cleaned, and the key of what is made."""

    source: RawFrames
    cleaner: Cleaner
    clean: str

    @property
    def objects(self) -> Objects:
        """The store."""
        return open_store(self.source.store)

    def clean_image(self, written: Digests | None = None) -> OmeImage:
        """Open the image that is made."""
        return images.open_image(self.objects, layout.image_path("clean", self.clean), written)

    def path(self, folder: str, name: str) -> str:
        """Return where something lies that is needed until the image is made."""
        return f"{layout.progress_folder('clean', self.clean)}/kept/{folder}/{name}.npy"

    def keep(self, path: str, array: NDArray[Any]) -> Digests:
        """Keep an array until the image is made."""
        buffer = io.BytesIO()
        np.save(buffer, array, allow_pickle=False)
        self.objects.put(path, buffer.getvalue())
        return {path: digest(buffer.getvalue())}

    def kept(self, path: str) -> NDArray[Any]:
        """Return an array that was kept."""
        array: NDArray[Any] = np.load(io.BytesIO(self.objects.get(path)), allow_pickle=False)
        return array


@dataclass(frozen=True)
class Part:
    """The unit: one shard of the clean image, and what it must know of its frame.

    Attributes
    ----------
    region
        Of the clean image, t c z y x.
    facts
        What is known so far, the maps aside.
    maps
        Where these lie, which are too large to travel; empty while there are none.
    """

    region: Region
    facts: Facts | None = None
    maps: str = ""

    @property
    def name(self) -> str:
        """A name that is unique in its pass."""
        return self.region.name

    @property
    def plane(self) -> Plane:
        """Time point and z plane of the clean image."""
        return self.region.start[0], self.region.start[2]

    @property
    def box(self) -> Box:
        """Rows and columns of the clean frame."""
        rows, columns = self.region.slices[-2:]
        return rows, columns

    def known(self, work: Work) -> Facts:
        """Return the facts, with the maps."""
        assert self.facts is not None
        return replace(self.facts, maps=work.kept(self.maps)) if self.maps else self.facts


def largest_part(raw_shape_yx: Sequence[int], settings: PreprocessSettings) -> tuple[int, int]:
    """Return the edges of the most that a unit holds: the frame turned by any angle, or a shard of it."""
    diagonal = math.ceil(math.hypot(*raw_shape_yx))
    halo_px = largest_halo_px(settings) + quality_sums.HALO_PX
    edge_px = min(diagonal, LARGEST_SHARD_PX + 2 * halo_px)
    return edge_px, edge_px


def unit_count(clean_shape_yx: Sequence[int], settings: PreprocessSettings) -> int:
    """Return how many units a frame takes, all passes together.

    A frame whose denoising takes more than FIRST_ITERATIONS, which nothing but its pixels tells, takes more.
    """
    edges = power_of_two_shards(clean_shape_yx, largest=LARGEST_SHARD_PX)[1]
    shards = math.prod(-(-size // edge) for size, edge in zip(clean_shape_yx, edges, strict=True))
    steps = [settings.contrast, settings.denoise]
    passes = 3 + sum(not isinstance(step, Off) for step in steps)  # ranges, counts, planes
    return shards * passes if shards > 1 else 1


def clean_all(work: Work, resources: Resources, label: str) -> Units:
    """Clean every frame; the results are what `frames.summary` understands, one for each shard.

    The units of all passes are counted as computed, or reused.
    """
    parts = [Part(region) for region in work.clean_image().units()]
    passes = _Passes(work, resources)
    if len(parts) == len({part.plane for part in parts}):
        return passes.run("planes", whole_unit, parts, label)
    units = passes.run("planes", part_unit, passes.gathered(parts), label)
    computed, reused = (sum(counts) for counts in zip(*passes.counted, strict=True))
    return replace(units, computed=computed, reused=reused)


@dataclass(frozen=True)
class _Passes:
    """The passes over frames of several parts, and what is made in between of what the parts tell."""

    work: Work
    resources: Resources
    counted: list[tuple[int, int]] = field(default_factory=list)  # units computed and reused of each

    def run(self, step: str, function: Any, parts: Sequence[Part], label: str | None = None) -> Units:
        """Run one pass; it is heard of by the name of its step where no label is given."""
        units = run_units(
            partial(function, work=self.work),
            parts,
            ledger=Ledger(self.work.objects, "clean", self.work.clean, step),
            resources=self.resources,
            listener=announce.listener(label or f"preprocess: {step}"),
        )
        self.counted.append((units.computed, units.reused))
        return units

    def gathered(self, parts: list[Part]) -> list[Part]:
        """Return the parts, all being known of their frames."""
        parts = self._with_ranges(parts)
        if self.work.cleaner.grid is not None:
            parts = self._with_maps(parts)
        parts = self._with_limits(parts)
        return parts if self.work.cleaner.recipe.denoising is None else self._with_iterations(parts)

    def _with_ranges(self, parts: list[Part]) -> list[Part]:
        ranges = self.run("ranges", range_unit, parts).results
        lows, highs = (_by_plane(parts, [pair[end] for pair in ranges]) for end in (0, 1))
        facts = {plane: Facts(min(lows[plane]), max(highs[plane])) for plane in lows}
        return [replace(part, facts=facts[part.plane]) for part in parts]

    def _with_maps(self, parts: list[Part]) -> list[Part]:
        self.run("histograms", histogram_unit, parts)
        grid = self.work.cleaner.grid
        assert grid is not None
        paths = {}
        for plane, members in _by_plane(parts, parts).items():
            total = np.zeros((*grid.tiles_yx, grid.nbins), np.uint32)
            for part in members:
                rows, columns = part.box
                origin_yx = (rows.start, columns.start)
                tiles = grid.counted_tiles(origin_yx, part.region.shape[-2:])
                total[tiles] += self.work.kept(self.work.path("histograms", part.name))
            paths[plane] = self.work.path("maps", "{:06d}-{:06d}".format(*plane))
            self.work.keep(paths[plane], self.work.cleaner.maps(total))
        return [replace(part, maps=paths[part.plane]) for part in parts]

    def _with_limits(self, parts: list[Part]) -> list[Part]:
        self.run("counts", count_unit, parts)
        facts = {}
        for plane, members in _by_plane(parts, parts).items():
            counts = [self.work.kept(self.work.path("counts", part.name)) for part in members]
            assert members[0].facts is not None
            facts[plane] = self.work.cleaner.with_counts(members[0].facts, np.sum(counts, axis=0))
        return [replace(part, facts=facts[part.plane]) for part in parts]

    def _with_iterations(self, parts: list[Part]) -> list[Part]:
        """Look for the end of the denoising among ever more iterations, until that of each frame is found."""
        denoising = self.work.cleaner.recipe.denoising
        assert denoising is not None
        found: dict[Plane, int] = {}
        iterations = min(FIRST_ITERATIONS, denoising.max_num_iter)
        while missing := [part for part in parts if part.plane not in found]:
            unit = partial(energy_unit, iterations=iterations)
            shares = self.run(f"energies-{iterations}", unit, missing).results
            for plane, energies in _by_plane(missing, shares).items():
                stop = stop_iteration(np.sum(energies, axis=0), denoising.eps, denoising.max_num_iter)
                if stop is not None:
                    found[plane] = stop
            iterations = min(2 * iterations, denoising.max_num_iter)
        return [_with_stop(part, found[part.plane]) for part in parts]


def _with_stop(part: Part, iterations: int) -> Part:
    assert part.facts is not None
    return replace(part, facts=replace(part.facts, iterations=iterations))


def _by_plane(parts: Sequence[Part], items: Sequence[Item]) -> Mapping[Plane, list[Item]]:
    """Group what belongs to the parts by their frames."""
    groups: dict[Plane, list[Item]] = {}
    for part, item in zip(parts, items, strict=True):
        groups.setdefault(part.plane, []).append(item)
    return groups


def range_unit(unit: Part, *, work: Work) -> Done:
    """Return the range of a part's values."""
    values = work.cleaner.values(work.source.reader(*unit.plane), unit.box)
    return Done(list(value_range(values)), {})


def histogram_unit(unit: Part, *, work: Work) -> Done:
    """Keep a part's share of the histograms of its tiles."""
    assert unit.facts is not None
    values = work.cleaner.values(work.source.reader(*unit.plane), unit.box)
    counts = work.cleaner.histograms(work.cleaner.levels(values, unit.facts), unit.box)
    return Done(None, work.keep(work.path("histograms", unit.name), counts))


def count_unit(unit: Part, *, work: Work) -> Done:
    """Keep how many pixels of a part have each level once evened."""
    cleaner, facts = work.cleaner, unit.known(work)
    levels = cleaner.levels(cleaner.values(work.source.reader(*unit.plane), unit.box), facts)
    counts = cleaner.counts(cleaner.evened(levels, unit.box, facts), cleaner.inside(unit.box))
    return Done(None, work.keep(work.path("counts", unit.name), counts))


def energy_unit(unit: Part, *, work: Work, iterations: int) -> Done:
    """Return a part's share of the energy of each of the first iterations of the denoising."""
    read = work.source.reader(*unit.plane)
    return Done(work.cleaner.energies(read, unit.box, unit.known(work), iterations).tolist(), {})


def part_unit(unit: Part, *, work: Work) -> Done:
    """Clean a part of a frame and write it; return what its quality numbers are made of."""
    read, facts = work.source.reader(*unit.plane), unit.known(work)
    wide = expanded(unit.box, quality_sums.HALO_PX, work.cleaner.shape_yx)
    core = within(unit.box, wide)
    values, clean = work.cleaner.clean(read, wide, facts)
    sums = frames.sums_of_part(values, clean, (facts.low, facts.high), core)
    return Done(sums, _written(unit, work, clean[core]))


def whole_unit(unit: Part, *, work: Work) -> Done:
    """Clean a whole frame and write it; return its quality numbers."""
    values, facts, clean = clean_whole(work.cleaner, work.source.reader(*unit.plane))
    return Done(frames.numbers_of_whole(values, clean, (facts.low, facts.high)), _written(unit, work, clean))


def _written(unit: Part, work: Work, clean: NDArray[np.float32]) -> Digests:
    written: Digests = {}
    work.clean_image(written).write(unit.region, clean.reshape(unit.region.shape), downsample_mean)
    return written
