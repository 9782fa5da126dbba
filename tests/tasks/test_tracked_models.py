"""Sweep, registry and gate against a real MLflow server, the points trained on Dask."""

import shutil
import subprocess
import sys

import numpy as np
import pytest

from storage import records
from storage.objects import open_store
from tasks.compare import Candidate, compare
from tasks.compare_settings import CompareSettings
from tasks.settings import SweepSettings
from tasks.stage import handle
from tasks.sweep import read_points, sweep
from tasks.tracking import Tracking
from tasks.tracking.champions import challenge, find_champion, promote, rollback, versions
from tasks.tracking.server import make_client
from tests.support import QUICK
from tests.tasks.mlflow_server import MlflowServer

NAME = "chipcyte-vae-real"
ELSEWHERE = """
import sys, numpy, torch, mlflow.pytorch
assert not any(name.split(".")[0] in ("flows", "tasks", "storage") for name in sys.modules)
latents = mlflow.pytorch.load_model(sys.argv[1])(torch.zeros(3, 1, 32, 32))
print(latents.shape[0], sum(name.split(".")[0] in ("flows", "tasks", "storage") for name in sys.modules))
"""


@pytest.mark.long
@pytest.mark.services
@pytest.mark.timeout(900)
def test_a_sweep_on_dask_is_nested_registered_compared_and_rolled_back(learned, two_workers, tmp_path):
    shutil.copytree(learned.objects.url, tmp_path / "store")
    store = open_store(str(tmp_path / "store"))
    server = MlflowServer(tmp_path / "home").start()
    settings = QUICK.model_copy(update={"sweep": SweepSettings(latents=(2, 3)), "resources": two_workers})
    place = Tracking(server.uri, "real")
    try:
        made = sweep.fn(patches=learned.patches, store=store.url, settings=settings, tracking=place)
        rows, client = read_points(store, made), make_client(server.uri)
        assert (made.counts["points"], made.units_done) == (2, 2)
        everywhere = [client.get_experiment_by_name("real").experiment_id]
        stages = {}
        for run in client.search_runs(everywhere):
            assert run.info.status == "FINISHED"
            stages.setdefault(run.data.tags["chipcyte.stage"], []).append(run)
        assert {stage: len(found) for stage, found in stages.items()} == {
            "sweep": 1,
            "point": 2,
            "train": 2,
            "cluster": 2,
        }
        parents = {one.data.tags["mlflow.parentRunId"] for one in stages["point"]}
        assert parents == {stages["sweep"][0].info.run_id}
        assert all(one.data.params["train.latent"] in "23" for one in stages["cluster"])

        known = {one.key: one for one in versions(server.uri, NAME)}
        assert sorted(one.version for one in known.values()) == [1, 2]
        version = known[rows[0]["trained"]].version
        entry = client.get_model_version(NAME, str(version))
        from mlflow.artifacts import download_artifacts
        from mlflow.models import Model

        folder = download_artifacts(entry.source, dst_path=str(tmp_path / "model"), tracking_uri=server.uri)
        assert Model.load(folder).signature is not None
        assert np.asarray(Model.load(folder).load_input_example(folder)).shape[1:] == (1, 32, 32)
        loaded = subprocess.run(
            [sys.executable, "-c", ELSEWHERE, folder],
            cwd=tmp_path,
            env={"PATH": "/usr/bin", "MLFLOW_TRACKING_URI": server.uri},
            capture_output=True,
            text=True,
            check=False,
        )
        assert loaded.stdout.split() == ["3", "0"], loaded.stderr

        candidates = [
            Candidate(
                handle(store, records.read(store, "model", row["trained"])),
                handle(store, records.read(store, "clusters", row["clustered"])),
                known[row["trained"]].version,
            )
            for row in rows
        ]
        found = compare.fn(
            candidates=candidates,
            standing=rows[1]["trained"],
            store=store.url,
            settings=CompareSettings(draws=20),
            tracking=place,
        )
        assert found.rows[0]["score"] is not None
        assert {row["gain_value"] is None for row in found.rows} == {True, False}  # the champion has none
        challenge(server.uri, NAME, 2)
        assert promote(server.uri, NAME, 1).version == 1
        assert promote(server.uri, NAME, 2).version == 2
        assert rollback(server.uri, NAME)[1].version == 1
        assert find_champion(server.uri, NAME).version == 1
        assert [one.aliases for one in versions(server.uri, NAME)] == [("champion",), ()]
    finally:
        server.kill()
