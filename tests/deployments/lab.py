"""What a lab has that runs chipcyte unattended: an inbox, a store, a Prefect server, a supervised worker."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from prefect.client.orchestration import SyncPrefectClient
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows.deploying import deploy
from flows.services import down, start_worker, up
from storage import records
from storage.objects import open_store
from tests.flows.services.support import free_port, marked
from tests.support import ROOT

OVER = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}
CONTENT: dict[str, Any] = yaml.safe_load((ROOT / "deployments" / "prefect.yaml").read_text())


class Lab:
    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.inbox, self.store = folder, folder / "inbox", folder / "store"
        self.home = folder / "home"
        self.inbox.mkdir()
        monkeypatch.setenv("PYTHONPATH", str(ROOT))
        monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")  # so none is started
        self.api = up(self.home, prefect_port=free_port()).prefect_url

    def deploy(self, content: dict[str, Any], worker: bool = True) -> list[str]:
        """Tell the server of deployments, and start a worker unless told otherwise."""
        file = self.folder / "prefect.yaml"
        file.write_text(yaml.safe_dump(content))
        values = {
            "CHIPCYTE_INBOX": str(self.inbox),
            "CHIPCYTE_STORE": str(self.store),
            "MLFLOW_TRACKING_URI": "http://127.0.0.1:9",
        }
        with temporary_settings({PREFECT_API_URL: self.api}):
            made = deploy(file, values)
        assert not worker or start_worker(self.home)
        return made

    def close(self) -> None:
        down(self.home)
        assert marked(self.home) == []

    def ask(self, path: str, **body: Any) -> Any:
        return self._answer("POST", path, json=body)

    def ask_for(self, path: str) -> Any:
        return self._answer("GET", path)

    def _answer(self, *words: Any, **body: Any) -> Any:
        with SyncPrefectClient(self.api) as client:  # which asks again while the database is locked
            return client.request(*words, **body).json()

    def every_run(self, deployment: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.ask(
            "/flow_runs/filter", deployments={"name": {"any_": [deployment]}}
        )
        return found

    def runs(self, deployment: str) -> list[dict[str, Any]]:
        """The runs of a deployment that are over."""
        return [run for run in self.every_run(deployment) if run["state_type"] in OVER]

    def states(self, deployment: str) -> list[str]:
        return [run["state_type"] for run in self.runs(deployment)]

    def raws(self) -> list[records.Record]:
        there = (self.store / "chipcyte.json").exists()
        return records.listing(open_store(str(self.store)), "raw") if there else []

    def wait_for(self, what: Callable[[], bool], give_up_s: float = 240.0) -> None:
        end_s = time.monotonic() + give_up_s
        while not what():
            assert time.monotonic() < end_s, self.said()
            time.sleep(0.5)

    def said(self) -> str:
        logs = sorted((self.home / "logs").iterdir())
        return "\n".join(f"{log.name}: {log.read_text()[-3000:]}" for log in logs)
