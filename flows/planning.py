"""What a run would do, from headers alone."""

import math
from collections.abc import Sequence
from typing import Any

from flows.inputs import find_inputs
from storage.arrays import power_of_two_shards
from storage.sources.base import Acquisition
from storage.sources.discovery import open_acquisition
from tasks import budget
from tasks.kernels.geometry import rotated_shape
from tasks.parts import largest_part, unit_count
from tasks.preprocess_settings import Off, RotationFixed
from tasks.settings import PreprocessSettings, Settings
from tasks.tiles import make_segmenter

STEPS_A_PLANE = 2  # segment: facts; extract: at least one
STEPS_A_TILE = 4  # label, pair, renumber, measure


def plan_run(inputs: Sequence[str], settings: Settings) -> dict[str, Any]:
    """Return regions, bytes and peak memory of a run; no pixel is read and nothing is written."""
    found = find_inputs(inputs, settings.ingest, quietly=True)
    planned = [_plan_acquisition(one.acquisition, settings) for one in found]
    resources = settings.resources
    peak = max(one["peak_bytes"] for one in planned) * resources.workers
    return {
        "key": None,
        "uri": None,
        "counts": {
            "acquisitions": len(planned),
            "units": sum(one["units"] for one in planned),
            "frames": sum(one["shape"][0] for one in planned),
            "raw_bytes": sum(one["raw_bytes"] for one in planned),
            "clean_bytes": sum(one["clean_bytes"] for one in planned),
        },
        "metrics": {
            "workers": resources.workers,
            "peak_bytes": peak,
            "memory_bytes": resources.memory_bytes,
            "fits": peak <= resources.memory_bytes,
        },
        "reused": False,
        "acquisitions": planned,
    }


def _plan_acquisition(acquisition: Acquisition, settings: Settings) -> dict[str, Any]:
    source = open_acquisition(acquisition)
    try:
        shape, dtype, pixel_size_um = source.shape, source.dtype, source.metadata.pixel_size_um[1]
    finally:
        source.close()
    t, c, z, height, width = shape
    clean = _largest_clean_plane(height, width, settings.preprocess)
    times = len(settings.preprocess.time_points.of(t))
    planes = times * (1 if settings.preprocess.z == "max" else z)
    tiles = math.prod(-(-size // settings.segment.tile_px) for size in clean)
    raw_shards = power_of_two_shards(shape)[1]
    raw_units = (
        t * c * z * math.prod(-(-s // e) for s, e in zip((height, width), raw_shards[-2:], strict=True))
    )
    halo = 2 * make_segmenter(settings.segment, pixel_size_um or settings.ingest.pixel_size_um).halo_px
    tile = [min(size, settings.segment.tile_px) + halo for size in clean]
    return {
        "name": acquisition.name,
        "shape": list(shape),
        "dtype": dtype.name,
        "units": raw_units
        + min(times, settings.preprocess.looked_at)
        + planes * (unit_count(clean, settings.preprocess) + STEPS_A_PLANE + STEPS_A_TILE * tiles),
        "raw_bytes": math.prod(shape) * dtype.itemsize,
        "clean_bytes": planes * math.prod(clean) * 4,
        "peak_bytes": max(
            budget.unit_bytes(budget.INGEST, (height, width)),
            budget.unit_bytes(budget.PREPROCESS, largest_part((height, width), settings.preprocess)),
            budget.unit_bytes(budget.SEGMENT, tile),
        ),
    }


def _largest_clean_plane(height: int, width: int, settings: PreprocessSettings) -> tuple[int, int]:
    """Return the shape of a clean plane, at most: how far it is turned is known only after the vote."""
    rotation = settings.rotation
    if isinstance(rotation, Off) or not rotation.grow:
        return height, width
    if isinstance(rotation, RotationFixed):
        return rotated_shape((height, width), rotation.angle_deg)
    diagonal = math.ceil(math.hypot(height, width))
    return diagonal, diagonal
