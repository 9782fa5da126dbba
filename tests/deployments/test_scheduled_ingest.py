"""The ingest deployment as a lab runs it: a Prefect server, a worker, a schedule, an inbox."""

import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows.deploying import deploy
from flows.services import down, up
from flows.watching import INGESTED
from storage import records
from storage.objects import open_store
from tests.flows.services.support import free_port, marked
from tests.support import ROOT, write_tiff

INTERVAL_S = 15
WORKER = [sys.executable, "-m", "prefect", "worker", "start", "--pool", "chipcyte", "--type", "process"]


class Lab:
    """What a lab has: an inbox, a store, a server that was told of the deployment, and a worker."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.inbox, self.store = folder, folder / "inbox", folder / "store"
        self.inbox.mkdir()
        self.api = up(folder / "home", prefect_port=free_port()).prefect_url
        self.environment = {
            **os.environ,
            "PREFECT_API_URL": self.api,
            "PYTHONPATH": str(ROOT),
        }

    def deploy(self) -> None:
        whole = yaml.safe_load((ROOT / "deployments" / "prefect.yaml").read_text())
        chosen = {one["name"]: one for one in whole["deployments"] if one["name"] in {"ingest", "process"}}
        chosen["ingest"]["schedules"] = [{"interval": INTERVAL_S, "slug": "often"}]
        chosen["process"]["parameters"]["until"] = "preprocess"
        for one in chosen.values():
            one["parameters"]["settings"] = {
                "watch": {"quiet_period_s": 1},
                "resources": {"compute": "serial"},
            }
        (self.folder / "prefect.yaml").write_text(
            yaml.safe_dump({**whole, "deployments": list(chosen.values())})
        )
        with temporary_settings({PREFECT_API_URL: self.api}):
            assert deploy(self.folder / "prefect.yaml") == ["watch/ingest", "process/process"]

    def worker(self) -> "subprocess.Popen[bytes]":
        with (self.folder / "worker.log").open("wb") as log:
            return subprocess.Popen(WORKER, env=self.environment, cwd=self.folder, stdout=log, stderr=log)

    def ask(self, path: str, **body: Any) -> Any:
        request = urllib.request.Request(
            self.api + path, json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=20) as response:
            return json.load(response)

    def runs(self, deployment: str = "ingest") -> list[dict[str, Any]]:
        """The runs of a deployment that are over."""
        every = self.ask("/flow_runs/filter", deployments={"name": {"any_": [deployment]}})
        return [run for run in every if run["state_type"] not in {"SCHEDULED", "PENDING", "RUNNING"}]

    def states(self) -> list[str]:
        return [run["state_type"] for run in self.runs()]

    def raws(self) -> list[records.Record]:
        there = (self.store / "chipcyte.json").exists()
        return records.listing(open_store(str(self.store)), "raw") if there else []

    def wait_for(self, what: Callable[[], bool], give_up_s: float = 240.0) -> None:
        end_s = time.monotonic() + give_up_s
        while not what():
            assert time.monotonic() < end_s, (self.folder / "worker.log").read_text()[-4000:]
            time.sleep(0.5)


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")  # so none is started
    monkeypatch.setenv("CHIPCYTE_INBOX", str(tmp_path / "inbox"))
    monkeypatch.setenv("CHIPCYTE_STORE", str(tmp_path / "store"))
    lab = Lab(tmp_path)
    lab.deploy()
    worker = lab.worker()
    try:
        yield lab
    finally:
        worker.terminate()
        worker.wait(60)
        down(tmp_path / "home")
        assert marked(tmp_path / "home") == []


@pytest.mark.services
@pytest.mark.timeout(600)
def test_what_arrives_is_ingested_once_by_the_schedule_and_processed_when_its_event_comes(lab):
    pixels = np.random.default_rng(0).integers(0, 4000, (2, 64, 64)).astype(np.uint16)
    write_tiff(lab.inbox / "a.tif", pixels, photometric="minisblack")
    lab.wait_for(lambda: bool(lab.raws()))
    (raw,) = lab.raws()
    before = lab.states().count("COMPLETED")
    lab.wait_for(lambda: lab.states().count("COMPLETED") >= before + 3)  # the one that took it, and two more
    assert set(lab.states()) <= {"COMPLETED", "CANCELLED"}  # a look too many is dropped
    assert lab.raws() == [raw]
    told = lab.ask("/events/filter", filter={"event": {"name": [INGESTED]}})["events"]
    assert [event["payload"]["key"] for event in told] == [raw.key]
    lab.wait_for(lambda: bool(lab.runs("process")))
    (run,) = lab.runs("process")
    assert (run["name"], run["state_type"]) == ("a.tif", "COMPLETED")
    assert run["parameters"]["acquisitions"] == [raw.key]
    assert len(records.listing(open_store(str(lab.store)), "clean")) == 1
