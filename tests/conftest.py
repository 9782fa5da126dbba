"""Fixtures for all tests, and a guard: no test touches the user's home or a machine other than this one."""

import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from flows.environment import prepare_environment

LOOPBACK = ("127.", "localhost", "::1")
_home = tempfile.gettempdir()
_outside: list[str] = []


def pytest_configure(config: pytest.Config) -> None:
    """Give the tests a home of their own before prefect and mlflow are imported."""
    global _home
    _home = tempfile.mkdtemp(prefix="chipcyte-tests-")
    for name in [name for name in os.environ if name.startswith(("PREFECT_", "MLFLOW_", "CHIPCYTE_"))]:
        del os.environ[name]
    os.environ["CHIPCYTE_HOME"] = _home
    if "PYTEST_XDIST_WORKER" in os.environ:
        os.environ["OMP_NUM_THREADS"] = "1"  # the processes share the cores
    prepare_environment(Path(_home))


def pytest_unconfigure(config: pytest.Config) -> None:
    shutil.rmtree(_home, ignore_errors=True)


@pytest.fixture(scope="session", autouse=True)
def _watch_connections() -> Iterator[None]:
    """Refuse and note every TCP connection that would leave this machine."""

    def guarded(method):
        def connect(self: socket.socket, address):
            inet = self.family in (socket.AF_INET, socket.AF_INET6)
            outside = inet and self.type == socket.SOCK_STREAM and not str(address[0]).startswith(LOOPBACK)
            if outside:
                _outside.append(str(address))
                raise ConnectionRefusedError(f"tests do not leave this machine: {address}")
            return method(self, address)

        return connect

    with pytest.MonkeyPatch.context() as patch:
        for name in ("connect", "connect_ex"):
            patch.setattr(socket.socket, name, guarded(getattr(socket.socket, name)))
        yield


@pytest.fixture(autouse=True)
def _stay_here() -> Iterator[None]:
    _outside.clear()
    yield
    assert not _outside, f"the test tried to reach {_outside}"


@pytest.fixture
def store(tmp_path: Path):
    """An empty store."""
    from storage.objects import open_store

    return open_store(str(tmp_path / "store"), create=True)


@pytest.fixture(scope="session")
def experiment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two conditions, two chips each, one position, two time points."""
    from tasks.simulate import simulate_experiment
    from tests.support import TINY

    out = tmp_path_factory.mktemp("simulated") / "tiny"
    simulate_experiment(out, TINY)
    return out


@pytest.fixture(scope="session")
def carried(experiment: Path, tmp_path_factory: pytest.TempPathFactory):
    """A store with the tiny experiment up to its patches, and the handles: read it, do not change it."""
    from storage.objects import open_store
    from tests.support import carry, found_in

    objects = open_store(str(tmp_path_factory.mktemp("carried") / "store"), create=True)
    return objects, [carry(objects, found) for found in found_in(experiment)]


@pytest.fixture(scope="session")
def swept(carried, tmp_path_factory: pytest.TempPathFactory):
    """A sweep of the tiny experiment over latents 2 and 3, and 5, which diverges.

    Networks are registered without being traced, the map is drawn by two latent axes: both take seconds.
    """
    from storage.objects import open_store
    from tasks import sweep
    from tasks.compare_settings import CompareSettings
    from tasks.models.training import TrainingDivergedError
    from tasks.settings import SweepSettings
    from tasks.tracking import Tracking, runs
    from tests.support import QUICK

    folder, whole = tmp_path_factory.mktemp("swept"), sweep.train.fn
    shutil.copytree(carried[0].url, folder / "store")
    objects, patches = open_store(str(folder / "store")), [one.patches for one in carried[1]]
    place = Tracking(f"sqlite:///{folder}/mlflow.db", "swept")
    asked = SweepSettings(latents=(2, 5, 3))
    settings = QUICK.model_copy(update={"sweep": asked, "compare": CompareSettings(draws=20)})

    def diverges(**given):
        if given["settings"].latent == 5:
            raise TrainingDivergedError("too hot")
        return whole(**given)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs, "traced", lambda *_: {"MLmodel": b"flavors: {}\n"})
        patch.setattr("tasks.cluster.umap_2d", lambda points, **_: points[:, :2].astype("float32"))
        patch.setattr(sweep, "alarms_of", lambda *_: [])  # two epochs leave latents that say little
        patch.setattr(sweep.train, "fn", diverges)
        made = sweep.sweep.fn(patches=patches, store=objects.url, settings=settings, tracking=place)
    return SimpleNamespace(objects=objects, patches=patches, tracking=place, settings=settings, made=made)


@pytest.fixture(scope="session")
def two_workers() -> Iterator[object]:
    """Resources of a local Dask cluster that all tests share."""
    from tasks import chunked
    from tasks.settings import Resources

    yield Resources(compute="local", workers=2, memory_bytes=4 * 2**30)
    chunked.close()


@pytest.fixture(scope="session")
def prefect_server() -> Iterator[None]:
    """A Prefect server with a database of its own, for flows."""
    from prefect.testing.utilities import prefect_test_harness

    with prefect_test_harness(server_startup_timeout=120):
        yield
