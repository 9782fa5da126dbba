"""What a Prefect task and a Dask unit cost, beside calling the same function directly."""

import os

from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.testing.utilities import prefect_test_harness

from storage.objects import open_store
from storage.progress import Ledger
from tasks import chunked
from tasks.settings import Resources
from tests.benchmarks.measuring import Timing, print_table, scratch_folder, timed
from tests.benchmarks.nothing import Nothing, do_nothing

CALLS = 200


@task(cache_policy=NO_CACHE)
def _one(number: int) -> int:
    return number


@flow
def _many(calls: int) -> None:
    for number in range(calls):
        _one(number)


def run(size: float) -> None:
    calls = max(10, round(CALLS * size))
    units = [Nothing(number) for number in range(calls)]
    with scratch_folder() as folder:
        objects = open_store(str(folder / "store"), create=True)
        timings = []
        for name in ("serial", "local"):
            resources = Resources(compute=name, workers=os.cpu_count() or 1)
            chunked.connected(resources)
            ledger = Ledger(objects, "raw", name, "nothing")
            seconds = timed(
                lambda r=resources, book=ledger: chunked.run_units(
                    do_nothing, units, ledger=book, resources=r
                )
            )
            timings.append(Timing(f"a unit with its marker, {name}", seconds / calls * 1e3))
        with prefect_test_harness(server_startup_timeout=120):
            _many(1)
            timings.append(Timing("a Prefect task run", timed(lambda: _many(calls)) / calls * 1e3))
    print(f"{calls} calls of each\n")
    print_table(timings, timings[0].name, unit="ms each")
