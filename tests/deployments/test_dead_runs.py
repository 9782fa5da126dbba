"""A run's process is killed, then the worker with it: the automations see to it that the run ends well."""

from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import psutil
import pytest

from flows.services.records import read_records
from tests.deployments.lab import CONTENT, Lab

BEAT_S = 30  # Prefect allows no less
SILENT_S = 40
RESTART_S = 15
PENDING_S = 20


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    lab = Lab(tmp_path, monkeypatch)
    try:
        yield lab
    finally:
        lab.close()


def content_of(tmp_path: Path) -> dict[str, Any]:
    """One slow deployment, and the automations with shorter times."""
    content = deepcopy(CONTENT)
    (refine,) = (one for one in content["deployments"] if one["name"] == "refine")
    slow = {**refine, "name": "slow", "entrypoint": "tests.deployments.slow.slow"}
    slow["parameters"] = {"folder": str(tmp_path / "tries")}
    slow["work_pool"]["job_variables"]["env"]["PREFECT_FLOWS_HEARTBEAT_FREQUENCY"] = str(BEAT_S)
    content["deployments"] = [slow]
    for automation, within_s in zip(content["automations"], (SILENT_S, RESTART_S, RESTART_S), strict=False):
        automation["trigger"]["within"] = within_s
    (tmp_path / "tries").mkdir()
    return content


def kill(pid: int) -> None:
    process = psutil.Process(pid)
    process.kill()
    psutil.wait_procs([process], 20)


@pytest.mark.long
@pytest.mark.services
@pytest.mark.timeout(500)
def test_a_run_that_died_with_its_worker_is_marked_crashed_and_started_again(lab):
    assert lab.deploy(content_of(lab.folder)) == ["slow/slow"]
    tries, deployment = lab.folder / "tries", lab.ask("/deployments/filter")[0]["id"]

    def pid(number: int) -> int:
        file = tries / f"{number}.pid"
        lab.wait_for(lambda: file.exists() and bool(file.read_text()))
        return int(file.read_text())

    lab.ask(f"/deployments/{deployment}/create_flow_run")
    kill(pid(0))  # the worker sees it, and says so at once
    first = pid(1)
    worker = read_records(lab.home)["worker"]
    kill(worker.pid)  # now nobody is left who could see it
    kill(first)
    lab.wait_for(lambda: lab.states("slow") == ["COMPLETED"])
    (run,) = lab.every_run("slow")
    assert run["run_count"] == 3
    assert len(list(tries.iterdir())) == 3
    states = lab.ask_for(f"/flow_run_states/?flow_run_id={run['id']}")
    names = [one["name"] for one in sorted(states, key=lambda one: one["timestamp"])]
    assert names.count("AwaitingRetry") == names.count("Crashed") >= 2
    said = [one["message"] for one in states if one["name"] == "Crashed"]
    assert sum("No sign of life" in text for text in said) == 1
    again = read_records(lab.home)["worker"]
    assert (again.restarts, again.port) == (1, worker.port)


@pytest.mark.long
@pytest.mark.services
def test_a_run_that_crashes_before_it_begins_is_started_three_times_again(lab):
    lab.deploy(content_of(lab.folder), worker=False)
    deployment = lab.ask("/deployments/filter")[0]["id"]
    run = f"/flow_runs/{lab.ask(f'/deployments/{deployment}/create_flow_run')['id']}"
    became = []
    for _ in range(4):
        for state in ("PENDING", "CRASHED"):
            lab.ask(f"{run}/set_state", state={"type": state}, force=True)
        lab.wait_for(lambda: lab.ask_for(run)["state_type"] != "CRASHED")
        became.append(lab.ask_for(run)["state"]["name"])
    assert became == ["AwaitingRetry"] * 3 + ["Failed"]


@pytest.mark.long
@pytest.mark.services
def test_a_run_whose_machine_died_before_its_beginning_is_started_again(lab):
    content = content_of(lab.folder)
    content["automations"][-1]["trigger"]["within"] = PENDING_S
    lab.deploy(content, worker=False)
    deployment = lab.ask("/deployments/filter")[0]["id"]
    run = f"/flow_runs/{lab.ask(f'/deployments/{deployment}/create_flow_run')['id']}"
    lab.ask(f"{run}/set_state", state={"type": "PENDING"}, force=True)
    lab.wait_for(lambda: lab.ask_for(run)["state"]["name"] == "AwaitingRetry")
    states = lab.ask_for(f"/flow_run_states/?flow_run_id={lab.ask_for(run)['id']}")
    assert sum("did not" in (one["message"] or "") for one in states) == 1
