"""What deployments/prefect.yaml promises, read without a server."""

import inspect
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from prefect.client.schemas.objects import StateType
from prefect.events import AutomationCore
from prefect.flows import Flow, load_flow_from_entrypoint
from prefect.settings import Settings
from prefect.utilities.callables import parameter_schema

from flows import deploying
from storage.errors import InputError
from tests.support import ROOT

FILE = ROOT / "deployments" / "prefect.yaml"
CONTENT: dict[str, Any] = yaml.safe_load(FILE.read_text())
AUTOMATIONS = [AutomationCore.model_validate(one) for one in CONTENT["automations"]]
DEPLOYMENTS: list[dict[str, Any]] = CONTENT["deployments"]


@pytest.fixture(params=DEPLOYMENTS, ids=lambda one: one["name"])
def deployment(request):
    return request.param


@pytest.fixture
def flow(deployment) -> Flow:
    return load_flow_from_entrypoint(deployment["entrypoint"])


def test_its_parameters_are_those_of_the_flow_and_nothing_is_missing(deployment, flow):
    taken = inspect.signature(flow.fn).parameters
    needed = {name for name, one in taken.items() if one.default is one.empty}
    assert needed <= set(deployment["parameters"]) <= set(taken)


def test_its_form_explains_every_parameter(flow):
    for name, field in parameter_schema(flow).properties.items():
        assert len(field.get("description", "")) > 10, name


def test_it_says_what_becomes_of_a_run_too_many(deployment):
    assert deployment["concurrency_limit"]["limit"] == 1
    assert deployment["concurrency_limit"]["collision_strategy"] in {"ENQUEUE", "CANCEL_NEW"}


def test_it_is_found_in_the_ui(deployment):
    assert deployment["description"].endswith(".")
    assert "chipcyte" in deployment["tags"]
    assert deployment["work_pool"]["name"] == "chipcyte"


def test_it_tries_again_what_may_pass_and_is_heard_of_once_a_minute(deployment):
    environment = deployment["work_pool"]["job_variables"]["env"]
    assert set(environment) <= set(Settings().to_environment_variables())
    assert json.loads(environment["PREFECT_TASKS_DEFAULT_RETRY_DELAY_SECONDS"]) == [10, 60, 300]
    assert int(environment["PREFECT_TASKS_DEFAULT_RETRIES"]) == 3


def test_it_ends_some_day(flow):
    assert 0 < flow.timeout_seconds <= 7 * 86_400


def test_what_is_asked_for_is_filled_in_and_what_is_missing_is_named():
    values = {"CHIPCYTE_STORE": "/store", "MLFLOW_TRACKING_URI": "http://127.0.0.1:5000"}
    learn = next(one for one in DEPLOYMENTS if one["name"] == "learn")
    filled = deploying._filled(learn, FILE, values, {"train": {"epochs": 3}})["parameters"]
    assert filled["store"] == "/store"
    assert filled["settings"] == {"train": {"epochs": 3}}
    with pytest.raises(InputError, match="CHIPCYTE_STORE"):
        deploying._filled(learn, FILE, {}, {})
    with pytest.raises(InputError, match="nothing there"):
        deploying.deploy(Path("/nowhere/prefect.yaml"), values)


def test_the_file_that_comes_with_chipcyte_is_found():
    assert deploying.own_file() == FILE


def test_a_run_that_is_silent_for_three_heartbeats_is_dead(deployment):
    silent, restart, *_ = AUTOMATIONS
    beat_s = float(deployment["work_pool"]["job_variables"]["env"]["PREFECT_FLOWS_HEARTBEAT_FREQUENCY"])
    assert silent.trigger.within.total_seconds() > 3 * beat_s
    assert "prefect.flow-run.heartbeat" in silent.trigger.after & silent.trigger.expect
    assert "prefect.flow-run.Running" in silent.trigger.after - silent.trigger.expect
    assert silent.actions[0].state == StateType.CRASHED
    assert restart.actions[0].state == StateType.SCHEDULED
    assert restart.trigger.after == {"prefect.flow-run.Crashed"}
    assert (
        restart.trigger.match_related.model_dump()["prefect.resource.id"]
        == f"prefect.tag.{deployment['tags'][0]}"
    )


def test_a_run_that_never_began_is_started_again_as_often_as_one_that_did():
    _, again, first, last, _ = AUTOMATIONS
    assert len(again.trigger.match.model_dump()["prefect.run-count"]) == last.trigger.threshold - 1
    assert first.actions[0].state == again.actions[0].state == StateType.SCHEDULED
    assert last.actions[0].state == StateType.FAILED
    assert "prefect.flow-run.Failed" in first.trigger.expect  # so that the last word is not taken back
    assert last.trigger.threshold * first.trigger.within < last.trigger.within


def test_a_run_that_waits_for_a_machine_that_died_crashes_and_so_starts_again():
    *_, first, _, waits = AUTOMATIONS
    assert waits.trigger.after == {"prefect.flow-run.Pending"}
    assert {"prefect.flow-run.Running", "prefect.flow-run.Cancelled"} <= waits.trigger.expect
    assert waits.actions[0].state == StateType.CRASHED
    assert first.trigger.after == {"prefect.flow-run.Crashed"}
    image_s = 600  # that a container's image may take
    assert image_s < waits.trigger.within.total_seconds() < 86_400
