"""Tells a Prefect server of a prefect.yaml: what runs by a clock or after an event, and what looks after it.

`prefect deploy` does so, too, but then asks for the workers in a way that this release's server refuses.
"""

import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.objects import ConcurrencyLimitConfig
from prefect.deployments.runner import RunnerDeployment
from prefect.events import AutomationCore, DeploymentTriggerTypes
from prefect.exceptions import ObjectAlreadyExists
from prefect.flows import Flow, load_flow_from_entrypoint
from prefect.schedules import Cron, Interval, Schedule
from prefect.types.entrypoint import EntrypointType
from prefect.workers.process import ProcessWorker
from pydantic import TypeAdapter

from storage.errors import InputError, MissingInputError
from tasks.settings import merged

VARIABLE = re.compile(r"\{\{ *\$(\w+) *\}\}")
TRIGGER: TypeAdapter[DeploymentTriggerTypes] = TypeAdapter(DeploymentTriggerTypes)


def own_file() -> Path:
    """Return the file with the deployments that come with chipcyte."""
    roots = Path(__file__).parents
    places = (roots[0] / "prefect.yaml", roots[1] / "deployments" / "prefect.yaml")  # installed; checked out
    return next((place for place in places if place.is_file()), places[1])


def deploy(file: Path, values: Mapping[str, str], settings: Mapping[str, Any] | None = None) -> list[str]:
    """Create or update the deployments and automations of a file; those of other names stay as they are.

    Parameters
    ----------
    values
        What stands in the place of each `{{ $NAME }}`.
    settings
        Settings, as of a settings file, under those that the file says itself.

    Returns
    -------
    list of str
        The deployments' names, as `watch/ingest`.

    Raises
    ------
    InputError
        There is no value for what the file asks for, or there is no such file.
    """
    made, automations = read_deployments(file, values, settings)
    with get_client(sync_client=True) as client:
        for pool in dict.fromkeys(one.work_pool_name for one in made if one.work_pool_name):
            _make_pool(client, pool)
        for automation in automations:
            _automate(client, automation)
    for deployment in made:
        deployment.apply()
    return [f"{one.flow_name}/{one.name}" for one in made]


def read_deployments(
    file: Path, values: Mapping[str, str], settings: Mapping[str, Any] | None = None
) -> tuple[list[RunnerDeployment], list[AutomationCore]]:
    """Read a file as `deploy` does, and fail where it would; no server is asked."""
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise MissingInputError(f"expected deployments at {file}, found nothing there") from error
    made = [_deployment(_filled(one, file, values, settings or {})) for one in content["deployments"]]
    return made, [AutomationCore.model_validate(one) for one in content.get("automations", [])]


def _filled(
    deployment: dict[str, Any], file: Path, values: Mapping[str, str], settings: Mapping[str, Any]
) -> dict[str, Any]:
    """Put values in the place of `{{ $NAME }}`, and the settings under those that the file says itself."""
    try:
        parameters = {name: _value(one, values) for name, one in deployment["parameters"].items()}
    except KeyError as error:
        raise InputError(f"{file}: expected a value for {error.args[0]}, found none; give one") from error
    if "settings" in parameters:
        parameters["settings"] = merged(settings, parameters["settings"])
    return {**deployment, "parameters": parameters}


def _value(template: Any, values: Mapping[str, str]) -> Any:
    asked = VARIABLE.fullmatch(template) if isinstance(template, str) else None
    return values[asked[1]] if asked else template


def _make_pool(client: SyncPrefectClient, name: str) -> None:
    template = ProcessWorker.get_default_base_job_template()
    with suppress(ObjectAlreadyExists):  # of whatever type: a lab may run its flows in containers
        client.create_work_pool(WorkPoolCreate(name=name, type="process", base_job_template=template))


def _automate(client: SyncPrefectClient, automation: AutomationCore) -> None:
    """Create an automation, or bring the one of this name up to date."""
    known = client.read_automations_by_name(automation.name)
    if known:
        client.update_automation(known[0].id, automation)
    else:
        client.create_automation(automation)


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
        job_variables=one["work_pool"].get("job_variables"),
        entrypoint_type=EntrypointType.MODULE_PATH,
    )
    assert isinstance(made, RunnerDeployment)
    return made
