"""The commands for the embedded servers: up, down, status."""

import sys
from typing import Annotated, Any

import typer
from rich.table import Table

from flows.cli.common import Common, command, out

PortOption = Annotated[int | None, typer.Option(help="Its port; the usual one, or the next free.")]


@command
def up(
    common: Common,
    prefect_port: PortOption = None,
    mlflow_port: PortOption = None,
    host: Annotated[
        str | None, typer.Option(help="Address to listen on, such as 0.0.0.0; 127.0.0.1 unless given.")
    ] = None,
) -> None:
    """Start the Prefect and MLflow servers, or find those that run.

    They listen on this machine alone. On any other address both ask for the user `chipcyte` and the
    password in the variable CHIPCYTE_PASSWORD, which every later command needs as well. They speak plain
    HTTP: where the network cannot be trusted, put a proxy with TLS before them.

    Example: chipcyte up --prefect-port 4300

    Example: CHIPCYTE_PASSWORD="$(cat ~/.chipcyte-password)" chipcyte up --host 0.0.0.0
    """
    from flows import services
    from flows.environment import home_folder

    servers = services.up(home_folder(), prefect_port, mlflow_port, host)
    found = {
        "key": None,
        "uri": str(home_folder()),
        "counts": {"started": sum(servers.started.values())},
        "metrics": {},
        "reused": not any(servers.started.values()),
        "prefect_url": servers.prefect_ui_url,
        "mlflow_url": servers.mlflow_url,
        "notes": list(servers.notes),
    }
    common.show(found, lambda: _print_servers(found))


def _print_servers(found: dict[str, Any]) -> None:
    for note in found["notes"]:
        out.print(note, markup=False, soft_wrap=True)
    out.print("already running" if found["reused"] else "started")
    out.print(f"Prefect  {found['prefect_url']}\nMLflow   {found['mlflow_url']}", soft_wrap=True)


@command
def down(common: Common) -> None:
    """Stop the Prefect and MLflow servers that chipcyte started. Nothing they stored is lost.

    Example: chipcyte down
    """
    from flows import services
    from flows.environment import home_folder

    stopped = services.down(home_folder())
    found = {
        "key": None,
        "uri": str(home_folder()),
        "counts": {"stopped": len(stopped)},
        "metrics": {},
        "reused": False,
        "stopped": stopped,
    }
    common.show(found, lambda: out.print(f"stopped: {', '.join(stopped) or 'nothing was running'}"))


@command
def status(common: Common) -> None:
    """Show the servers, the computing device, the versions and the store.

    Example: chipcyte status --store /data/store
    """
    from flows import services
    from flows.environment import home_folder
    from storage import records

    servers = services.status(home_folder())
    found: dict[str, Any] = {
        "key": None,
        "uri": None,
        "counts": {},
        "metrics": {},
        "reused": True,
        "home": str(home_folder()),
        "servers": [
            {"name": one.name, "state": one.state, "url": one.url, "memory_bytes": one.resident_bytes}
            for one in servers
        ],
        "device": _device(),
        "versions": {"python": sys.version.split()[0], **dict(records.software_versions())},
        "store": _store(common.store),
    }
    found["uri"], found["counts"] = found["store"]["uri"], found["store"]["counts"]
    common.show(found, lambda: _print_status(found))


def _device() -> str:
    from tasks.models.device import choose_device

    return str(choose_device())


def _store(location: str) -> dict[str, Any]:
    """Say what a store holds; a place that is no store is an answer here, not an error."""
    from storage import layout, objects
    from storage.errors import InputError, StoreError

    try:
        opened = objects.open_store(location)
    except (InputError, StoreError) as error:
        return {"uri": objects.normal_url(location), "state": str(error), "counts": {}}
    counts: dict[str, int] = {}
    for name in opened.names(layout.RECORDS):
        kind = name.split("/")[1]
        counts[kind] = counts.get(kind, 0) + 1
    return {"uri": opened.url, "state": "ready", "counts": counts}


def _print_status(found: dict[str, Any]) -> None:
    table = Table(show_header=False, box=None)
    for one in found["servers"]:
        memory = f"{one['memory_bytes'] / 2**20:.0f} MiB" if one["memory_bytes"] else ""
        table.add_row(f"[bold]{one['name']}[/]", one["state"], one["url"], memory)
    table.add_row("[bold]home[/]", found["home"])
    table.add_row("[bold]device[/]", found["device"])
    store = found["store"]
    table.add_row("[bold]store[/]", store["uri"], store["state"])
    for kind, count in store["counts"].items():
        table.add_row("", f"{count} {kind}")
    for name, version in found["versions"].items():
        table.add_row(f"[bold]{name}[/]", version)
    out.print(table)
