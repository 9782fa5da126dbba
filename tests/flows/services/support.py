"""What the tests of the servers share."""

import socket
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from flows.services import connect, down, processes, up

ROOT = Path(__file__).parents[3]
NAMES = ["prefect", "mlflow"]
EVERY = [*NAMES, "worker", "supervisor"]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def servers(home: Path) -> Iterator[str]:
    """Both servers of a home, which this process talks to from then on; yields MLflow's address."""
    started = up(home, free_port(), free_port())
    connect(started)
    try:
        yield started.mlflow_url
    finally:
        down(home)


def read(url: str, accept: str = "*/*") -> tuple[int, str]:
    request = urllib.request.Request(url, headers={"Accept": accept})
    with urllib.request.urlopen(request, timeout=20) as response:
        return response.status, response.read().decode()


def marked(home: Path) -> list[psutil.Process]:
    """All processes of a home's group, also those whose parent is gone."""
    return processes._marked(*(processes.mark(home.resolve(), name) for name in EVERY))
