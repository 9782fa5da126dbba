"""What Prefect, Dask and MLflow cost: the same work with them and as plain functions, in turn.

Plain means the tasks' own functions one after the other in this process, no flow, no server, no MLflow run.
The processor's seconds are those of this process, of the Dask worker and of both servers. What a run costs
once and what an acquisition costs come from a run of few and one of many with hardly any work. With the
cost of a unit they say what a run of ten minutes pays; the longer run shows what the sum leaves out.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
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
from tests.benchmarks.measuring import scratch_folder
from tests.benchmarks.nothing import Nothing, do_nothing
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


FEW = Workload("few", 3, 1, 192, turns=2)
MANY = Workload("many", 20, 1, 192, turns=2)
LONG = Workload("long", 4, 6, 1024)
TEN_MINUTES = Workload("a run whose network takes some two seconds a frame", 12, 24, 1024)  # is not run
UNITS_A_FRAME = 7.2  # 172 for the 24 frames of the tests on two hosts


def run(size: float) -> None:
    """Print what single calls cost, then what whole runs cost, up to the clusters."""
    logging.getLogger("chipcyte").setLevel(logging.ERROR)  # so little data makes every network collapse
    with scratch_folder() as folder, servers(folder / "home") as tracking_uri:
        unit = _calls(folder, max(10, round(CALLS * size)))
        long = replace(LONG, frames=max(2, round(LONG.frames * size)))
        print(f"\n{'up to the clusters, s of clock and CPU':<44}{'plain':>16}{'used':>16}{'more':>16}")
        _compared(replace(FEW, name="warm", turns=1), folder, tracking_uri)  # compiles what is not yet
        few, many, _ = [_compared(one, folder, tracking_uri) for one in (FEW, MANY, long)]
        _print_model(few, many, unit)


def _print_model(few: Cost, many: Cost, unit: Cost) -> None:
    """Print what a run costs once and what each acquisition adds, and what that is of ten minutes."""
    each = (many - few) * (1 / (MANY.acquisitions - FEW.acquisitions))
    once = few - each * FEW.acquisitions
    units = TEN_MINUTES.acquisitions * TEN_MINUTES.frames * UNITS_A_FRAME
    clock_s, cpu_s = (
        getattr(once, of) + TEN_MINUTES.acquisitions * getattr(each, of) + units * getattr(unit, of)
        for of in ("clock_s", "cpu_s")
    )
    print()
    for name, cost in (("once a run", once), ("an acquisition", each), ("a unit", unit)):
        print(f"{name:<44}{cost.clock_s:>16.3f}{cost.cpu_s:>16.3f}")
    what = f"of ten minutes, {TEN_MINUTES.acquisitions} acquisitions of {TEN_MINUTES.frames} frames, %"
    print(f"{what:<44}{clock_s / 6:>16.1f}{cpu_s / 6:>16.1f}")


def _compared(work: Workload, folder: Path, tracking_uri: str) -> Cost:
    """Print the costs of plain functions and of a run, in turns; return what the run costs more."""
    recordings = folder / f"recordings-{work.name}"
    _record(recordings, work.acquisitions, work.edge_px, work.frames)
    plain, used = list[Cost](), list[Cost]()
    for turn in range(work.turns):
        store = folder / f"{work.name}-{turn}"
        plain.append(_measured(lambda: _plainly(recordings, store / "plain")))  # noqa: B023 - called at once
        used.append(_measured(lambda: _with_all(recordings, store / "used", tracking_uri)))  # noqa: B023
    best = [min(costs, key=lambda one: one.cpu_s) for costs in (plain, used)]
    numbers = [f"{one.clock_s:.1f} {one.cpu_s:.1f}" for one in (*best, best[1] - best[0])]
    what = f"{work.acquisitions} acquisitions of {work.frames} x {work.edge_px} px"
    print(f"{what:<44}{numbers[0]:>16}{numbers[1]:>16}{numbers[2]:>16}", flush=True)
    return best[1] - best[0]


def _calls(folder: Path, calls: int) -> Cost:
    """Print what single calls cost; return what Dask adds to a unit of a step of a recording."""
    units = [Nothing(number) for number in range(TEN_MINUTES.frames)]
    objects = open_store(str(folder / "calls"), create=True)
    costs = {}
    for name in ("serial", "local"):
        resources = Resources(compute=name, workers=1)

        def step(number: int, resources: Resources = resources) -> None:
            ledger = Ledger(objects, "raw", resources.compute, f"step-{number}")
            chunked.run_units(do_nothing, units, ledger=ledger, resources=resources)

        step(0)  # the worker is there, and knows the function
        cost = _measured(lambda: [step(number) for number in range(1, STEPS + 1)])
        costs[f"a unit with its marker, {name}"] = cost * (1 / (STEPS * len(units)))
    _many(1)
    costs["a Prefect task run"] = _measured(lambda: _many(calls)) * (1 / calls)
    print(f"{STEPS} steps of {len(units)} units, {calls} task runs, ms of clock and CPU")
    for name, cost in costs.items():
        print(f"{name:<44}{cost.clock_s * 1e3:>16.1f}{cost.cpu_s * 1e3:>16.1f}")
    serial, local, _ = costs.values()
    return local - serial


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


def _plainly(recordings: Path, store: Path) -> None:
    settings = SETTINGS.model_copy(update={"resources": SERIAL})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Tracking, "run", no_run)
        up_to_clusters(recordings, open_store(str(store), create=True), settings)


def _with_all(recordings: Path, store: Path, tracking_uri: str) -> None:
    pipeline.run(
        inputs=[str(recordings)],
        store=str(store),
        name="overhead",
        tracking_uri=tracking_uri,
        settings=SETTINGS.model_copy(update={"resources": ONE_WORKER}),
        until="cluster",
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
