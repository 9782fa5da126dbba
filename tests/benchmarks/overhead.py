"""What Prefect, Dask and MLflow cost: the same work with them and as plain functions, in turn.

Plain means the tasks' own functions one after the other in this process, no flow, no server, no MLflow run.
The processor's seconds are those of this process, of the Dask worker and of both servers.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import pytest
import tifffile
from prefect import flow, task
from prefect.cache_policies import NO_CACHE

from flows import pipeline
from storage.objects import open_store
from storage.progress import Ledger
from tasks import chunked
from tasks.kernels.simulation.design import ExperimentDesign
from tasks.kernels.simulation.scene import simulate_stack
from tasks.settings import Resources
from tasks.train import Tracking
from tests.benchmarks.measuring import Timing, print_table, scratch_folder, timed
from tests.benchmarks.nothing import Nothing, do_nothing
from tests.flows.services.support import servers
from tests.flows.test_kills import no_run
from tests.support import QUICK, SERIAL, carry, found_in, up_to_clusters

CALLS = 200
SMALL, SMALL_PX = 40, 96  # acquisitions of one frame each: hardly any work
LARGE, LARGE_PX, LARGE_FRAMES = 24, 1024, 24  # minutes of work
SETTINGS = QUICK.model_copy(update={"train": QUICK.train.model_copy(update={"epochs": 20})})
ONE_WORKER = Resources(compute="local", workers=1)


@task(cache_policy=NO_CACHE)
def _one(number: int) -> int:
    return number


@flow
def _many(calls: int) -> None:
    for number in range(calls):
        _one(number)


@dataclass(frozen=True)
class Cost:
    """Seconds of the clock and of all processors."""

    clock_s: float
    cpu_s: float


def run(size: float) -> None:
    """Print three tables: single calls, many acquisitions without work, few with much."""
    with scratch_folder() as folder, servers(folder / "home") as tracking_uri:
        _calls(folder, max(10, round(CALLS * size)))
        frames = max(1, round(LARGE_FRAMES * size))
        for title, count, edge_px, length, whole in (
            ("hardly any work, up to the patches", max(4, round(SMALL * size)), SMALL_PX, 1, False),
            ("minutes of work, the whole way to the clusters", LARGE, LARGE_PX, frames, True),
        ):
            recordings = folder / f"recordings-{edge_px}"
            _record(recordings, count, edge_px, length)
            print(f"\n{count} acquisitions of {length} frames of {edge_px} px: {title}\n")
            plain = _measured(lambda place=recordings, far=whole: _plainly(place, folder / "plain", far))
            used = _measured(
                lambda place=recordings, far=whole: _with_all(place, folder / "used", far, tracking_uri)
            )
            _print_costs(plain, used, count)


def _calls(folder: Path, calls: int) -> None:
    units = [Nothing(number) for number in range(calls)]
    objects = open_store(str(folder / "calls"), create=True)
    timings = []
    for name in ("serial", "local"):
        resources = Resources(compute=name, workers=1)
        chunked.connected(resources)
        ledger = Ledger(objects, "raw", name, "nothing")
        seconds = timed(
            lambda r=resources, book=ledger: chunked.run_units(do_nothing, units, ledger=book, resources=r)
        )
        timings.append(Timing(f"a unit with its marker, {name}", seconds / calls * 1e3))
    _many(1)
    timings.append(Timing("a Prefect task run", timed(lambda: _many(calls)) / calls * 1e3))
    chunked.close()
    print(f"{calls} calls of each\n")
    print_table(timings, timings[0].name, unit="ms each")


def _record(folder: Path, count: int, edge_px: int, frames: int) -> None:
    """Write recordings of the same nuclei, each with a grey value more than the one before."""
    folder.mkdir()
    design = ExperimentDesign(
        seed=5, chips=1, positions=1, time_points=4, height_px=edge_px, width_px=edge_px
    )
    tyx = simulate_stack(design, 0, 0).tyx
    whole = np.concatenate([np.roll(tyx, turn, axis=2) for turn in range(-(-frames // 4))])[:frames]
    facts = {"axes": "TYX", "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5}
    for number in range(count):
        tifffile.imwrite(
            folder / f"chip{number % 4}_{number}.ome.tif", whole + np.uint16(number), metadata=facts
        )
    rows = [f"*chip{chip}_*,chip{chip},{'BRAF' if chip % 2 else 'wild type'}" for chip in range(4)]
    (folder / "samples.csv").write_text("\n".join(["file,chip,condition", *rows]) + "\n")


def _plainly(recordings: Path, store: Path, far: bool) -> None:
    objects = open_store(str(store), create=True)
    settings = SETTINGS.model_copy(update={"resources": SERIAL})
    if not far:
        for found in found_in(recordings):
            carry(objects, found, settings)
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Tracking, "run", no_run)
        up_to_clusters(recordings, objects, settings)


def _with_all(recordings: Path, store: Path, far: bool, tracking_uri: str) -> None:
    pipeline.run(
        inputs=[str(recordings)],
        store=str(store),
        name="overhead",
        tracking_uri=tracking_uri,
        settings=SETTINGS.model_copy(update={"resources": ONE_WORKER}),
        until="cluster" if far else "extract",
    )


def _measured(work: Callable[[], object]) -> Cost:
    before, began = _cpu_s(), time.perf_counter()
    work()
    taken = Cost(time.perf_counter() - began, _cpu_s() - before)
    chunked.close()
    return taken


def _cpu_s() -> float:
    """Return the processor's seconds of this process and of those below it, the servers among them."""
    me = psutil.Process()
    return sum(sum(one.cpu_times()[:2]) for one in (me, *me.children(recursive=True)))


def _print_costs(plain: Cost, used: Cost, count: int) -> None:
    print(f"{'':<28}{'clock s':>10}{'CPU s':>10}")
    for name, cost in (("plain functions", plain), ("Prefect, Dask and MLflow", used)):
        print(f"{name:<28}{cost.clock_s:>10.1f}{cost.cpu_s:>10.1f}")
    more = Cost(used.clock_s - plain.clock_s, used.cpu_s - plain.cpu_s)
    print(f"{'more, an acquisition':<28}{more.clock_s / count:>10.2f}{more.cpu_s / count:>10.2f}")
    print(
        f"{'more, percent of the run':<28}"
        f"{100 * more.clock_s / used.clock_s:>10.1f}{100 * more.cpu_s / used.cpu_s:>10.1f}"
    )
