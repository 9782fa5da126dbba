"""The memory of the embedded Prefect server over 1500 runs without pixels, ten in a process, one at a time.

Each run has a task, an artifact and an event of its own, beside those that Prefect makes: about nine events,
which the server remembers for half an hour.
"""

import multiprocessing
import time

from prefect import flow, task
from prefect.artifacts import create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.events import emit_event

from flows.services import status
from tests.benchmarks.measuring import scratch_folder
from tests.flows.services.support import servers

RUNS = 1500
TOGETHER = 10  # in one process
LOOK_EVERY = 100
PROCESSES = multiprocessing.get_context("forkserver")  # the imports are paid once, no thread is inherited


@task(cache_policy=NO_CACHE)
def _step(number: int) -> None:
    create_table_artifact([{"number": number}], key=f"number-{number}")
    emit_event("chipcyte.benchmark.step", resource={"prefect.resource.id": f"chipcyte.benchmark.{number}"})


@flow(name="trivial")
def _trivial(number: int) -> None:
    _step(number)


def some_runs(first: int) -> None:
    """Do a few runs, one after the other."""
    for number in range(first, first + TOGETHER):
        _trivial(number)


def run(size: float) -> None:
    """Print what the server holds after each hundred runs."""
    runs = max(LOOK_EVERY, round(RUNS * size / LOOK_EVERY) * LOOK_EVERY)
    with scratch_folder() as folder, servers(folder / "home"):
        PROCESSES.set_forkserver_preload([__name__])
        began = time.monotonic()
        print(f"{'runs':>8}{'minutes':>10}{'MiB':>8}")
        for first in range(0, runs + 1, TOGETHER):
            if first % LOOK_EVERY == 0:
                held = {one.name: one.resident_bytes for one in status(folder / "home")}["prefect"]
                print(f"{first:>8}{(time.monotonic() - began) / 60:>10.0f}{held / 2**20:>8.0f}", flush=True)
            if first < runs:
                process = PROCESSES.Process(target=some_runs, args=(first,))
                process.start()
                process.join()
                assert process.exitcode == 0, "a run failed"
