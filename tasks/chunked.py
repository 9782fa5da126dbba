"""Runs a function over the units of a stage, here or on Dask. This is the only module that knows Dask."""

import atexit
import logging
import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any, Protocol

from storage import documents
from storage.arrays import Digests
from storage.errors import ChipcyteError
from storage.progress import Done, Ledger
from tasks.settings import Resources
from tasks.site_cluster import names_a_class, site_cluster

# A worker is one core's: OpenCV must not take the others, and planes that are given back and asked for again
# with each unit should stay its own.
WORKER_ENVIRONMENT = {
    "OPENCV_FOR_THREADS_NUM": "1",
    "MALLOC_TRIM_THRESHOLD_": str(2**28),
    "MALLOC_MMAP_THRESHOLD_": str(2**27),
}
# Dask looks at itself up to a hundred times a second, which takes some percent of the time from the work.
QUIET = {
    "distributed.worker.profile.enabled": False,
    "distributed.worker.memory.monitor-interval": "500ms",
    "distributed.admin.tick.interval": "1s",
    "distributed.admin.system-monitor.interval": "5s",
}
# A local worker that dies is started again by its nanny. Dask looks once more a quarter of a minute after
# a death: where the worker has just died again, it closes the nanny for good, and the run never ends.
NANNIES_STAY = {"distributed.deploy.lost-worker-timeout": "30 days"}
GPU = "GPU"  # the Dask resource: what a worker has of it, such as `dask worker --resources GPU=1`
IN_FLIGHT = 3  # tasks a worker holds or waits for: enough to hide the round trip, few enough to bound memory
WORKERS_START_WITHIN_S = 120  # also how long a local cluster waits for a worker to come back
AT_ONCE = 8  # units of a task where there are many: a task costs Dask 10 ms, a quarter of an ingested plane

TURN: ContextVar[int] = ContextVar("turn", default=0)
"""Whose units workers take first, of several callers at once: those of the lowest turn."""


class Unit(Protocol):
    """What is worked on at a time: anything with a name that can be pickled."""

    @property
    def name(self) -> str:
        """A name that is unique in its step and safe in a path."""
        ...


BlockFunction = Callable[[Any], Done]
Listener = Callable[[int, int], None]


@dataclass
class Units:
    """What the units of a step gave.

    Attributes
    ----------
    results
        The results in the order of the units.
    written
        Digests of all objects the units wrote.
    computed, reused
        How many units were worked on, and how many an earlier run had finished.
    """

    results: list[Any]
    written: Digests
    computed: int
    reused: int


def run_units(
    function: BlockFunction,
    units: Sequence[Unit],
    *,
    ledger: Ledger,
    resources: Resources,
    listener: Listener | None = None,
    keep: Callable[[Any], Any] = lambda result: result,
    gpu: bool = False,
) -> Units:
    """Call `function` on every unit that is not marked done, and mark it.

    Parameters
    ----------
    function
        Reads its unit from the store, writes whole shards that no other unit writes, and returns plain
        JSON and digests. It must be importable by the workers.
    listener
        Told (units done, units in all) after each one.
    keep
        What is kept of each result; plain lists of numbers take four times the memory of an array.
    gpu
        Whether a GPU speeds it up: if workers have the Dask resource GPU, only these work on it, as many
        units at a time as they have of it.

    Raises
    ------
    ChipcyteError
        A unit failed; units already marked stay done.
    """
    marks = ledger.done({unit.name for unit in units})
    done = {name: replace(one, result=keep(one.result)) for name, one in marks.items()}
    missing = [unit for unit in units if unit.name not in done]
    tell = listener or (lambda _done, _total: None)
    tell(len(units) - len(missing), len(units))
    runner = _serially if resources.compute == "serial" or not missing else _on_dask(resources, gpu=gpu)
    marked = _Marked(function, ledger, uuid.uuid4().hex)
    for number, (name, result) in enumerate(runner(marked, missing), start=1):
        done[name] = replace(result, result=keep(result.result))
        tell(len(units) - len(missing) + number, len(units))
    written: Digests = {}
    for unit in units:
        written.update(done[unit.name].written)
    return Units([done[unit.name].result for unit in units], written, len(missing), len(units) - len(missing))


@dataclass(frozen=True)
class _Marked:
    """The block function followed by its marker, so that both happen where the bytes are.

    The arrays exist before the first unit, so that their metadata is read once for all of a step.
    """

    function: BlockFunction
    ledger: Ledger
    step: str

    def __call__(self, unit: Unit) -> tuple[str, Done]:
        with documents.final(self.step):
            done = self.function(unit)
        self.ledger.mark(unit.name, done)
        return unit.name, done

    def each(self, units: Sequence[Unit]) -> list[tuple[str, Done]]:
        """Work on several units, one after the other."""
        return [self(unit) for unit in units]


def _serially(function: _Marked, units: Sequence[Unit]) -> Iterator[tuple[str, Done]]:
    for unit in units:
        yield function(unit)


def _on_dask(
    resources: Resources, *, gpu: bool
) -> Callable[[_Marked, Sequence[Unit]], Iterator[tuple[str, Done]]]:
    def run(function: _Marked, units: Sequence[Unit]) -> Iterator[tuple[str, Done]]:
        from distributed import as_completed

        client = _clients.get(resources)
        workers, limits = _able(client, resources, gpu=gpu)
        waiting = _groups(units, IN_FLIGHT * workers)
        first = [_submit(client, function, group, limits) for group in islice(waiting, IN_FLIGHT * workers)]
        futures: Any = as_completed(first, loop=client.loop)
        try:
            for future in futures:
                yield from _result(future)
                for group in islice(waiting, 1):
                    futures.add(_submit(client, function, group, limits))
        finally:
            client.cancel(list(futures.futures))

    return run


def _groups(units: Sequence[Unit], in_flight: int) -> Iterator[Sequence[Unit]]:
    """Yield the units of a task each: fewer towards the end, so that the workers end together."""
    start = 0
    while start < len(units):
        size = max(1, min(AT_ONCE, (len(units) - start) // in_flight))
        yield units[start : start + size]
        start += size


def _able(client: Any, resources: Resources, *, gpu: bool) -> tuple[int, dict[str, float] | None]:
    """Return how many workers can work on a step, and what each of its tasks takes of their resources."""
    every = client.scheduler_info()["workers"].values()
    with_gpu = [one for one in every if one["resources"].get(GPU)] if gpu else []
    coming = resources.workers if names_a_class(resources) else 1  # they may still wait in the site's queue
    return max(coming, len(with_gpu or every)), {GPU: 1} if with_gpu else None


def _submit(client: Any, function: _Marked, units: Sequence[Unit], limits: dict[str, float] | None) -> Any:
    return client.submit(function.each, units, pure=False, retries=1, resources=limits, priority=-TURN.get())


def _result(future: Any) -> list[tuple[str, Done]]:
    from distributed import KilledWorker
    from distributed.scheduler import NoValidWorkerError, NoWorkerError

    try:
        done: list[tuple[str, Done]] = future.result()
    except (NoWorkerError, NoValidWorkerError) as error:
        raise ChipcyteError(
            f"no Dask worker takes work, and none did within {error.timeout:g} s: they died, or are paused "
            "for lack of memory; raise resources.memory_bytes or lower resources.workers, see the "
            "workers' logs, then run the same command again"
        ) from error
    except KilledWorker as error:
        raise ChipcyteError(
            "a worker died several times on one unit, most likely for lack of memory; "
            "raise resources.memory_bytes or lower resources.workers"
        ) from error
    return done


@dataclass
class _Clients:
    """The Dask clients of this process, made when first needed: a run that reuses everything starts none."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    open: dict[tuple[str, str, int, int], Any] = field(default_factory=dict)

    def get(self, resources: Resources) -> Any:
        key = (resources.compute, str(resources.cluster), resources.workers, resources.memory_bytes)
        with self.lock:
            if key not in self.open:
                self.open[key] = _connect(resources)
            return self.open[key]

    def close(self) -> None:
        with self.lock:
            for client in self.open.values():
                cluster = client.cluster
                client.close()
                if cluster is not None:
                    cluster.close()
            self.open.clear()


_clients = _Clients()


def connected(resources: Resources) -> None:
    """Start the local cluster, or connect to the scheduler, before it is needed."""
    if resources.compute != "serial":
        _clients.get(resources)


def close() -> None:
    """Stop the local cluster, if one was started, and let go of schedulers."""
    _clients.close()


atexit.register(close)


def _connect(resources: Resources) -> Any:
    from dask import config
    from distributed import Client, LocalCluster

    from tasks.models.device import gpu_count

    if resources.compute != "local":
        place = site_cluster(resources) if names_a_class(resources) else resources.compute
        return Client(place, timeout=30, set_as_default=False)
    spawn = {**config.get("distributed.nanny.pre-spawn-environ"), **WORKER_ENVIRONMENT}
    config.set(NANNIES_STAY)  # asked for at each death, so not only while the cluster starts
    patience = {"distributed.scheduler.no-workers-timeout": f"{WORKERS_START_WITHIN_S} s"}
    with config.set(QUIET | patience | {"distributed.nanny.pre-spawn-environ": spawn}):
        cluster = LocalCluster(
            n_workers=0,
            threads_per_worker=1,
            memory_limit=int(resources.memory_bytes / resources.workers),
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
            silence_logs=logging.CRITICAL,  # what a unit raises is raised here again
        )
        _add_workers(cluster, resources.workers, gpu_count())
        client = Client(cluster, set_as_default=False)
        # They start by themselves, and take the configuration that is set at that moment.
        client.wait_for_workers(resources.workers, timeout=WORKERS_START_WITHIN_S)
    return client


def _add_workers(cluster: Any, workers: int, gpus: int) -> None:
    """Start workers of a local cluster, the first with a GPU each as far as there are GPUs."""
    plain = cluster.new_spec
    for number in range(workers):
        mine = {}
        if number < gpus:
            mine = {"resources": {GPU: 1}, "env": {"CUDA_VISIBLE_DEVICES": str(number)}}
        cluster.new_spec = {**plain, "options": plain["options"] | mine}
        cluster.scale(number + 1)
