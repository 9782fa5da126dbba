"""What cannot run here, containers and units: what it must hold, and whether its command lines exist."""

import json
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import typer
import yaml
from prefect.server.schemas.actions import WorkPoolCreate

from flows.cli.app import app
from tests.support import ROOT

FOLDER = ROOT / "deployments"
COMPOSE: dict[str, Any] = yaml.safe_load((FOLDER / "compose.yaml").read_text())
MANIFESTS: list[dict[str, Any]] = list(
    yaml.safe_load_all((FOLDER / "kubernetes" / "chipcyte.yaml").read_text())
)
UNITS = sorted((FOLDER / "systemd").glob("*.service"))
POOLS = sorted((FOLDER / "pools").glob("*.json"))
SECRET = re.compile(r"PASSWORD|SECRET|AUTH_STRING|ACCESS_KEY")


def unit_command(path: Path) -> list[str]:
    (line,) = re.findall(r"^ExecStart=(.*)$", path.read_text(), re.MULTILINE)
    program, *words = shlex.split(line)
    assert program.startswith("/opt/chipcyte/.venv/bin/")
    return [Path(program).name, *words]


def pods() -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    for one in MANIFESTS:
        if one["kind"] == "Deployment":
            yield one["metadata"]["name"], one["spec"], one["spec"]["template"]


COMMANDS = {
    **{f"compose {name}": one["command"] for name, one in COMPOSE["services"].items() if "command" in one},
    **{f"kubernetes {name}": pod["spec"]["containers"][0]["command"] for name, _, pod in pods()},
    **{f"systemd {path.stem}": unit_command(path) for path in UNITS},
}


@pytest.mark.parametrize("words", COMMANDS.values(), ids=COMMANDS)
def test_every_command_is_one_that_its_program_understands(words, monkeypatch):
    monkeypatch.delenv("CHIPCYTE_PROFILE", raising=False)
    program, *rest = words
    if program == "prefect":
        from prefect.cli._app import _app as prefect_app

        prefect_app.parse_args(rest, exit_on_error=False, print_error=False)
        return
    if program == "mlflow":
        from mlflow.cli import cli as known
    elif program == "dask":
        import dask.cli
        from distributed.cli import dask_scheduler, dask_worker

        known = click.Group("dask", commands={"scheduler": dask_scheduler.main, "worker": dask_worker.main})
        assert dask.cli.cli
    else:
        assert program == "chipcyte"
        known = typer.main.get_command(app)
        if "--profile" in rest:  # a place of the machine it is for
            rest[rest.index("--profile") + 1] = str(FOLDER / "profiles" / "laptop.toml")
    command = known.commands[rest[0]]
    command.make_context(rest[0], list(rest[1:]))
    if program == "dask":  # it lets unknown options pass
        options = {option for one in command.params for option in (*one.opts, *one.secondary_opts)}
        assert {word for word in rest if word.startswith("--")} <= options, "no-such-option"


@pytest.mark.parametrize("words", [["chipcyte", "up"], ["dask", "worker"], ["prefect", "server", "start"]])
def test_a_word_too_many_would_be_found(words, monkeypatch):
    with pytest.raises(Exception, match="no-such-option"):
        test_every_command_is_one_that_its_program_understands([*words, "--no-such-option"], monkeypatch)


def texts(value: Any, place: str = "") -> Iterator[tuple[str, str]]:
    """Every text below a value with the names that lead to it."""
    if isinstance(value, dict):
        for name, one in value.items():
            yield from texts(one, f"{place}.{name}")
        if {"name", "value"} <= value.keys():
            yield f"{place}.{value['name']}", str(value["value"])
    elif isinstance(value, list):
        for one in value:
            yield from texts(one, place)
    else:
        yield place, str(value)


@pytest.mark.parametrize("content", [COMPOSE, *MANIFESTS], ids=lambda one: one.get("kind", "compose"))
def test_no_secret_is_written_down_and_no_registry_named(content):
    for place, text in texts(content):
        if SECRET.search(place):
            assert text.startswith("${") or ".secretKeyRef." in place, place
        assert not re.search(r"//[^/\s]*:[^/\s]*@", text), place
        if place.endswith(".image"):
            assert re.fullmatch(r"[a-z]+(:[0-9]+)?", text)


def test_the_compose_file_is_a_whole_workstation():
    services = COMPOSE["services"]
    assert set(services) == {"postgres", "prefect", "mlflow", "worker", "scheduler", "dask-worker"}
    for name, one in services.items():
        assert one["restart"] == "unless-stopped", name
        assert {"image"} <= one.keys()
        assert set(one.get("depends_on", {})) <= set(services)
        assert all(port.startswith("127.0.0.1:") for port in one.get("ports", [])), name
    for name, condition in services["worker"]["depends_on"].items():
        if condition["condition"] == "service_healthy":
            assert "healthcheck" in services[name]
    named = {volume.split(":")[0] for one in services.values() for volume in one.get("volumes", [])}
    assert {volume for volume in named if not volume.startswith("$")} == set(COMPOSE["volumes"])


@pytest.mark.skipif(not shutil.which("docker"), reason="needs Docker's client")
def test_compose_itself_understands_the_file(tmp_path):
    words = ["docker", "compose", "-f", str(FOLDER / "compose.yaml"), "config", "--format", "json"]
    given = {"POSTGRES_PASSWORD": "x", "INBOX": "/in", "STORE": "/out", "HOME": str(tmp_path)}
    found = subprocess.run(words, env=os.environ | given, capture_output=True, text=True)
    if "is not a docker command" in found.stderr or "unknown shorthand flag" in found.stderr:
        pytest.skip("this Docker has no compose")
    assert found.returncode == 0, found.stderr
    assert json.loads(found.stdout)["services"]["worker"]["command"][0] == "chipcyte"


def test_the_image_holds_what_is_installed_and_runs_as_nobody_special():
    lines = [line.split() for line in (FOLDER / "Dockerfile").read_text().splitlines()]
    copied = {word for line in lines if line[:1] == ["COPY"] for word in line[1:-1]}
    assert {"flows", "tasks", "storage", "requirements.lock", "deployments/prefect.yaml"} <= copied
    assert all((ROOT / word).exists() for word in copied)
    assert ["USER", "chipcyte"] in lines


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="needs systemd")
def test_systemd_understands_its_units(tmp_path):
    for name in ("chipcyte", "dask"):
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
    for path in UNITS:
        (tmp_path / path.name).write_text(path.read_text().replace("/opt/chipcyte/.venv/bin", str(tmp_path)))
    words = ["systemd-analyze", "verify", "--man=no", *(str(tmp_path / path.name) for path in UNITS)]
    found = subprocess.run(words, capture_output=True, text=True)
    assert (found.returncode, found.stderr) == (0, "")


def test_every_manifest_says_what_its_kind_must():
    kinds = {"ConfigMap": {"data"}, "Service": {"spec"}, "Deployment": {"spec"}}
    names = {(one["kind"], one["metadata"]["name"]) for one in MANIFESTS}
    assert len(names) == len(MANIFESTS)
    for one in MANIFESTS:
        assert {"apiVersion", "kind", "metadata", *kinds[one["kind"]]} == one.keys()
    parts = {name: pod["metadata"]["labels"] for name, _, pod in pods()}
    ports = {
        name: [port["containerPort"] for port in pod["spec"]["containers"][0].get("ports", [])]
        for name, _, pod in pods()
    }
    for name, spec, pod in pods():
        assert spec["selector"]["matchLabels"].items() <= pod["metadata"]["labels"].items(), name
        (container,) = pod["spec"]["containers"]
        assert {"requests", "limits"} == container["resources"].keys()
    for one in MANIFESTS:
        if one["kind"] == "Service":
            (part,) = (
                name for name, labels in parts.items() if one["spec"]["selector"].items() <= labels.items()
            )
            assert [port["targetPort"] for port in one["spec"]["ports"]] == ports[part]


@pytest.mark.parametrize("path", POOLS, ids=lambda path: path.stem)
def test_a_pools_template_asks_for_what_it_explains(path):
    template = json.loads(path.read_text())
    known = template["variables"]["properties"]
    asked = set(re.findall(r"\{\{ *(\w+) *\}\}", json.dumps(template["job_configuration"])))
    assert asked == set(known)
    assert set(template["variables"]["required"]) <= set(known)
    for name, one in known.items():
        assert one["type"] in {"string", "object", "array", "boolean", "integer"}, name
        assert one["title"], name
        assert len(one["description"]) > 10, name
    assert {"command", "env", "labels", "name"} <= template["job_configuration"].keys()


@pytest.mark.parametrize("path", POOLS, ids=lambda path: path.stem)
def test_prefect_takes_a_pools_template(path):
    template = json.loads(path.read_text())
    made = WorkPoolCreate(name="chipcyte", type=path.stem, base_job_template=template)
    assert made.base_job_template == template
    del template["variables"]["properties"]["image"]
    with pytest.raises(ValueError, match="image"):
        WorkPoolCreate(name="chipcyte", type=path.stem, base_job_template=template)
