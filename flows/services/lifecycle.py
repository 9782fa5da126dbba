"""`up`, `down`, `status` and `connect`: what the command line and the flows ask of the embedded servers."""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from flows.services import ports, processes
from flows.services.access import PASSWORD, Access, chosen_access, tell_clients
from flows.services.launching import Launch, LostPortError, launch, wait_until_well
from flows.services.recipes import MLFLOW, PREFECT, RECIPES, Recipe
from flows.services.records import ServerRecord, locked, read_records, write_records
from storage.errors import InputError

CONNECTED = "CHIPCYTE_CONNECTED_"
"""Prefix of the variables that tell an address which `connect` set from one that the user set."""


Wanted = Mapping[str, int | None]
"""Port the user asked for, by server name; None leaves the choice to chipcyte."""


@dataclass(frozen=True, slots=True)
class Servers:
    """The two servers in use.

    Attributes
    ----------
    prefect_url
        Address of Prefect's API, for `PREFECT_API_URL`.
    prefect_ui_url, mlflow_url
        Pages for a browser; MLflow's is also its tracking URI.
    started
        By name (`prefect`, `mlflow`), whether this call started it.
    given
        By name, whether the user named a server of their own, which chipcyte neither starts nor stops.
    notes
        Sentences the user should read, such as another port than the usual one.
    """

    prefect_url: str
    prefect_ui_url: str
    mlflow_url: str
    started: Mapping[str, bool]
    given: Mapping[str, bool]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ServerStatus:
    """How one server is.

    Attributes
    ----------
    name
        `prefect` or `mlflow`.
    state
        `running`, `silent` (its process lives but does not answer), `stopped`, or `given` by the user.
    url
        Its page, or the address the user gave; empty if stopped.
    pid
        Its first process; 0 if there is none.
    resident_bytes
        Memory of its processes that lies in RAM.
    log
        The file with its output.
    """

    name: str
    state: str
    url: str
    pid: int
    resident_bytes: int
    log: Path


def up(
    home: Path, prefect_port: int | None = None, mlflow_port: int | None = None, host: str | None = None
) -> Servers:
    """Make sure that both servers run, and start what does not.

    A server of this home answers and runs in this Python environment: it is reused. Otherwise what is left of
    it is ended and a new one started. `PREFECT_API_URL` and `MLFLOW_TRACKING_URI`, set by the user, name
    servers that are used instead.

    Parameters
    ----------
    home
        Folder of databases, logs and state; made if missing.
    prefect_port, mlflow_port
        Ports; None takes 4200 and 5000, or the next free ones.
    host
        Address that new servers listen on; None takes that of those that ran, or 127.0.0.1. On any other than
        127.0.0.1 a password is asked for, and on that too if `CHIPCYTE_PASSWORD` is set.

    Raises
    ------
    InputError
        If a port was asked for and cannot be had, or a password is wanted and not there.
    ChipcyteError
        If a server does not come up within two minutes; with the end of its log.
    """
    home.mkdir(parents=True, exist_ok=True)
    home = home.resolve()
    wanted = {PREFECT.name: prefect_port, MLFLOW.name: mlflow_port}
    given = {recipe.name: address for recipe in RECIPES if (address := _given_address(recipe))}
    own = [recipe for recipe in RECIPES if recipe.name not in given]
    with locked(home):
        records = read_records(home)
        access = _access(host, [records[one.name] for one in own if one.name in records])
        missing = [one for one in own if not _reusable(one, records.get(one.name), wanted[one.name], access)]
        notes = _start_once_more_if_unlucky(missing, home, wanted, records, access)
    if own:
        tell_clients(access)
    return _servers(given, records, started={recipe.name for recipe in missing}, notes=notes)


def down(home: Path) -> list[str]:
    """Stop the servers of this home.

    Returns
    -------
    list of str
        Names of those that ran.
    """
    if not home.is_dir():
        return []
    home = home.resolve()
    with locked(home):
        records = read_records(home)
        stopped = [one.name for one in RECIPES if processes.stop(home, one.name, records.get(one.name))]
        write_records(home, {})
    return stopped


def status(home: Path) -> list[ServerStatus]:
    """How both servers are; changes nothing."""
    home = home.resolve()
    records = read_records(home)
    return [_status(recipe, home, records.get(recipe.name)) for recipe in RECIPES]


def connect(servers: Servers) -> None:
    """Point Prefect's and MLflow's clients in this process and its children at the servers."""
    for recipe, address in ((PREFECT, servers.prefect_url), (MLFLOW, servers.mlflow_url)):
        os.environ[recipe.address_variable] = address
        if not servers.given[recipe.name]:
            os.environ[CONNECTED + recipe.name.upper()] = address
    if "prefect" in sys.modules:  # it read its settings when it was imported
        from prefect.context import refresh_global_settings_context

        refresh_global_settings_context()


def _given_address(recipe: Recipe) -> str | None:
    address = os.environ.get(recipe.address_variable)
    return address if address != os.environ.get(CONNECTED + recipe.name.upper()) else None


def _access(host: str | None, records: list[ServerRecord]) -> Access:
    """Return where new servers listen and what they ask for: as those before, unless told otherwise."""
    before = records[0] if records else None
    if before is not None and before.protected and not os.environ.get(PASSWORD):
        raise InputError(
            f"the servers of this home ask for a password; expected it in the variable {PASSWORD}, found "
            "nothing there (or stop them with `chipcyte down`)"
        )
    return chosen_access(host or (before.host if before else ports.HOST))


def _reusable(recipe: Recipe, record: ServerRecord | None, wanted_port: int | None, access: Access) -> bool:
    if record is None or (record.prefix, record.version) != (sys.prefix, recipe.version):
        return False
    if record.protected != bool(access.password):
        return False
    if not processes.answers(record, record.url + recipe.health_path):
        return False
    if access.host != record.host:
        raise InputError(
            f"expected the {recipe.name} server on {access.host}, found it running on {record.host}; "
            "stop it first (chipcyte down) or leave the host out"
        )
    if wanted_port not in (None, record.port):
        raise InputError(
            f"expected the {recipe.name} server on port {wanted_port}, found it running at {record.url}; "
            "stop it first (chipcyte down) or leave the port out"
        )
    return True


def _start_once_more_if_unlucky(
    recipes: list[Recipe], home: Path, wanted: Wanted, records: dict[str, ServerRecord], access: Access
) -> list[str]:
    """Start servers; two homes that start at one moment choose the same free port, and one of them loses."""
    try:
        return _start(recipes, home, wanted, records, access)
    except LostPortError:
        return _start(recipes, home, wanted, records, access)


def _start(
    recipes: list[Recipe], home: Path, wanted: Wanted, records: dict[str, ServerRecord], access: Access
) -> list[str]:
    """Start servers, write their records into `records` and the state file, and return notes."""
    for recipe in recipes:
        processes.stop(home, recipe.name, records.pop(recipe.name, None))
    chosen, notes = _choose_ports(recipes, wanted, access.host)
    launches: list[Launch] = []
    try:
        for recipe in recipes:
            launches.append(launch(recipe, home, chosen[recipe.name], access))
            records[recipe.name] = launches[-1].record
            write_records(home, records)
        wait_until_well(launches, home)
    except BaseException:  # also when the user interrupts: half a server helps nobody
        for one in launches:
            processes.stop(home, one.recipe.name, records.pop(one.recipe.name, None))
        write_records(home, records)
        raise
    return notes


def _choose_ports(recipes: list[Recipe], wanted: Wanted, host: str) -> tuple[dict[str, int], list[str]]:
    asked = {recipe.name: port for recipe in recipes if (port := wanted[recipe.name]) is not None}
    if len(set(asked.values())) < len(asked):
        raise InputError(f"expected two different ports, found {asked} for the servers; change one of them")
    chosen = {name: ports.demand(port, name, host) for name, port in asked.items()}
    notes = []
    for recipe in recipes:
        if recipe.name in chosen:
            continue
        port = chosen[recipe.name] = ports.first_free(recipe.default_port, chosen.values(), host)
        if port != recipe.default_port:
            taken = f"{recipe.default_port}{ports.holder(recipe.default_port)}"
            notes.append(f"port {taken} is in use, so the {recipe.name} server listens on {port}")
    return chosen, notes


def _servers(
    given: Mapping[str, str], records: Mapping[str, ServerRecord], *, started: set[str], notes: list[str]
) -> Servers:
    api_url = given.get(PREFECT.name) or f"{records[PREFECT.name].url}/api"
    page = os.environ.get("PREFECT_UI_URL") if PREFECT.name in given else None
    return Servers(
        prefect_url=api_url,
        prefect_ui_url=page or api_url.removesuffix("/").removesuffix("/api"),
        mlflow_url=given.get(MLFLOW.name) or records[MLFLOW.name].url,
        started={recipe.name: recipe.name in started for recipe in RECIPES},
        given={recipe.name: recipe.name in given for recipe in RECIPES},
        notes=tuple(notes),
    )


def _status(recipe: Recipe, home: Path, record: ServerRecord | None) -> ServerStatus:
    log = recipe.log(home)
    if address := _given_address(recipe):
        return ServerStatus(recipe.name, "given", address, 0, 0, log)
    if record is None or processes.leader(record) is None:
        return ServerStatus(recipe.name, "stopped", "", 0, 0, log)
    well = processes.answers(record, record.url + recipe.health_path)
    state = "running" if well else "silent"
    return ServerStatus(recipe.name, state, record.url, record.pid, processes.resident_bytes(record), log)
