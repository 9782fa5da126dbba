"""The stage preprocess from store to store: one worker against two, and against its own kernels.

The clock's ratio of two workers to one means something only where both cores do nothing else. On a busy
machine see what it is made of: the CPU time of a frame, which grows where two workers contend for caches and
memory; the share of the time in which a worker is not at a unit but waits for the next; and the CPU time of
the driver, which beside two workers has no core of its own.
"""

import pkgutil
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import psutil
from distributed import get_task_stream
from numpy.typing import NDArray

from storage.regions import Region
from tasks import chunked, frames, parts, preprocess
from tasks.kernels.preprocessing import Cleaner, clean_whole
from tasks.parts import Work
from tasks.settings import PreprocessSettings, Resources
from tasks.stage import Handle
from tests.benchmarks.measuring import scratch_folder
from tests.benchmarks.recordings import forget, record

FRAMES = 32
ROUNDS = 2
TWO_WORKERS = 1.85
OF_KERNELS = 0.8
DRIVER_AT_REST = 0.028  # share of a core that Dask's scheduler takes beside two workers that do nothing
ALONE = Resources(compute="serial", workers=1)
# What the functions of a unit are for; a function's time is that of those below it taken off.
STEPS = {
    "tasks.parts.clean_whole": "kernels",
    "tasks.frames.numbers_of_whole": "kernels",
    "storage.arrays.ZarrArray.read": "read and decompress",
    "tasks.parts.downsample_mean": "halve for the pyramid",
    "storage.shards.ShardFormat.encode": "compress",
    "storage.arrays.digest": "digest",
    "storage.objects.Objects.put": "write",
    "storage.progress.Ledger.mark": "marker",
    "tasks.parts.whole_unit": "rest of a unit",
}


@dataclass(frozen=True)
class Run:
    """Seconds of all of the stage, of its frames, of the workers' and the driver's CPU meanwhile.

    The driver's is what it takes beyond that of being there. `idle` is the share of the frames' time in which
    a worker is not at one of its units.
    """

    stage_s: float
    frames_s: float
    frames_cpu_s: float
    driver_cpu_s: float
    idle: float


def run(size: float, yx: NDArray[np.uint16]) -> None:
    count = max(4, round(FRAMES * size))
    with scratch_folder() as folder:
        raw = record(folder, (count, 1, 1, *yx.shape), lambda region: moved(yx, region))
        runs: dict[int, list[Run]] = {1: [], 2: []}
        kernels: list[tuple[float, float]] = []
        for _ in range(ROUNDS):
            for workers in runs:
                made, work = run_stage(folder, raw, Resources(workers=workers))
                runs[workers].append(made)
                kernels.append(kernel_costs(work.cleaner, yx))
        shares = unit_shares(folder, raw)
        chunked.close()
    print_stage(count, runs, kernels)
    print("\nof the CPU time of a frame's unit, ms: " + ", ".join(f"{n} {1e3 * s:.0f}" for n, s in shares))


def moved(yx: NDArray[np.uint16], region: Region) -> NDArray[np.uint16]:
    """Return the frame moved by a few pixels a time point, so that no two are alike."""
    return np.roll(yx, 56 * region.start[0], axis=0)


def run_stage(store: Path, raw: Handle, resources: Resources) -> tuple[Run, Work]:
    """Run the stage anew; its frames are what comes after the looks at some of them."""
    works: list[Work] = []
    seconds: list[tuple[float, ...]] = []

    def clean_all(work: Work, *given: Any) -> Any:
        with get_task_stream(client) as stream:
            began = workers_cpu_s(), time.perf_counter(), time.process_time()
            units = parts.clean_all(work, *given)
            driver_s, wall_s = time.process_time() - began[2], time.perf_counter() - began[1]
            seconds.append((wall_s, workers_cpu_s() - began[0], max(driver_s - DRIVER_AT_REST * wall_s, 0.0)))
        idle.append(1 - computing_s(stream.data) / (wall_s * resources.workers))
        works.append(work)
        return units

    forget(store)
    idle: list[float] = []
    client = chunked._clients.get(resources)
    with patch.object(preprocess, "clean_all", clean_all):
        began = time.perf_counter()
        preprocess.preprocess.fn(raw, str(store), PreprocessSettings(), resources)
        return Run(time.perf_counter() - began, *seconds[0], idle[0]), works[0]


def computing_s(stream: list[dict[str, Any]]) -> float:
    """Return the seconds that all workers were at their units, from Dask's task stream."""
    spans = [span for task in stream for span in task["startstops"] if span["action"] == "compute"]
    return float(sum(span["stop"] - span["start"] for span in spans))


def workers_cpu_s() -> float:
    """Return the CPU seconds so far of all processes below this one."""
    times = [process.cpu_times() for process in psutil.Process().children(recursive=True)]
    return sum(one.user + one.system for one in times)


def kernel_costs(cleaner: Cleaner, yx: NDArray[np.uint16]) -> tuple[float, float]:
    """Return the CPU and the clock's seconds that the kernels take for one frame, its quality numbers too."""
    wall_s, cpu_s = time.perf_counter(), time.process_time()
    values, facts, clean = clean_whole(cleaner, lambda box: yx[box])
    frames.numbers_of_whole(values, clean, (facts.low, facts.high))
    return time.process_time() - cpu_s, time.perf_counter() - wall_s


def print_stage(count: int, runs: dict[int, list[Run]], kernels: list[tuple[float, float]]) -> None:
    """Print the best run with one worker and with two, each number the best of its own."""
    print(f"\nthe stage on {count} frames, default settings (frames grow as they are turned), s a frame")
    print(f"{'':<12}{'whole stage':>13}{'after looks':>13}{'CPU of workers':>16}{'of driver':>11}{'idle':>7}")
    best = {workers: _best(found) for workers, found in runs.items()}
    for workers, one in best.items():
        print(
            f"{workers} worker{'s' if workers > 1 else ' ':<4}{one.stage_s / count:>13.3f}"
            f"{one.frames_s / count:>13.3f}{one.frames_cpu_s / count:>16.3f}"
            f"{one.driver_cpu_s / count:>11.3f}{one.idle:>7.1%}"
        )
    cpu_s, wall_s = (min(cost[side] for cost in kernels) for side in (0, 1))
    print(f"kernels of a frame alone: {cpu_s:.3f} s of CPU, {wall_s:.3f} s by the clock")
    _verdict("two workers / one, after the looks", best[1].frames_s / best[2].frames_s, TWO_WORKERS)
    _verdict(
        "the same, on two cores of our own", own_cores_s(best[1], 1) / own_cores_s(best[2], 2), TWO_WORKERS
    )
    _verdict("stage / kernels, one worker, clock", wall_s * count / best[1].frames_s, OF_KERNELS)
    _verdict("stage / kernels, one worker, CPU", cpu_s * count / best[1].frames_cpu_s, OF_KERNELS)


def own_cores_s(run: Run, workers: int) -> float:
    """Return what the frames would take on two cores that do nothing else, from CPU times and idle gaps."""
    computing_s = run.frames_cpu_s / workers / (1 - run.idle)
    return max(computing_s, (run.frames_cpu_s + run.driver_cpu_s) / (2 - DRIVER_AT_REST))


def _best(found: list[Run]) -> Run:
    return Run(*(min(getattr(one, name) for one in found) for name in Run.__dataclass_fields__))


def _verdict(name: str, value: float, target: float) -> None:
    print(f"{name:<36}{value:>6.2f}   target {target} {'' if value >= target else 'MISSED'}")


@dataclass
class Shares:
    """CPU seconds of named functions, without those that they call."""

    seconds: dict[str, float] = field(default_factory=dict)
    below: list[float] = field(default_factory=lambda: [0.0])

    def timed(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return the function, whose time is noted."""

        def noted(*given: Any, **named: Any) -> Any:
            began = time.process_time()
            self.below.append(0.0)
            try:
                return function(*given, **named)
            finally:
                whole, inner = time.process_time() - began, self.below.pop()
                self.below[-1] += whole
                self.seconds[name] = self.seconds.get(name, 0.0) + whole - inner

        return noted

    @contextmanager
    def watching(self, steps: dict[str, str]) -> Iterator[None]:
        """Note the time of functions, each given by where it is looked up."""
        with ExitStack() as stack:
            for target, name in steps.items():
                place, attribute = target.rsplit(".", 1)
                owner = pkgutil.resolve_name(place)
                stack.enter_context(
                    patch.object(owner, attribute, self.timed(name, getattr(owner, attribute)))
                )
            yield


def unit_shares(store: Path, raw: Handle) -> list[tuple[str, float]]:
    """Return what a frame's unit spends its CPU time on, in seconds, in this process alone."""
    forget(store)
    shares = Shares()
    found: list[int] = []

    def clean_all(work: Work, *given: Any) -> Any:
        with shares.watching(STEPS):
            units = parts.clean_all(work, *given)
        found.append(units.computed)
        return units

    with patch.object(preprocess, "clean_all", clean_all):
        preprocess.preprocess.fn(raw, str(store), PreprocessSettings(), ALONE)
    return [(name, shares.seconds[name] / found[0]) for name in dict.fromkeys(STEPS.values())]
