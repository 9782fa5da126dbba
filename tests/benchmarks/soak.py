"""Two hundred short runs, three at a time, each a process of its own, on SQLite and then on PostgreSQL."""

import multiprocessing
import os
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil

from flows.services import status
from tasks.kernels.simulation.design import ExperimentDesign
from tasks.settings import Resources, Settings
from tasks.simulate import simulate_experiment
from tests.benchmarks.measuring import scratch_folder
from tests.flows.services.support import free_port, servers
from tests.hosts import postgres
from tests.support import QUICK

RUNS = 200
AT_ONCE = 3
DONE = "done"  # a run leaves its number there
TRAINED_EVERY = 10  # goes on to a model, which MLflow keeps
ON_DASK_EVERY = 20  # with a local cluster
LOOKS = 5
SIZE = {"height_px": 192, "width_px": 192}
MARK = os.environ.setdefault("CHIPCYTE_BENCHMARK", str(os.getpid()))  # all processes from now on bear it
LOCKED = re.compile(r"database is locked", re.IGNORECASE)
PROCESSES = multiprocessing.get_context("forkserver")  # the imports are paid once, no thread is inherited


def one_run(number: int, folder: str, tracking_uri: str) -> None:
    """Simulate two tiny recordings and carry them to their labels, some to a model; all into one store."""
    from flows import pipeline
    from tasks import chunked

    recordings = Path(folder, "recordings", f"{number:04d}")
    simulate_experiment(
        recordings, ExperimentDesign(seed=number, chips=1, positions=1, time_points=1, **SIZE)
    )
    try:
        pipeline.run(
            inputs=[str(recordings)],
            store=f"{folder}/store",
            name=f"soak {number}",
            tracking_uri=tracking_uri,
            settings=_settings(number),
            until="train" if number % TRAINED_EVERY == 0 else "segment",
        )
    finally:
        chunked.close()
    Path(folder, DONE, str(number)).touch()


def _settings(number: int) -> Settings:
    if number % ON_DASK_EVERY:
        return QUICK
    return QUICK.model_copy(update={"resources": Resources(compute="local", workers=1)})


def run(size: float) -> None:
    """Run on SQLite, then on PostgreSQL, as the profiles of a laptop and a workstation have it."""
    runs = max(10, round(RUNS * size))
    for soak in (_on_sqlite, _on_postgres):  # each with a fork server that knows its Prefect
        process = multiprocessing.get_context("spawn").Process(target=soak, args=(runs,))
        process.start()
        process.join()


def _on_sqlite(runs: int) -> None:
    print("\nSQLite\n", flush=True)
    with scratch_folder() as folder:
        _soak(runs, folder)


def _on_postgres(runs: int) -> None:
    print("\nPostgreSQL\n", flush=True)
    if reason := postgres.missing():
        print(f"not run: {reason}")
        return
    with (
        scratch_folder() as folder,
        postgres.running(folder / "postgres", free_port(), ["prefect", "mlflow"]) as server,
    ):
        os.environ.update(server.variables)
        _soak(runs, folder)


def _soak(runs: int, folder: Path) -> None:
    """Run and print what failed, what was logged, what is left, and the servers' memory."""
    PROCESSES.set_forkserver_preload([__name__, "flows.pipeline"])
    with servers(folder / "home") as tracking_uri:
        (folder / DONE).mkdir()
        _by_itself(int)  # starts the server that the processes are forked from
        before = _family()
        memory, began = [_resident_mib(folder / "home")], time.perf_counter()
        for numbers in _parts(range(1, runs + 1)):
            _some_runs(numbers, folder, tracking_uri)
            memory.append(_resident_mib(folder / "home"))
        seconds = time.perf_counter() - began
        left = _settled(before)
        failed = sorted(set(range(1, runs + 1)) - {int(one.name) for one in (folder / DONE).iterdir()})
        locked = Counter(line for log in (folder / "home").rglob("*.log") for line in _locked(log))
        print(f"{runs} runs, {AT_ONCE} at a time, {seconds / runs:.1f} s each: {len(failed)} failed {failed}")
        print(f'"database is locked" in the logs: {locked.total()} lines {dict(locked)}')
        print(f"processes left: {len(left)} {[' '.join(one.cmdline())[:80] for one in left]}")
        print("\nMiB of the servers after so many runs\n")
        print(f"{'runs':>8}{'prefect':>10}{'mlflow':>10}")
        for number, row in enumerate(memory):
            print(f"{runs * number // LOOKS:>8}{row['prefect']:>10.0f}{row['mlflow']:>10.0f}")


def _parts(numbers: range) -> Iterator[range]:
    for look in range(LOOKS):
        yield numbers[len(numbers) * look // LOOKS : len(numbers) * (look + 1) // LOOKS]


def _some_runs(numbers: range, folder: Path, tracking_uri: str) -> None:
    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(lambda number: _by_itself(one_run, number, str(folder), tracking_uri), numbers))


def _by_itself(work: Callable[..., object], *given: object) -> None:
    """Do some work in a process of its own.

    Its exit code would say nothing: two threads that ask a fork server's processes for theirs take each
    other's answers, and one in a hundred comes out as 255.
    """
    process = PROCESSES.Process(target=work, args=given)
    process.start()
    process.join()


def _resident_mib(home: Path) -> dict[str, float]:
    return {one.name: one.resident_bytes / 2**20 for one in status(home)}


def _family() -> set[psutil.Process]:
    """All processes of this session of runs, those whose parent is gone, too."""
    return {one for one in psutil.process_iter() if _is_ours(one)}


def _is_ours(process: psutil.Process) -> bool:
    try:
        return process.environ().get("CHIPCYTE_BENCHMARK") == MARK
    except psutil.Error:
        return False


def _settled(before: set[psutil.Process], patience_s: float = 20) -> set[psutil.Process]:
    """Return the processes that are new, once some time was given to those that are ending."""
    give_up_s = time.monotonic() + patience_s
    while (left := _family() - before) and time.monotonic() < give_up_s:
        time.sleep(1)
    return left


def _locked(log: Path) -> Iterator[str]:
    """Yield for each line that says so what the server was at when it was refused."""
    doing = ""
    for line in log.read_text(errors="replace").splitlines():
        if "| ERROR" in line:
            doing = line.partition(" - ")[2][:80]
        if LOCKED.search(line):
            yield doing
