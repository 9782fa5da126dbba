"""Tells a Prefect server of the deployments of a prefect.yaml: what runs by a clock, or after an event.

`prefect deploy` does so, too, but then asks for the workers in a way that this release's server refuses.
"""

import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.objects import ConcurrencyLimitConfig
from prefect.deployments.runner import RunnerDeployment
from prefect.events import DeploymentTriggerTypes
from prefect.exceptions import ObjectAlreadyExists
from prefect.flows import Flow, load_flow_from_entrypoint
from prefect.schedules import Cron, Interval, Schedule
from prefect.types.entrypoint import EntrypointType
from prefect.utilities.templating import apply_values, find_placeholders
from prefect.workers.process import ProcessWorker
from pydantic import TypeAdapter

from storage.errors import InputError, MissingInputError

TRIGGER: TypeAdapter[DeploymentTriggerTypes] = TypeAdapter(DeploymentTriggerTypes)


def deploy(file: Path) -> list[str]:
    """Create or update the deployments of a file; those of other names stay as they are.

    Returns
    -------
    list of str
        Their names, as `watch/ingest`.

    Raises
    ------
    InputError
        A variable that the file asks for is not set, or there is no such file.
    """
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise MissingInputError(f"expected deployments at {file}, found nothing there") from error
    made = []
    with get_client(sync_client=True) as client:
        for one in content["deployments"]:
            filled = _filled(one, file)
            _make_pool(client, filled["work_pool"]["name"])
            made.append(_deployment(filled))
    for deployment in made:
        deployment.apply()
    return [f"{one.flow_name}/{one.name}" for one in made]


def _filled(deployment: dict[str, Any], file: Path) -> dict[str, Any]:
    """Put the environment's values in the place of `{{ $NAME }}`; what an event will say is left."""
    asked = [
        one.name.removeprefix("$")
        for one in find_placeholders(deployment["parameters"])
        if one.name[0] == "$"
    ]
    missing = sorted(name for name in asked if not os.environ.get(name))
    if missing:
        raise InputError(f"{file}: expected the variable {missing[0]}, found it not set; set it")
    parameters = apply_values(deployment["parameters"], dict(os.environ), remove_notset=False)
    return {**deployment, "parameters": parameters}


def _make_pool(client: SyncPrefectClient, name: str) -> None:
    template = ProcessWorker.get_default_base_job_template()
    with suppress(ObjectAlreadyExists):  # of whatever type: a lab may run its flows in containers
        client.create_work_pool(WorkPoolCreate(name=name, type="process", base_job_template=template))


def _schedule(one: dict[str, Any]) -> Schedule:
    if "cron" in one:
        return Cron(one["cron"], timezone=one.get("timezone"), slug=one["slug"])
    return Interval(one["interval"], slug=one["slug"])


def _deployment(one: dict[str, Any]) -> RunnerDeployment:
    flow: Flow[..., Any] = load_flow_from_entrypoint(one["entrypoint"])
    made = flow.to_deployment(
        name=one["name"],
        description=one["description"],
        tags=one["tags"],
        parameters=one["parameters"],
        schedules=[_schedule(schedule) for schedule in one.get("schedules", [])],
        triggers=[TRIGGER.validate_python(trigger) for trigger in one.get("triggers", [])],
        concurrency_limit=ConcurrencyLimitConfig.model_validate(one["concurrency_limit"]),
        work_pool_name=one["work_pool"]["name"],
        entrypoint_type=EntrypointType.MODULE_PATH,
    )
    assert isinstance(made, RunnerDeployment)
    return made
