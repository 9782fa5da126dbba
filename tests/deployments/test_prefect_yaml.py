"""What deployments/prefect.yaml promises, read without a server."""

import inspect
from typing import Any

import pytest
import yaml
from prefect.flows import Flow, load_flow_from_entrypoint
from prefect.utilities.callables import parameter_schema

from tests.support import ROOT

DEPLOYMENTS: list[dict[str, Any]] = yaml.safe_load((ROOT / "deployments" / "prefect.yaml").read_text())[
    "deployments"
]


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
