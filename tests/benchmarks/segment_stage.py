"""The stage segment from store to store: beside the bare network, with one worker and with two; its memory.

Processor's seconds where another program would change the clock's. The clock's ratio of two workers to one
means something only on two cores that do nothing else; what two cores of our own would give is told from the
CPU time of the workers and of the driver, as for preprocess.
"""

import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from numpy.typing import NDArray

from storage import arrays, images, layout
from storage.objects import open_store
from storage.ome import ImageMetadata
from storage.regions import Region
from tasks import budget, chunked
from tasks.kernels.geometry import affine_to_raw
from tasks.kernels.pyramid import downsample_mean
from tasks.models.network import NetworkSegmenter
from tasks.models.segmenter import DEFAULT, load_segmenter
from tasks.segment import segment
from tasks.settings import Resources, SegmentSettings
from tasks.stage import Handle
from tasks.tiles import make_segmenter
from tests.benchmarks.measuring import scratch_folder
from tests.benchmarks.mosaic import peak_bytes, restart_peak
from tests.benchmarks.preprocess_stage import DRIVER_AT_REST, workers_cpu_s

ALONE = Resources(compute="serial", workers=1)
TWO = Resources(workers=2)
ROUNDS = 2
OF_BARE = 1.3
TWO_WORKERS = 1.8
SERIES = 4  # frames
KEY = "photographed"


def run(frame: NDArray[np.float32], bare_s: dict[str, float]) -> None:
    """Print what the stage takes of a frame whose nuclei have the network's diameter.

    Parameters
    ----------
    bare_s
        What the network alone takes of it, by the name of the way.
    """
    segmenter = load_segmenter(DEFAULT)
    assert isinstance(segmenter, NetworkSegmenter)
    settings = settings_of(segmenter.network.diameter_px)
    # As preprocess leaves it: 0 is outside the frame alone.
    clean_yx = np.clip(frame, 0, 1) * np.float32(0.999) + np.float32(0.001)
    untiled = replace(segmenter, diameter_px=segmenter.network.diameter_px).segment(clean_yx)
    with scratch_folder() as folder:
        clean = store_clean(folder, clean_yx.shape, lambda region: clean_yx[region.slices[-2:]])
        seconds = []
        for _ in range(ROUNDS + 1):
            began = time.process_time()
            made = segmented(folder, clean, settings, ALONE)
            seconds.append(time.process_time() - began)
        equal = np.array_equal(labels_of(folder, made), untiled)
        print(
            f"\nthe whole stage, one process: {min(seconds[1:]):.2f} s of CPU; labels of the untiled: {equal}"
        )
        for name, taken in bare_s.items():
            verdict(f"stage / {name}", min(seconds[1:]) / taken, OF_BARE, most=True)
        two_workers(folder, clean, settings, ROUNDS)
        memory(folder, clean, settings)
    with scratch_folder() as folder:  # as recordings are: a worker at its end has the next frame to do
        clean = store_clean(folder, clean_yx.shape, lambda region: clean_yx[region.slices[-2:]], SERIES)
        print(f"\n{SERIES} frames")
        two_workers(folder, clean, settings, 2 * ROUNDS)
        chunked.close()


@dataclass(frozen=True)
class Run:
    """Seconds of the stage by the clock, of the workers' CPU, of the driver's beyond that of being there."""

    wall_s: float
    workers_cpu_s: float
    driver_cpu_s: float

    def own_cores_s(self, workers: int) -> float:
        """Return what the stage would take on two cores that do nothing else."""
        shared = (self.workers_cpu_s + self.driver_cpu_s) / (2 - DRIVER_AT_REST)
        return max(self.workers_cpu_s / workers, shared)


def store_clean(
    store: Path, shape_yx: tuple[int, int], pixels: Callable[[Region], NDArray[Any]], frames: int = 1
) -> Handle:
    """Write a clean image, as preprocess does; `pixels` gives a shard, float32 in (0, 1]."""
    objects = open_store(str(store), create=True)
    extra = {"clean_to_raw": affine_to_raw(shape_yx, 0.0, False)}
    image = images.create_image(
        objects,
        layout.image_path("clean", KEY),
        shape=(frames, 1, 1, *shape_yx),
        dtype="float32",
        metadata=ImageMetadata(KEY, (None, 0.5, 0.5), extra=extra),
        written={},
    )
    for region in image.units():
        image.write(region, pixels(region).reshape(region.shape), downsample_mean)
    return Handle("clean", KEY, KEY, objects.uri(image.path))


def settings_of(diameter_px: float, **changed: Any) -> SegmentSettings:
    """Return the settings of a network that is told the diameter."""
    method = {"kind": "network", "model": DEFAULT, "diameter_px": diameter_px}
    return SegmentSettings.model_validate({"method": method} | changed)


def segmented(store: Path, clean: Handle, settings: SegmentSettings, resources: Resources) -> Handle:
    """Label a clean image anew."""
    forget_labels(store)
    return segment.fn(clean, str(store), settings, resources)


def forget_labels(store: Path) -> None:
    """Take away what was made from the clean image."""
    for folder in ("records", "progress", "artifacts/labels", f"{layout.image_path('clean', KEY)}/labels"):
        shutil.rmtree(store / folder, ignore_errors=True)


def labels_of(store: Path, made: Handle) -> NDArray[np.uint32]:
    """Return the labels, axes y x."""
    objects = open_store(str(store))
    array = arrays.open_array(objects, f"{layout.labels_path(KEY, made.key)}/0")
    labels: NDArray[np.uint32] = array.read(Region((0,) * 4, array.shape))[0, 0]
    return labels


def run_stage(store: Path, clean: Handle, settings: SegmentSettings, resources: Resources) -> Run:
    """Time the stage; workers are there before it begins, and have read their network once."""
    chunked.connected(resources)
    before = workers_cpu_s(), time.process_time(), time.perf_counter()
    segmented(store, clean, settings, resources)
    wall_s = time.perf_counter() - before[2]
    driver_s = time.process_time() - before[1] - DRIVER_AT_REST * wall_s
    return Run(wall_s, workers_cpu_s() - before[0], max(driver_s, 0.0))


def two_workers(store: Path, clean: Handle, settings: SegmentSettings, rounds: int) -> None:
    """Print one worker against two, each number the best of its own."""
    runs: dict[int, list[Run]] = {1: [], 2: []}
    for turn in range(rounds + 1):
        for workers, found in runs.items():
            made = run_stage(store, clean, settings, Resources(workers=workers))
            if turn:
                found.append(made)
    print(f"\n{'':<12}{'clock s':>9}{'CPU of workers':>16}{'of driver':>11}")
    best = {workers: _best(found) for workers, found in runs.items()}
    for workers, one in best.items():
        name = f"{workers} worker{'s' if workers > 1 else ''}"
        print(f"{name:<12}{one.wall_s:>9.2f}{one.workers_cpu_s:>16.2f}{one.driver_cpu_s:>11.2f}")
    verdict("two workers / one, by the clock", best[1].wall_s / best[2].wall_s, TWO_WORKERS)
    verdict("the same, on two cores of our own", best[1].own_cores_s(1) / best[2].own_cores_s(2), TWO_WORKERS)


def _best(found: list[Run]) -> Run:
    return Run(*(min(getattr(one, name) for one in found) for name in Run.__dataclass_fields__))


def verdict(name: str, value: float, target: float, *, most: bool = False) -> None:
    """Print a ratio beside what it is to be at least, or at most."""
    met = value <= target if most else value >= target
    print(f"{name:<44}{value:>6.2f}   {'at most' if most else 'at least'} {target} {'' if met else 'MISSED'}")


@dataclass(frozen=True)
class Peak:
    """High-water marks of the resident sets of the driver and of the largest worker; cells; the clock."""

    driver_bytes: int
    worker_bytes: int
    cells: int
    seconds: float


def peak_of(store: Path, clean: Handle, settings: SegmentSettings) -> Peak:
    """Run the stage with two fresh workers."""
    chunked.close()
    chunked.connected(TWO)
    restart_peak()
    began = time.perf_counter()
    made = segmented(store, clean, settings, TWO)
    seconds = time.perf_counter() - began
    workers = psutil.Process().children(recursive=True)
    largest = max(peak_bytes(one.pid) for one in workers)
    return Peak(peak_bytes(os.getpid()), largest, made.counts["cells"], seconds)


def memory(store: Path, clean: Handle, settings: SegmentSettings) -> None:
    """Print peak memory beside what the budget counts, which is refused where it does not fit."""
    peak = peak_of(store, clean, settings)
    driver, worker = peak.driver_bytes / 2**20, peak.worker_bytes / 2**20
    print(f"\npeak memory: driver {driver:.0f} MiB, worker {worker:.0f} MiB")
    verdict("worker / what plan counts for it", peak.worker_bytes / counted_bytes(settings), 1.0, most=True)


def counted_bytes(settings: SegmentSettings) -> int:
    """Return the memory that a worker is counted to need for a tile or a patch, whatever the frame's size."""
    segmenter = make_segmenter(settings, None)
    assert isinstance(segmenter, NetworkSegmenter)
    network = segmenter.network
    edges = {
        budget.SEGMENT: settings.tile_px + 2 * segmenter.halo_px,
        network.bytes_a_px: network.patch_px,
    }
    return max(budget.network_unit_bytes(per_px, (edge, edge)) for per_px, edge in edges.items())
