"""Preprocessing of a mosaic of 40,000 x 40,000 px with two workers: time of each pass, and memory.

The mosaic is a simulated field repeated, each shard of it moved by some pixels; it is written shard by shard.
Memory is the resident set's high-water mark as Linux keeps it (VmHWM). Needs 20 GB of disk at full size.
"""

import math
import os
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import psutil
from numpy.typing import NDArray

from storage.regions import Region
from tasks import chunked, looking, parts
from tasks.preprocess import preprocess
from tasks.settings import PreprocessSettings, Resources
from tasks.stage import Handle
from tests.benchmarks.measuring import scratch_folder, timed
from tests.benchmarks.recordings import record, simulated_frame

EDGE_PX = 40_000
FIELD_PX = 2048
ANGLE_DEG = 5.0
MOST_BYTES = 2 * 2**30
RESOURCES = Resources(workers=2)


def run(size: float) -> None:
    edge_px = round(EDGE_PX * math.sqrt(size))
    field = simulated_frame(FIELD_PX, ANGLE_DEG)
    with scratch_folder() as folder:
        raw = record(folder, (1, 1, 1, edge_px, edge_px), lambda region: repeated(field, region))
        print(f"{edge_px} x {edge_px} uint16, {folder_bytes(folder) / 1e9:.1f} GB in the store\n")
        chunked.connected(RESOURCES)
        restart_peak()
        print(f"{'pass':<16}{'seconds':>9}")
        with patch.object(parts, "run_units", passing), patch.object(looking, "run_units", passing):
            seconds = timed(lambda: preprocess.fn(raw, str(folder), PreprocessSettings(), RESOURCES))
        print(f"{'all':<16}{seconds:>9.1f}\n")
        print_clean(folder, raw)
        print_memory()
        chunked.close()
        print(f"{folder_bytes(folder) / 1e9:.1f} GB in the store at the end")


def repeated(field: NDArray[Any], region: Region) -> NDArray[Any]:
    """Return the pixels of one shard: the field side by side, moved by an amount of the shard's own."""
    height, width = region.shape[-2:]
    down, right = (start // 7 for start in region.start[-2:])
    rows, columns = np.arange(height) + down, np.arange(width) + right
    return field[np.ix_(rows % FIELD_PX, columns % FIELD_PX)]


def passing(*given: Any, **named: Any) -> chunked.Units:
    """Run one pass, and print its name and time."""
    found: list[chunked.Units] = []
    seconds = timed(lambda: found.append(chunked.run_units(*given, **named)))
    print(f"{named['ledger'].step:<16}{seconds:>9.1f}", flush=True)
    return found[0]


def folder_bytes(folder: Path) -> int:
    """Return the size of all files in a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def restart_peak() -> None:
    """Forget the peak of this process so far, which wrote the mosaic."""
    Path("/proc/self/clear_refs").write_text("5")


def print_clean(store: Path, raw: Handle) -> None:
    """Print what was made; a second run finds it, and computes nothing."""
    made = preprocess.fn(raw, str(store), PreprocessSettings(), RESOURCES)
    assert made.reused
    found = {name: made.metrics[name] for name in ("angle_deg", "confidence", "profile", "covered")}
    print(f"{found}, {made.counts['units']} units")


def print_memory() -> None:
    """Print the peak of this process and of each worker."""
    workers = [one for one in psutil.Process().children(recursive=True) if peak_bytes(one.pid) > 2**27]
    print(f"driver {peak_bytes(os.getpid()) / 2**30:.2f} GiB")
    for number, worker in enumerate(workers):
        peak = peak_bytes(worker.pid)
        verdict = "" if peak < MOST_BYTES else "MORE THAN 2 GiB"
        print(f"worker {number} {peak / 2**30:.2f} GiB {verdict}")


def peak_bytes(pid: int) -> int:
    """Return the high-water mark of a process's resident set."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
