"""Times a piece of work and prints rows that can be compared."""

import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Timing:
    """One line of a benchmark's table."""

    name: str
    seconds: float
    equal: str = ""


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """A folder that is gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="chipcyte-bench-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def timed(work: Callable[[], object]) -> float:
    """Return the wall seconds of one call."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def cpu_s(work: Callable[[], object]) -> float:
    """Return the processor's seconds of one call: on a busy machine the clock's say little."""
    began = time.process_time()
    work()
    return time.process_time() - began


def best_of_each(
    repeats: int, contenders: dict[str, tuple[Callable[[], object], Callable[[], object]]]
) -> dict[str, float]:
    """Return the shortest of several calls of each (prepare, work), taken in turn: all meet the same load."""
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(repeats):
        for name, (prepare, work) in contenders.items():
            prepare()
            seconds[name].append(timed(work))
    return {name: min(found) for name, found in seconds.items()}


def print_table(timings: list[Timing], ours: str, unit: str = "seconds") -> None:
    """Print seconds, how many times as long as ours, and whether the results are equal."""
    reference = next(timing.seconds for timing in timings if timing.name == ours)
    print(f"{'':<44}{unit:>9}  {'times ours':>10}  equal")
    for timing in timings:
        ratio = timing.seconds / reference
        print(f"{timing.name:<44}{timing.seconds:>9.2f}  {ratio:>10.2f}  {timing.equal}")
