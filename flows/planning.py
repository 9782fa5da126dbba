"""What a run would do, from headers alone."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from flows.inputs import find_inputs
from storage.arrays import power_of_two_shards
from storage.objects import open_store
from storage.sources.base import Acquisition
from storage.sources.discovery import open_acquisition
from tasks import budget
from tasks.flow_maps import patches_at_once
from tasks.kernels.geometry import rotated_shape
from tasks.models.device import gpu_count
from tasks.models.network import NetworkSegmenter
from tasks.models.networks import seconds_a_patch
from tasks.network_files import OF_STORE, local_model
from tasks.parts import largest_part, unit_count
from tasks.preprocess_settings import Off, RotationFixed
from tasks.segment_settings import Network
from tasks.settings import PreprocessSettings, SegmentSettings, Settings
from tasks.tiles import AnySegmenter, make_segmenter

STEPS_A_PLANE = 2  # segment: facts; extract: at least one
STEPS_A_TILE = 4  # label, pair, renumber, measure
TRIAL_FROM_BYTES = 2**30  # what is smaller is through before anybody asks how long it takes


def plan_run(inputs: Sequence[str], settings: Settings, store: str | None = None) -> dict[str, Any]:
    """Return regions, bytes and peak memory of a run; no pixel is read and nothing is written.

    Parameters
    ----------
    store
        Where a network lies that the settings name as one of the store.
    """
    settings = _with_local_network(settings, store)
    found = find_inputs(inputs, settings.ingest, quietly=True)
    planned = [_plan_acquisition(one.acquisition, settings) for one in found]
    resources = settings.resources
    patches = sum(one["patches"] for one in planned)
    network_s = _network_s(patches, settings)
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
            "patches": patches,
        },
        "metrics": {
            "workers": resources.workers,
            "peak_bytes": peak,
            "memory_bytes": resources.memory_bytes,
            "fits": peak <= resources.memory_bytes,
            "network_s": network_s,
            "expected_s": _expected_s(planned, settings, network_s),
        },
        "reused": False,
        "acquisitions": planned,
    }


def _with_local_network(settings: Settings, store: str | None) -> Settings:
    method = settings.segment.method
    if store is None or not isinstance(method, Network) or not method.model.startswith(OF_STORE):
        return settings
    found = method.model_copy(update={"model": local_model(open_store(store), method.model)})
    segment = settings.segment.model_copy(update={"method": found})
    return settings.model_copy(update={"segment": segment})


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
    segmenter = make_segmenter(settings.segment, pixel_size_um or settings.ingest.pixel_size_um)
    tile = [min(size, settings.segment.tile_px) + 2 * segmenter.halo_px for size in clean]
    network = _Network.of(segmenter, clean, tile, settings.segment)
    at_once = patches_at_once(planes * network.patches, settings.resources.workers)
    return {
        "name": acquisition.name,
        "shape": list(shape),
        "dtype": dtype.name,
        "units": raw_units
        + min(times, settings.preprocess.looked_at)
        + planes * (unit_count(clean, settings.preprocess) + STEPS_A_PLANE + STEPS_A_TILE * tiles)
        + planes * math.ceil(network.patches / at_once)
        + min(times, network.looks),
        "patches": planes * network.patches,
        "raw_px": math.prod(shape),
        "plane_px": planes * height * width,
        "raw_bytes": math.prod(shape) * dtype.itemsize,
        "clean_bytes": planes * math.prod(clean) * 4,
        "peak_bytes": max(
            budget.unit_bytes(budget.INGEST, (height, width)),
            budget.unit_bytes(budget.PREPROCESS, largest_part((height, width), settings.preprocess)),
            network.peak_bytes or budget.unit_bytes(budget.SEGMENT, tile),
        ),
    }


@dataclass(frozen=True)
class _Network:
    """What a network is shown of one plane; nothing where a threshold segments.

    Attributes
    ----------
    patches
        How many; where the diameter is looked for, as if nuclei had that which the network knows.
    looks
        Frames in which the diameter is looked for.
    peak_bytes
        Memory of one patch, or of one tile of labels, in a worker.
    """

    patches: int = 0
    looks: int = 0
    peak_bytes: int = 0

    @classmethod
    def of(
        cls, segmenter: AnySegmenter, plane: tuple[int, int], tile: list[int], settings: SegmentSettings
    ) -> "_Network":
        if not isinstance(segmenter, NetworkSegmenter) or not isinstance(settings.method, Network):
            return cls()
        network = segmenter.network
        sought = segmenter.diameter_px is None and not network.any_diameter
        patches = segmenter.patches(plane, segmenter.diameter_px or network.diameter_px)
        return cls(
            len(patches.places),
            settings.method.looked_at if sought else 0,
            max(
                budget.network_unit_bytes(budget.SEGMENT, tile),
                budget.network_unit_bytes(network.bytes_a_px, (network.patch_px,) * 2),
            ),
        )


def _network_s(patches: int, settings: Settings) -> float | None:
    """Return how long the network takes for all patches, by that of one here; None where none is asked."""
    if not patches:
        return None
    segmenter, resources = make_segmenter(settings.segment, None), settings.resources
    assert isinstance(segmenter, NetworkSegmenter)
    at_once = 1 if resources.compute == "serial" else min(resources.workers, gpu_count() or resources.workers)
    return round(patches * seconds_a_patch(segmenter.network) / at_once, 1)


def _expected_s(
    planned: Sequence[dict[str, Any]], settings: Settings, network_s: float | None
) -> float | None:
    """Return how long all stages up to the patches take at this machine's speed; None where that is short.

    All pixels are ingested; what is cleaned, labelled and cut are planes.
    """
    if sum(one["raw_bytes"] for one in planned) < TRIAL_FROM_BYTES:
        return None
    from flows.trial import seconds_a_pixel  # brings all stages with it, which take seconds to import

    rates = seconds_a_pixel(settings)
    raw, planes = (sum(int(one[name]) for one in planned) for name in ("raw_px", "plane_px"))
    work_s = raw * rates["ingest"] + planes * (sum(rates.values()) - rates["ingest"])
    at_once: int = 1 if settings.resources.compute == "serial" else settings.resources.workers
    return round(work_s / at_once + (network_s or 0.0), 1)


def _largest_clean_plane(height: int, width: int, settings: PreprocessSettings) -> tuple[int, int]:
    """Return the shape of a clean plane, at most: how far it is turned is known only after the vote."""
    rotation = settings.rotation
    if isinstance(rotation, Off) or not rotation.grow:
        return height, width
    if isinstance(rotation, RotationFixed):
        return rotated_shape((height, width), rotation.angle_deg)
    diagonal = math.ceil(math.hypot(height, width))
    return diagonal, diagonal
