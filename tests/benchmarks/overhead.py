"""What Prefect, Dask and MLflow cost: the same work with them and as plain functions, in turn.

Plain means the tasks' own functions one after the other in this process, no flow, no server, no MLflow run.
The processor's seconds are those of this process, of the Dask worker and of both servers. What a run costs
once and what an acquisition costs come from a run of few and one of many with hardly any work.

The last run lasts ten minutes by the clock: in the Dask worker the segmenter sleeps two seconds a frame, as
if a network were at work. The plain way is measured without the sleeps, which are added to its clock.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import psutil
import pytest
import tifffile
from prefect import flow, task
from prefect.cache_policies import NO_CACHE

from flows import pipeline
from storage.objects import Objects, open_store
from storage.progress import Ledger
from tasks import chunked
from tasks.kernels.simulation.design import ExperimentDesign
from tasks.kernels.simulation.scene import simulate_stack
from tasks.settings import Resources
from tasks.train import Tracking
from tests.benchmarks.measuring import scratch_folder
from tests.benchmarks.nothing import Nothing, do_nothing, slept_s, slow_down
from tests.flows.services.support import servers
from tests.flows.test_kills import no_run
from tests.support import QUICK, SERIAL, up_to_clusters

CALLS = 200  # of Prefect's tasks
STEPS = 10
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

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(self.clock_s + other.clock_s, self.cpu_s + other.cpu_s)

    def __sub__(self, other: "Cost") -> "Cost":
        return Cost(self.clock_s - other.clock_s, self.cpu_s - other.cpu_s)

    def __mul__(self, times: float) -> "Cost":
        return Cost(self.clock_s * times, self.cpu_s * times)


@dataclass(frozen=True)
class Workload:
    """Recordings for one run; it is made some times each way, and the cheapest of each counts."""

    name: str
    acquisitions: int
    frames: int
    edge_px: int
    turns: int = 1
    pause_s: float = 0.0  # the segmenter's, at each frame


FEW = Workload("few", 3, 1, 192, turns=2)
MANY = Workload("many", 20, 1, 192, turns=2)
TEN_MINUTES = Workload("ten minutes", 12, 24, 192, pause_s=2.0)
MOST = 0.05  # of ten minutes
MOST_S = 1.5  # an acquisition


def run(size: float) -> None:
    """Print what single calls cost, then what whole runs cost, up to the clusters."""
    logging.getLogger("chipcyte").setLevel(logging.ERROR)  # so little data makes every network collapse
    with scratch_folder() as folder, servers(folder / "home") as tracking_uri:
        _calls(folder, max(10, round(CALLS * size)))
        long = replace(TEN_MINUTES, frames=max(2, round(TEN_MINUTES.frames * size)))
        print(f"\n{'up to the clusters, s of clock and CPU':<44}{'plain':>16}{'used':>16}{'more':>16}")
        _compared(replace(FEW, name="warm", turns=1), folder, tracking_uri)  # compiles what is not yet
        pairs = [_compared(one, folder, tracking_uri) for one in (FEW, MANY, long)]
        few, many, more = (used - plain for plain, used in pairs)
        each = (many - few) * (1 / (MANY.acquisitions - FEW.acquisitions))
        print()
        for name, cost in (("once a run", few - each * FEW.acquisitions), ("an acquisition", each)):
            print(f"{name:<44}{cost.clock_s:>16.3f}{cost.cpu_s:>16.3f}")
        _print_verdict(pairs[-1][1].clock_s, more * (1 / long.acquisitions), more)


def _print_verdict(run_s: float, each: Cost, more: Cost) -> None:
    """Print what the longest run cost more, of its clock and for each of its acquisitions.

    The clock is what is judged: what a run takes longer. The CPU's seconds are those of all processors, in
    per cent of one; they hold what servers cost by being there, mostly while the workers wait.
    """
    print(f"\nof the run of {run_s:.0f} s{'clock':>37}{'CPU':>16}{'at most':>16}")
    for name, clock, cpu, most in (
        ("overhead, % of it", 100 * more.clock_s / run_s, 100 * more.cpu_s / run_s, 100 * MOST),
        ("overhead, s an acquisition", each.clock_s, each.cpu_s, MOST_S),
    ):
        said = "" if clock <= most else "MISSED"
        print(f"{name:<44}{clock:>16.2f}{cpu:>16.2f}{most:>16.1f} {said}")


def _compared(work: Workload, folder: Path, tracking_uri: str) -> tuple[Cost, Cost]:
    """Print the costs of plain functions and of a run, in turns; return the cheapest of each."""
    recordings = folder / f"recordings-{work.name}"
    _record(recordings, work.acquisitions, work.edge_px, work.frames)
    plain, used = list[Cost](), list[Cost]()
    for turn in range(work.turns):
        store = folder / f"{work.name}-{turn}"
        quick = _plainly(recordings, store / "plain")
        whole, slept = _with_all(recordings, store / "used", work, tracking_uri)
        plain.append(quick + slept)
        used.append(whole)
    best = [min(costs, key=lambda one: one.cpu_s) for costs in (plain, used)]
    numbers = [f"{one.clock_s:.1f} {one.cpu_s:.1f}" for one in (*best, best[1] - best[0])]
    what = f"{work.acquisitions} acquisitions of {work.frames} x {work.edge_px} px"
    print(f"{what:<44}{numbers[0]:>16}{numbers[1]:>16}{numbers[2]:>16}", flush=True)
    return best[0], best[1]


def _calls(folder: Path, calls: int) -> None:
    """Print what single calls cost."""
    units = [Nothing(number) for number in range(TEN_MINUTES.frames)]
    objects = open_store(str(folder / "calls"), create=True)
    costs = {}
    for name in ("serial", "local"):
        step = partial(_step, objects, units, Resources(compute=name, workers=1))
        step(0)  # the worker is there, and knows the function
        cost = _measured(lambda: [step(number) for number in range(1, STEPS + 1)])  # noqa: B023 - called at once
        costs[f"a unit with its marker, {name}"] = cost * (1 / (STEPS * len(units)))
    _many(1)
    costs["a Prefect task run"] = _measured(lambda: _many(calls)) * (1 / calls)
    print(f"{STEPS} steps of {len(units)} units, {calls} task runs, ms of clock and CPU")
    for name, cost in costs.items():
        print(f"{name:<44}{cost.clock_s * 1e3:>16.1f}{cost.cpu_s * 1e3:>16.1f}")


def _step(objects: Objects, units: list[Nothing], resources: Resources, number: int) -> None:
    ledger = Ledger(objects, "raw", resources.compute, f"step-{number}")
    chunked.run_units(do_nothing, units, ledger=ledger, resources=resources)


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


def _plainly(recordings: Path, store: Path) -> Cost:
    settings = SETTINGS.model_copy(update={"resources": SERIAL})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Tracking, "run", no_run)
        return _measured(lambda: up_to_clusters(recordings, open_store(str(store), create=True), settings))


def _with_all(recordings: Path, store: Path, work: Workload, tracking_uri: str) -> tuple[Cost, Cost]:
    """Return what a run costs, and the seconds of it that the segmenter slept."""
    slept: list[float] = []

    def whole() -> None:
        client = chunked._clients.get(ONE_WORKER)
        if work.pause_s:
            client.run(slow_down, work.pause_s)
        pipeline.run(
            inputs=[str(recordings)],
            store=str(store),
            name="overhead",
            tracking_uri=tracking_uri,
            settings=SETTINGS.model_copy(update={"resources": ONE_WORKER}),
            until="cluster",
        )
        slept.extend(client.run(slept_s).values())

    return _measured(whole), Cost(sum(slept), 0.0)


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
