"""Peak memory of the stages on stacks of 1, 4 and 16 times 512 MiB: it must not grow with the stack.

Each stage runs in a process of its own with two Dask workers. The peak is the resident set's high-water mark
as Linux keeps it (VmHWM), of the process that runs the stage and of the largest process below it. What a cell
more costs the stage's process is printed, too.
"""

import multiprocessing
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import tifffile

from storage.objects import open_store
from storage.samples import Sample
from storage.sources.discovery import find_acquisitions
from tasks import chunked
from tasks.extract import extract
from tasks.ingest import ingest
from tasks.preprocess import preprocess
from tasks.samples import attach_sample
from tasks.segment import segment
from tasks.segment_settings import SegmentSettings, Threshold
from tasks.settings import Resources, Settings
from tasks.stage import Handle
from tests.benchmarks.measuring import scratch_folder, timed

EDGE_PX = 2048
SPACING_PX = 60
BASE_PLANES = 64
MULTIPLES = (1, 4, 16)
STAGES = ("ingest", "preprocess", "segment", "extract")
SETTINGS = Settings(segment=SegmentSettings(method=Threshold()), resources=Resources(workers=2))


@dataclass(frozen=True)
class Peak:
    """One line of the table: megabytes are 2**20 bytes."""

    stage: str
    planes: int
    cells: int
    stage_mb: float
    worker_mb: float
    seconds: float


def run(size: float) -> None:
    planes = max(1, round(BASE_PLANES * size))
    first: dict[str, Peak] = {}
    print(HEADER)
    for multiple in MULTIPLES:
        with scratch_folder() as folder:
            for peak in measure(folder, planes * multiple):
                print(row(peak, first.setdefault(peak.stage, peak)), flush=True)


def measure(folder: Path, planes: int, stages: tuple[str, ...] = STAGES) -> Iterator[Peak]:
    """Yield the peak of each stage on a stack of so many planes, each stage on what those before it made."""
    path, store = write_stack(folder / "stack.ome.tif", planes), str(folder / "store")
    open_store(store, create=True)
    spawn = multiprocessing.get_context("spawn")
    made: dict[str, Handle] = {}
    for stage in stages:
        ours, theirs = spawn.Pipe()
        process = spawn.Process(target=_run_stage, args=(theirs, stage, str(path), store, made))
        process.start()
        theirs.close()  # so that we are told if it dies without an answer
        made[stage], *numbers = ours.recv()
        process.join()
        yield Peak(stage, planes, made[stage].counts.get("cells", 0), *numbers)


def write_stack(path: Path, planes: int) -> Path:
    """Write a time series of grooves, a few hundred nuclei a plane and noise; frames are shifted."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[0:EDGE_PX, 0:EDGE_PX]
    sparse = (y // SPACING_PX % 3 == 0) & (x // SPACING_PX % 3 == 0)
    nuclei = 3000 * (sparse & (np.cos(y / 9) * np.cos(x / 11) > 0.6))
    yx = rng.poisson(400 + nuclei + 60 * (np.sin(x / 3) > 0)).astype(np.uint16)
    with tifffile.TiffWriter(path, bigtiff=True, ome=True) as file:
        frames = (np.roll(yx, 56 * t, axis=0) for t in range(planes))
        metadata = {"axes": "TYX", "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5}
        file.write(frames, shape=(planes, EDGE_PX, EDGE_PX), dtype=np.uint16, metadata=metadata)
    return path


def _run_stage(answer: Any, stage: str, path: str, store: str, made: dict[str, Handle]) -> None:
    handles: list[Handle] = []
    seconds = timed(lambda: handles.append(_stage(stage, path, store, made)))
    workers = psutil.Process().children(recursive=True)
    largest = max(_peak_mb(worker.pid) for worker in workers)
    answer.send((handles[0], _peak_mb(psutil.Process().pid), largest, seconds))
    chunked.close()


def _stage(stage: str, path: str, store: str, made: dict[str, Handle]) -> Handle:
    ours, resources = SETTINGS, SETTINGS.resources
    if stage == "ingest":
        return ingest.fn(find_acquisitions([path])[0], store, ours.ingest, resources)
    if stage == "preprocess":
        return preprocess.fn(made["ingest"], store, ours.preprocess, resources)
    if stage == "segment":
        return segment.fn(made["preprocess"], store, ours.segment, resources)
    sample = attach_sample(open_store(store), made["ingest"], Sample(file="stack.ome.tif"), None)
    return extract.fn(
        clean=made["preprocess"],
        labels=made["segment"],
        sample=sample,
        truth=None,
        store=store,
        settings=ours.extract,
        resources=resources,
    )


def _peak_mb(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))


HEADER = (
    f"{'stage':<12}{'planes':>7}{'cells':>9}{'stage MiB':>11}{'ratio':>7}{'bytes a cell':>14}"
    f"{'worker MiB':>12}{'ratio':>7}{'seconds':>9}"
)


def row(one: Peak, first: Peak) -> str:
    """Return megabytes of the stage's process and of its largest worker, beside the smallest stack's."""
    more = one.cells - first.cells
    of_a_cell = f"{(one.stage_mb - first.stage_mb) * 2**20 / more:.0f}" if more else ""
    return (
        f"{one.stage:<12}{one.planes:>7}{one.cells:>9}{one.stage_mb:>11.0f}"
        f"{one.stage_mb / first.stage_mb:>7.2f}{of_a_cell:>14}{one.worker_mb:>12.0f}"
        f"{one.worker_mb / first.worker_mb:>7.2f}{one.seconds:>9.1f}"
    )
