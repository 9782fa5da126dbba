import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import dask
import distributed  # noqa: F401 - its defaults must be there before one of them is changed
import pytest

from storage.arrays import digest
from storage.errors import ChipcyteError, FormatError
from storage.objects import open_store
from storage.progress import Done, Ledger
from tasks import chunked
from tasks.chunked import AT_ONCE, IN_FLIGHT, run_units
from tasks.settings import Resources
from tests.support import SERIAL


@dataclass(frozen=True)
class Number:
    value: int

    @property
    def name(self) -> str:
        return f"{self.value:04d}"


NUMBERS = [Number(value) for value in (3, 1, 2, 9, 7)]


def square(unit: Number, *, store: str) -> Done:
    content = str(unit.value).encode()
    open_store(store).put(f"x/{unit.name}", content)
    return Done(unit.value**2, {f"x/{unit.name}": digest(content)})


def fails_at_nine(unit: Number, *, store: str) -> Done:
    if unit.value == 9:
        raise FormatError("nine is no number")
    return square(unit, store=store)


def kills_its_process(unit: Number, *, store: str, marker: Path | None) -> Done:
    """Like a worker killed for its memory: once if there is a marker to remember it by, else always."""
    if unit.value == 9 and not (marker and marker.exists()):
        if marker:
            marker.touch()
        os._exit(137)
    return square(unit, store=store)


@pytest.fixture(params=["serial", "dask", "scheduler"])
def resources(request):
    if request.param == "serial":
        return SERIAL
    local = request.getfixturevalue("two_workers")
    if request.param == "dask":
        return local
    address = chunked._clients.get(local).cluster.scheduler_address
    return Resources(compute=address, workers=2)


def ledger(store, step="step"):
    return Ledger(store, "clean", "ab", step)


def test_results_come_in_the_order_of_the_units(resources, store):
    heard = []
    units = run_units(
        partial(square, store=store.url),
        NUMBERS,
        ledger=ledger(store),
        resources=resources,
        listener=lambda *news: heard.append(news),
    )
    assert units.results == [9, 1, 4, 81, 49]
    assert (units.computed, units.reused) == (5, 0)
    assert units.written == {f"x/{unit.name}": digest(str(unit.value).encode()) for unit in NUMBERS}
    assert heard == [(done, 5) for done in range(6)]


def test_marked_units_are_not_worked_on_again(resources, store):
    run_units(partial(square, store=store.url), NUMBERS[:3], ledger=ledger(store), resources=resources)
    units = run_units(partial(square, store=store.url), NUMBERS, ledger=ledger(store), resources=resources)
    assert units.results == [9, 1, 4, 81, 49]
    assert (units.computed, units.reused) == (2, 3)
    assert units.written.keys() == {f"x/{unit.name}" for unit in NUMBERS}


def test_a_marked_unit_whose_bytes_are_gone_is_worked_on_again(store):
    run_units(partial(square, store=store.url), NUMBERS, ledger=ledger(store), resources=SERIAL)
    store.delete(["x/0002"])
    units = run_units(partial(square, store=store.url), NUMBERS, ledger=ledger(store), resources=SERIAL)
    assert (units.computed, units.reused) == (1, 4)
    assert store.get("x/0002") == b"2"


def test_an_error_keeps_its_class_and_text_and_what_is_done_stays_done(resources, store):
    with pytest.raises(FormatError, match="nine is no number"):
        run_units(partial(fails_at_nine, store=store.url), NUMBERS, ledger=ledger(store), resources=resources)
    assert "0009" not in ledger(store).done()
    assert (
        run_units(
            partial(square, store=store.url), NUMBERS, ledger=ledger(store), resources=resources
        ).results[3]
        == 81
    )
    if resources.compute == "serial":
        assert ledger(store).done().keys() == {unit.name for unit in NUMBERS}


def test_no_units_are_no_work(store):
    units = run_units(partial(square, store=store.url), [], ledger=ledger(store), resources=SERIAL)
    assert (units.results, units.written, units.computed) == ([], {}, 0)


def test_no_cluster_is_started_where_nothing_is_missing(store, monkeypatch):
    run_units(partial(square, store=store.url), NUMBERS, ledger=ledger(store), resources=SERIAL)
    monkeypatch.setattr(chunked, "_connect", lambda _: pytest.fail("a cluster was started"))
    unused = Resources(compute="local", workers=7)
    assert (
        run_units(partial(square, store=store.url), NUMBERS, ledger=ledger(store), resources=unused).computed
        == 0
    )


def test_few_units_are_in_flight_however_many_wait(two_workers, store, monkeypatch):
    out, widest, submit, result = 0, 0, chunked._submit, chunked._result

    def submitted(*args):
        nonlocal out, widest
        out += 1
        widest = max(widest, out)
        return submit(*args)

    def returned(future):
        nonlocal out
        out -= 1
        return result(future)

    monkeypatch.setattr(chunked, "_submit", submitted)
    monkeypatch.setattr(chunked, "_result", returned)
    many = [Number(value) for value in range(40)]
    run_units(partial(square, store=store.url), many, ledger=ledger(store), resources=two_workers)
    assert out == 0
    assert widest == IN_FLIGHT * 2


def tells_its_worker(unit: Number) -> Done:
    from distributed import get_worker

    worker = get_worker()
    return Done([worker.address, os.environ.get("CUDA_VISIBLE_DEVICES")], {})


def test_a_local_worker_for_each_gpu_has_it_and_takes_the_work_for_gpus(store, monkeypatch):
    monkeypatch.setattr("tasks.models.device.gpu_count", lambda: 1)
    resources = Resources(compute="local", workers=2, memory_bytes=3 * 2**30)
    try:
        units = run_units(tells_its_worker, NUMBERS, ledger=ledger(store), resources=resources, gpu=True)
        client = chunked._clients.get(resources)
        workers = client.scheduler_info()["workers"]
        environments = client.run(os.environ.copy).values()
    finally:
        chunked.close()
    assert sorted(one["resources"].get("GPU", 0) for one in workers.values()) == [0, 1]
    ((address, visible),) = {tuple(result) for result in units.results}
    assert workers[address]["resources"] == {"GPU": 1}
    assert visible == "0"
    for one in environments:  # without it an ingestion takes twice as long
        assert one.items() >= chunked.WORKER_ENVIRONMENT.items()


@pytest.mark.parametrize("count", [0, 1, 5, 40, 1000])
def test_tasks_hold_several_units_and_single_ones_at_the_end(count):
    units = [Number(value) for value in range(count)]
    groups = list(chunked._groups(units, in_flight=6))
    assert [unit for group in groups for unit in group] == units
    sizes = [len(group) for group in groups]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-6:] == [1] * min(6, len(sizes))
    assert max(sizes, default=1) == min(AT_ONCE, max(1, count // 6))


def test_a_worker_that_dies_once_costs_only_time(two_workers, store, tmp_path):
    function = partial(kills_its_process, store=store.url, marker=tmp_path / "died")
    units = run_units(function, NUMBERS, ledger=ledger(store), resources=two_workers)
    assert units.results == [9, 1, 4, 81, 49]
    assert (tmp_path / "died").exists()


def test_a_worker_that_died_is_not_given_up_before_it_is_back(store, tmp_path):
    """Dask's own patience, at its end while the worker starts again, would close its nanny for good."""
    function = partial(kills_its_process, store=store.url, marker=tmp_path / "died")
    resources = Resources(compute="local", workers=1, memory_bytes=2**31 + 1)  # a cluster of its own
    with dask.config.set({"distributed.deploy.lost-worker-timeout": "1ms"}):
        try:
            units = run_units(function, NUMBERS, ledger=ledger(store), resources=resources)
        finally:
            chunked.close()
    assert units.results == [9, 1, 4, 81, 49]


def test_a_cluster_that_lost_its_workers_is_an_error_not_a_wait_without_end(store):
    resources = Resources(compute="local", workers=1, memory_bytes=2**31 + 2)
    try:
        cluster = chunked._clients.get(resources).cluster
        cluster.scale(0)
        cluster.scheduler.no_workers_timeout = 0.5
        with pytest.raises(ChipcyteError, match=r"no Dask worker takes work, and none did within 0\.5 s"):
            run_units(partial(square, store=store.url), NUMBERS, ledger=ledger(store), resources=resources)
    finally:
        chunked.close()


@pytest.mark.long
def test_a_unit_that_kills_every_worker_is_an_error_that_says_what_to_change(store):
    try:
        with pytest.raises(ChipcyteError, match=r"raise resources\.memory_bytes or lower resources\.workers"):
            run_units(
                partial(kills_its_process, store=store.url, marker=None),
                NUMBERS,
                ledger=ledger(store),
                resources=Resources(compute="local", workers=1, memory_bytes=2**31),
            )
    finally:
        chunked.close()
