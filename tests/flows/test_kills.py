"""A real run that is killed again and again ends with the same bytes as one that is not."""

import json
import multiprocessing
import random
import signal
import time
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from storage.objects import Objects, open_store
from tasks import cluster
from tasks.train import Tracking
from tests.support import contents, differing, up_to_clusters

PROCESSES = multiprocessing.get_context("forkserver")  # the imports are paid once, no thread is inherited


@contextmanager
def no_run(*_args, **_facts):
    """Stands in for an MLflow run: what is tracked is not in the store."""

    def ignore(*_args, **_facts):
        return SimpleNamespace(uri="models:/vae/1", version="1")

    names = ("tag", "params", "metrics", "picture", "page", "table", "dataset", "model")
    yield SimpleNamespace(id="run", url="nowhere", **dict.fromkeys(names, ignore))


def whole_way(recordings: str, store: str) -> None:
    """Every stage up to the clusters, in this process; the map is drawn by two latent axes."""
    Tracking.run = no_run
    cluster.umap_2d = lambda points, **_settings: np.asarray(points[:, :2], np.float32)
    objects = open_store(store, create=True)
    up_to_clusters(Path(recordings), objects)


def run_for(seconds: float | None, *arguments: str) -> tuple[int | None, float]:
    """Run the whole way in a process of its own, killed after some seconds; exit code and time taken."""
    process = PROCESSES.Process(target=whole_way, args=arguments)
    began = time.monotonic()
    process.start()
    process.join(seconds)
    if process.is_alive():
        process.kill()
        process.join()
    return process.exitcode, time.monotonic() - began


def files(folder: str) -> set[str]:
    """Every file there is, those that a listing of the store does not show too."""
    return {str(path.relative_to(folder)) for path in Path(folder).rglob("*") if path.is_file()}


def stages_reached(objects: Objects) -> set[str]:
    return {name.split("/")[1] for name in objects.names("progress")}


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(("least", "stages"), [(10, 2), pytest.param(30, 4, marks=pytest.mark.long)])
def test_kills_at_random_instants_change_no_byte(least, stages, experiment, tmp_path):
    PROCESSES.set_forkserver_preload([__name__])
    unbroken = str(tmp_path / "unbroken")
    code, whole_s = run_for(None, str(experiment), unbroken)
    assert code == 0
    expected = contents(open_store(unbroken))
    dice, kills, interrupted = random.Random(7), 0, set()
    for attempt in range(least):
        store = str(tmp_path / f"killed-{attempt}")
        patience = whole_s / (8 if attempt % 2 else 60)  # every other store is first killed at its ingestion
        while True:
            # Ever longer, so that one unit that outlasts the patience is got past.
            code, _ = run_for(dice.uniform(0.02, 1.0) * patience, str(experiment), store)
            if code != -signal.SIGKILL:
                break
            kills, patience = kills + 1, max(patience * 1.1, whole_s / 8)
            if Path(store, "chipcyte.json").exists():
                interrupted |= stages_reached(open_store(store))
        assert code == 0
        assert differing(contents(open_store(store)), expected) == []
        assert files(store) == files(unbroken)
        if kills >= least:
            break
    print(json.dumps({"kills": kills, "stages interrupted": sorted(interrupted)}))
    assert kills >= least
    assert len(interrupted) >= stages
