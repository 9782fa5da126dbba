"""estimate_illumination: the raw images of one chip to the flat-field that they share."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from prefect import task
from prefect.cache_policies import NO_CACHE

from storage import arrays, images, layout, records
from storage.arrays import ArraySpec, Digests
from storage.errors import InputError
from storage.images import SMALLEST_LEVEL_PX, OmeImage
from storage.objects import Objects, open_store
from storage.progress import Done, Ledger
from storage.regions import Region
from tasks import announce, budget
from tasks.channels import choose_channel
from tasks.chunked import run_units
from tasks.kernels.illumination import LEAST_EDGE_PX, Estimate, Illumination, background_grid, estimate_flat
from tasks.kernels.pyramid import downsample_mean
from tasks.passing import may_pass
from tasks.preprocess_settings import FlatField
from tasks.reading import RawFrames, spread
from tasks.settings import PreprocessSettings, Resources, question
from tasks.stage import Handle, Outcome, Question, produce, references

ALGORITHM = 1


@dataclass(frozen=True)
class _Frame:
    """The unit: one time point of one acquisition."""

    raw: str
    channel: int
    t: int

    @property
    def name(self) -> str:
        return f"{self.raw}.{self.t:06d}"


@task(task_run_name="estimate illumination {name}", cache_policy=NO_CACHE, retry_condition_fn=may_pass)
def estimate_illumination(
    *, raws: Sequence[Handle], name: str, store: str, settings: PreprocessSettings, resources: Resources
) -> Handle:
    """Estimate how unevenly a chip was lit; InputError if its frames do not show it.

    Parameters
    ----------
    raws
        The raw images of one chip, in any order.
    name
        What people call the chip.
    settings
        Those of preprocess, with `illumination` on: the frames are those that will be cleaned.
    """
    assert isinstance(settings.illumination, FlatField)
    objects = open_store(store)
    ordered = sorted(raws, key=lambda raw: raw.key)
    chosen = question(settings.illumination) | {"channel": settings.channel, "z": settings.z}
    asked = Question("illumination", name, references(ordered), chosen, ALGORITHM)
    return produce(objects, asked, lambda key: _estimate(objects, ordered, key, name, settings, resources))


def _estimate(
    objects: Objects,
    raws: Sequence[Handle],
    key: str,
    name: str,
    settings: PreprocessSettings,
    resources: Resources,
) -> Outcome:
    assert isinstance(settings.illumination, FlatField)
    dark_counts = settings.illumination.dark_counts
    opened = {raw.key: images.open_image(objects, layout.image_path("raw", raw.key)) for raw in raws}
    _check_alike(name, list(opened.values()), resources)
    units = run_units(
        partial(grid_unit, store=objects.url, project=settings.z == "max", dark_counts=dark_counts),
        _frames(opened, settings.channel, settings.illumination.max_frames),
        ledger=Ledger(objects, "illumination", key, "grids"),
        resources=resources,
        listener=announce.listener(f"estimate illumination {name}"),
    )
    try:
        found = estimate_flat([np.asarray(grid, np.float64) for grid in units.results], dark_counts)
    except ValueError as error:
        raise InputError(f"{name}: {error}") from error
    return Outcome(
        path=layout.flat_path(key),
        written=_write(objects, key, found.flat.yx),
        counts={"frames": found.frames, "acquisitions": len(raws)},
        metrics=_metrics(found),
        units_done=units.computed,
        units_reused=units.reused,
    )


def _metrics(found: Estimate) -> dict[str, Any]:
    return {
        "darkest": round(float(found.flat.yx.min()), 4),
        "brightest": round(float(found.flat.yx.max()), 4),
        "disagreement": round(found.disagreement, 5),
    }


def _check_alike(name: str, opened: Sequence[OmeImage], resources: Resources) -> None:
    """Raise InputError unless all images show the same field through the same optics."""
    fields = {(image.shape[-2:], image.metadata.pixel_size_um[1:]) for image in opened}
    if len(fields) > 1:
        one, other = sorted(fields, key=str)[:2]
        raise InputError(
            f"{name}: expected acquisitions of one chip to have one frame size and pixel size, found "
            f"{one[0]} px of {one[1]} um and {other[0]} px of {other[1]} um; give them different chips in "
            "samples.csv, or leave the illumination uncorrected"
        )
    height, width = opened[0].levels[_level(opened[0])].shape[-2:]
    deepest = max(image.shape[2] for image in opened)
    budget.check(f"estimate illumination {name}", budget.MEASURE, (deepest * height, width), resources)


def _frames(opened: dict[str, OmeImage], channel: int | str, most: int) -> list[_Frame]:
    """Return at most so many frames, spread evenly over acquisitions and time."""
    every = [
        _Frame(key, choose_channel(image.metadata, image.shape[1], channel), t)
        for key, image in opened.items()
        for t in range(image.shape[0])
    ]
    return [every[number] for number in spread(len(every), most)]


def grid_unit(unit: _Frame, *, store: str, project: bool, dark_counts: float) -> Done:
    """Return the background of one frame, a number for each part of the field."""
    frame = RawFrames(store, unit.raw, unit.channel, project, times=(unit.t,))
    yx = _small_frame(frame)
    try:
        return Done(background_grid(yx, dark_counts).tolist(), {})
    except ValueError as error:
        raise InputError(f"{frame.image().metadata.name}, time point {unit.t}: {error}") from error


def _level(image: OmeImage) -> int:
    """Return the smallest level of the pyramid in which a frame, however narrow, is large enough."""
    edges = [min(level.shape[-2:]) for level in image.levels]
    return max(number for number, edge in enumerate(edges) if number == 0 or edge >= LEAST_EDGE_PX)


def _small_frame(frame: RawFrames) -> NDArray[Any]:
    """Return a small frame: the maximum over z, or the middle plane."""
    image = frame.image()
    level = _level(image)
    depth, height, width = image.levels[level].shape[-3:]
    yx: NDArray[Any] = frame.reader(0, depth // 2, level)((slice(0, height), slice(0, width)))
    while max(yx.shape) > SMALLEST_LEVEL_PX and min(yx.shape) >= 2 * LEAST_EDGE_PX:
        yx = downsample_mean(yx)
    return yx


def _write(objects: Objects, key: str, flat_yx: NDArray[np.float32]) -> Digests:
    written: Digests = {}
    shape = flat_yx.shape
    spec = ArraySpec(shape=shape, dtype="float32", chunks=shape, shards=shape, axes=("y", "x"))
    array = arrays.create_array(objects, layout.flat_path(key), spec, written)
    array.write(Region((0, 0), shape), flat_yx)
    return written


def read_flat(objects: Objects, illumination: Handle) -> Illumination:
    """Return the flat-field of an illumination artifact."""
    array = arrays.open_array(objects, layout.flat_path(illumination.key))
    record = records.read(objects, "illumination", illumination.key)
    return Illumination(array.read(Region((0, 0), array.shape)), float(record.settings["dark_counts"]))
