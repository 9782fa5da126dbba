"""The commands for the group on this machine: up, down, status, logs."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from flows.cli.common import Common, command, out
from flows.environment import home_folder

PortOption = Annotated[int | None, typer.Option(help="Its port; the usual one, or the next free.")]


@command
def up(
    common: Common,
    inbox: Annotated[
        str | None,
        typer.Option(
            envvar="CHIPCYTE_INBOX",
            help="Folder or s3://bucket/prefix: run a worker, too, and the schedules that take what arrives.",
        ),
    ] = None,
    deployments: Annotated[
        Path | None, typer.Option(metavar="FILE.yaml", help="Schedules of your own instead.")
    ] = None,
    foreground: Annotated[
        bool, typer.Option("--foreground", help="Stay, and stop everything when ended: for systemd.")
    ] = False,
    prefect_port: PortOption = None,
    mlflow_port: PortOption = None,
    host: Annotated[
        str | None, typer.Option(help="Address to listen on, such as 0.0.0.0; 127.0.0.1 unless given.")
    ] = None,
) -> None:
    """Start the Prefect and MLflow servers, or find those that run; with an inbox also what runs by itself.

    A supervisor starts again whatever part dies, until `chipcyte down`. After a restart of the machine the
    same command brings everything back.

    The servers listen on this machine alone. On any other address both ask for the user `chipcyte` and the
    password in the variable CHIPCYTE_PASSWORD, which every later command needs as well. They speak plain
    HTTP: where the network cannot be trusted, put a proxy with TLS before them.

    Example: chipcyte up

    Example: chipcyte up --inbox /data/inbox --store /data/store --config lab.toml

    Example: CHIPCYTE_PASSWORD="$(cat ~/.chipcyte-password)" chipcyte up --host 0.0.0.0
    """
    from flows import services

    home = home_folder()
    settings = common.settings()
    plan = None if inbox is None else _plan(common, inbox, deployments, settings)
    servers = services.up(home, prefect_port, mlflow_port, host)
    started = sum(servers.started.values())
    schedules: list[str] = []
    if plan is not None:
        with _taken_down_on_failure(home, servers):
            services.connect(servers)
            schedules = plan(servers.mlflow_url)
            started += services.start_worker(home)
    found = _found(servers, started, schedules) | {"uri": str(home)}
    common.show(found, lambda: _print_servers(found))
    if foreground:
        services.become_supervisor(home)


def _found(servers: Any, started: int, schedules: list[str]) -> dict[str, Any]:
    return {
        "key": None,
        "counts": {"started": started},
        "metrics": {},
        "reused": started == 0,
        "prefect_url": servers.prefect_ui_url,
        "mlflow_url": servers.mlflow_url,
        "deployments": schedules,
        "notes": list(servers.notes),
    }


def _plan(common: Common, inbox: str, file: Path | None, settings: Any) -> Callable[[str], list[str]]:
    """Return what deploys, given MLflow's address; what it needs is looked for now, before servers start."""
    from flows import deploying
    from storage.inbox import open_inbox
    from storage.objects import open_store

    chosen, under = file or deploying.own_file(), settings.model_dump(mode="json", exclude_unset=True)
    values = {
        "CHIPCYTE_INBOX": open_inbox(inbox).url,
        "CHIPCYTE_STORE": open_store(common.store, create=True).url,
    }
    deploying.read_deployments(chosen, values | {"MLFLOW_TRACKING_URI": ""}, under)
    return lambda mlflow_url: deploying.deploy(chosen, values | {"MLFLOW_TRACKING_URI": mlflow_url}, under)


@contextmanager
def _taken_down_on_failure(home: Path, servers: Any) -> Iterator[None]:
    """Stop the servers again if what they were started for fails; those that ran before stay."""
    from flows import services

    try:
        yield
    except BaseException:
        own = [started for name, started in servers.started.items() if not servers.given[name]]
        if own and all(own):
            services.down(home)
        raise


def _print_servers(found: dict[str, Any]) -> None:
    from tasks.tracking import front_page

    for note in found["notes"]:
        out.print(note, soft_wrap=True)
    out.print("already running" if found["reused"] else "started")
    out.print(f"Prefect  {found['prefect_url']}", soft_wrap=True)
    out.print(f"MLflow   {front_page(found['mlflow_url'])}", soft_wrap=True)
    if found["deployments"]:
        out.print(f"runs by itself: {', '.join(found['deployments'])}", soft_wrap=True)


@command
def down(common: Common) -> None:
    """Stop the servers, the worker and its runs. Nothing they stored is lost.

    Example: chipcyte down
    """
    from flows import services

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
def logs(
    common: Common,
    part: Annotated[
        str | None, typer.Argument(help="prefect, mlflow, worker or supervisor; all unless given.")
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until interrupted.")] = False,
    lines: Annotated[int, typer.Option("--lines", "-n", min=0, help="So many of each, the last.")] = 20,
) -> None:
    """Show what the servers, the worker with its runs, and the supervisor wrote.

    Example: chipcyte logs worker -f
    """
    from flows.services import logs as written

    files = _log_files(part)
    last = {name: written.last_lines(log, lines) for name, log in files.items()}
    found = {
        "key": None,
        "uri": str(home_folder() / "logs"),
        "counts": {name: len(texts) for name, texts in last.items()},
        "metrics": {},
        "reused": True,
        "lines": last,
    }
    common.show(found, lambda: _print_logs(last))
    for name, line in written.follow(files) if follow else ():
        _print_logs({name: [line]}, several=len(files) > 1)


def _log_files(part: str | None) -> dict[str, Path]:
    from flows.services.lifecycle import log_files
    from storage.errors import InputError

    every = log_files(home_folder())
    if part is not None and part not in every:
        raise InputError(f"expected one of {', '.join(every)}, found {part!r}")
    return every if part is None else {part: every[part]}


def _print_logs(last: dict[str, list[str]], *, several: bool | None = None) -> None:
    several = len(last) > 1 if several is None else several
    for name, texts in last.items():
        for text in texts:
            out.print(f"{name + ' | ' if several else ''}{text}", soft_wrap=True)


@command
def status(common: Common) -> None:
    """Show the servers, the computing device, the versions and the store.

    Example: chipcyte status --store /data/store
    """
    from flows import services
    from storage import records

    parts = services.status(home_folder())
    found: dict[str, Any] = {
        "key": None,
        "uri": None,
        "counts": {},
        "metrics": {},
        "reused": True,
        "home": str(home_folder()),
        "servers": [
            {
                "name": one.name,
                "state": one.state,
                "url": one.url,
                "memory_bytes": one.resident_bytes,
                "since": _moment(one.since_s),
                "restarts": one.restarts,
                "log": str(one.log),
            }
            for one in parts
        ],
        "device": _device(),
        "versions": {"python": sys.version.split()[0], **dict(records.software_versions())},
        "store": _store(common.store),
    }
    found["uri"], found["counts"] = found["store"]["uri"], found["store"]["counts"]
    common.show(found, lambda: _print_status(found))


def _moment(since_s: float) -> str:
    return datetime.fromtimestamp(since_s).astimezone().isoformat(timespec="seconds") if since_s else ""


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
    from storage.records import readable

    parts = Table(show_header=False, box=None)
    parts.add_column(style="bold")
    for one in found["servers"]:
        memory = f"{one['memory_bytes'] / 2**20:.0f} MiB" if one["memory_bytes"] else ""
        since = f"since {readable(one['since'])}" if one["since"] else ""
        again = f"restarts: {one['restarts']}" if one["restarts"] else ""
        parts.add_row(one["name"], one["state"], one["url"], memory, since, again)
    out.print(parts, soft_wrap=True)
    table = Table(show_header=False, box=None)
    table.add_column(style="bold")
    table.add_row("home", found["home"])
    table.add_row("device", found["device"])
    store = found["store"]
    table.add_row("store", store["uri"], store["state"])
    for kind, count in store["counts"].items():
        table.add_row("", f"{count} {kind}")
    for name, version in found["versions"].items():
        table.add_row(name, version)
    out.print(table)
