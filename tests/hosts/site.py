"""What a lab with a cluster runs: PostgreSQL behind Prefect and MLflow, S3, a Dask scheduler, two workers."""

import importlib.util
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from flows.environment import DEFAULTS
from flows.services.recipes import MLFLOW, PREFECT
from tests.hosts import network, postgres
from tests.hosts.network import HOSTS, SITE, Network
from tests.hosts.postgres import Postgres
from tests.support import ROOT

DATABASE, PREFECT_PORT, MLFLOW_PORT, S3_PORT, DASK_PORT = 5432, 4200, 5000, 9000, 8786
BUCKET = "lab"
SCHEDULER = f"tcp://{SITE}:{DASK_PORT}"
PATIENCE_S = 900.0  # seconds; a whole run on a quiet machine takes one
# A cable that is pulled is noticed by the kernel's keep-alive (11 s is the least that Dask takes), a worker
# that hangs by its heartbeats.
DASK = {"DASK_DISTRIBUTED__COMM__TIMEOUTS__TCP": "11s", "DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL": "60s"}
ONE_CORE = {"OMP_NUM_THREADS": "1", "OPENCV_FOR_THREADS_NUM": "1"}
CHIPCYTE = "from flows.cli import main; main()"
ANSWERS = """
import sys, time, urllib.request
for url in sys.argv[1:]:
    while True:
        try:
            urllib.request.urlopen(url, timeout=5).close()
            break
        except OSError:
            time.sleep(0.2)
"""
DIGESTS = """
import hashlib, json, sys
from storage.objects import open_store
from tests.support import contents
found = contents(open_store(sys.argv[1]))
print(json.dumps({name: hashlib.sha256(content).hexdigest() for name, content in found.items()}))
"""


class Put(NamedTuple):
    """One object that was written, by whom and when."""

    time_s: float
    client: str
    name: str
    digest: str


def missing() -> str:
    """Return why there can be no site here; "" if there can."""
    if importlib.util.find_spec("psycopg2") is None:
        return "MLflow needs psycopg2 to reach PostgreSQL"
    return postgres.missing() or network.missing()


@dataclass
class Site:
    """Everything that runs."""

    folder: Path
    network: Network
    database: Postgres
    workers: dict[str, "subprocess.Popen[bytes]"] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        """What clients of the site need to know."""
        here = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
        return {
            **{name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "DASK_"))},
            **DASK,
            "PYTHONPATH": os.pathsep.join(here),
            "CHIPCYTE_HOME": str(self.folder / "home"),
            "PREFECT_HOME": str(self.folder / "home" / "prefect"),
            "PREFECT_API_URL": f"http://127.0.0.1:{PREFECT_PORT}/api",
            "MLFLOW_TRACKING_URI": f"http://127.0.0.1:{MLFLOW_PORT}",
            "AWS_ENDPOINT_URL": f"http://{SITE}:{S3_PORT}",
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "a-secret-of-the-tests",
            "AWS_REGION": "us-east-1",
            "AWS_ALLOW_HTTP": "true",
        }

    def start(
        self, place: str, name: str, command: list[str], environment: dict[str, str] | None = None
    ) -> "subprocess.Popen[bytes]":
        """Start a server on a machine; its output goes to NAME.log."""
        with (self.folder / f"{name}.log").open("ab") as log:
            return subprocess.Popen(
                [*self.network.within(place), *command],
                env=environment or self.environment,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def python(self, *words: str, timeout_s: float = PATIENCE_S) -> str:
        """Run Python on the site's machine; return what it prints."""
        done = subprocess.run(
            [*self.network.within("site"), sys.executable, *words],
            env=self.environment,
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def chipcyte(self, *words: object) -> "subprocess.Popen[str]":
        """Start a command where people sit; standard error goes to a file beside."""
        with (self.folder / "chipcyte.log").open("ab") as log:
            return subprocess.Popen(
                [*self.network.within("site"), sys.executable, "-c", CHIPCYTE, *map(str, words)],
                env=self.environment,
                cwd=self.folder,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )

    def finished(self, run: "subprocess.Popen[str]", timeout_s: float = PATIENCE_S) -> Any:
        """Wait for a command and return its one JSON object."""
        out, _ = run.communicate(timeout=timeout_s)
        assert run.returncode == 0, (self.folder / "chipcyte.log").read_text()[-4000:]
        return json.loads(out)

    def await_answers(self) -> None:
        """Wait until all servers are well."""
        addresses = (f"127.0.0.1:{PREFECT_PORT}/api/health", f"127.0.0.1:{MLFLOW_PORT}/health")
        self.python("-c", ANSWERS, *(f"http://{one}" for one in addresses), f"http://{SITE}:{S3_PORT}")

    def digests(self, store: str) -> dict[str, str]:
        """Return the digest of each object of a store; of records all but the moment they were made."""
        found: dict[str, str] = json.loads(self.python("-c", DIGESTS, store))
        return found

    def puts(self, store: str) -> list[Put]:
        """Return what was put into a store so far."""
        lines = (self.folder / "puts.log").read_text().splitlines()
        every = [Put(*json.loads(line)) for line in lines]
        prefix = store.partition(f"{BUCKET}/")[2] + "/"
        return [
            one._replace(name=one.name.removeprefix(prefix)) for one in every if one.name.startswith(prefix)
        ]

    def await_units(self, store: str, host: str, units: int) -> None:
        """Wait until a host has marked some units of a store as done."""
        give_up_s = time.monotonic() + PATIENCE_S
        while len(marks(self.puts(store), HOSTS[host])) < units:
            assert time.monotonic() < give_up_s, (self.folder / "chipcyte.log").read_text()[-4000:]
            time.sleep(0.02)

    def await_line(self, log: str, text: str) -> None:
        """Wait until a server says something that it has not said so far."""
        path, give_up_s = self.folder / f"{log}.log", time.monotonic() + PATIENCE_S
        before = path.read_text().count(text)
        while path.read_text().count(text) == before:
            assert time.monotonic() < give_up_s, path.read_text()[-4000:]
            time.sleep(0.05)

    def start_worker(self, host: str) -> None:
        """Start the worker of a host, as `docs/how-to/cluster.md` says."""
        words = [SCHEDULER, "--nworkers", "1", "--nthreads", "1", "--memory-limit", "2GiB", "--name", host]
        command = [*_dask("worker"), *words, "--no-dashboard"]
        self.workers[host] = self.start(host, f"worker-{host}", command, self.environment | ONE_CORE)

    def worker_process(self, host: str) -> psutil.Process:
        """Return the process that does the work: the largest child of Dask's nanny."""
        children = psutil.Process(self.workers[host].pid).children(recursive=True)
        return max(children, key=lambda one: one.memory_info().rss)


def marks(puts: list[Put], client: str | None = None) -> list[Put]:
    """Return the done-markers among what was put, those of one client if it is given."""
    return [
        one
        for one in puts
        if one.name.startswith("progress/")
        and one.name.endswith(".json")
        and not one.name.endswith(("lease.json", "zarr.json"))
        and client in (None, one.client)
    ]


def _dask(program: str) -> list[str]:
    return [sys.executable, "-m", "dask", program]


def _servers(site: Site) -> Iterator["subprocess.Popen[bytes]"]:
    """Start what the machines of the site run, as a lab would by hand."""
    home = site.folder / "home"
    given = {
        **os.environ,
        **DEFAULTS,
        "PYTHONPATH": site.environment["PYTHONPATH"],
        **site.database.variables,
    }
    for recipe, port in ((PREFECT, PREFECT_PORT), (MLFLOW, MLFLOW_PORT)):
        recipe.folder(home).mkdir(parents=True)
        environment = recipe.full_environment(home, port, given)
        yield site.start("site", recipe.name, recipe.full_command(home, port), environment)
    words = [SITE, str(S3_PORT), BUCKET, str(site.folder / "puts.log")]
    yield site.start("site", "s3", [sys.executable, "-m", "tests.hosts.s3", *words])
    words = ["--host", SITE, "--port", str(DASK_PORT), "--no-dashboard"]
    yield site.start("site", "scheduler", [*_dask("scheduler"), *words])


@contextmanager
def running(folder: Path) -> Iterator[Site]:
    """Start a site, see `await_answers`; afterwards nothing of it is left."""
    with ExitStack() as stack:
        machines = stack.enter_context(network.network())
        within = machines.within("site")
        database = stack.enter_context(
            postgres.running(folder / "postgres", DATABASE, ["prefect", "mlflow"], within)
        )
        site = Site(folder, machines, database)
        for server in _servers(site):
            stack.callback(_end, server)
        for host in HOSTS:
            site.start_worker(host)
        stack.callback(lambda: [_end(worker) for worker in site.workers.values()])
        yield site


def _end(process: "subprocess.Popen[bytes]") -> None:
    family = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
    for one in [process, *family]:
        try:
            one.kill()
        except psutil.NoSuchProcess:
            continue
    process.wait(timeout=30)
