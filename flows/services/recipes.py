"""How each part is started: command, environment, addresses. Nothing else knows their flags."""

import socket
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from flows.environment import DEFAULTS
from flows.services.access import PASSWORD, Access, mlflow_guard, prefect_guard, without_secrets

CLIENT_VARIABLES = (
    "PREFECT_API_URL",
    "PREFECT_API_KEY",
    "MLFLOW_TRACKING_URI",
    "MLFLOW_REGISTRY_URI",
)
"""What tells a client where to go would only confuse a server that inherits it."""


LOCAL = Access()
POOL = "chipcyte"
"""The work pool of deployments/prefect.yaml."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """One server, or the worker, which answers on a port like one.

    Attributes
    ----------
    name
        `prefect`, `mlflow` or `worker`, also the name of its folder and log.
    package
        The package it comes from.
    default_port
        Its port where the user names none.
    health_path
        Path below the server's address that answers 200 when it is well.
    address_variable
        The variable by which clients find it, and by which a user names a server of their own; empty for the
        worker, which has no clients.
    command
        Arguments after `python -m`, from the server's folder, port and access.
    settings
        Variables the server cannot do without, from its folder, port and access.
    preferences
        Variables that only suit it, from its folder; the user's own values win.
    is_client
        Whether it talks to the servers, and so has to be told where they are and be let in.
    """

    name: str
    package: str
    default_port: int
    health_path: str
    address_variable: str
    command: Callable[[Path, int, Access], list[str]]
    settings: Callable[[Path, int, Access], dict[str, str]]
    preferences: Callable[[Path], dict[str, str]]
    is_client: bool = False

    @property
    def version(self) -> str:
        """Version of the installed package."""
        return version(self.package)

    def folder(self, home: Path) -> Path:
        """Where the server keeps its database."""
        return home / self.name

    def log(self, home: Path) -> Path:
        """Where the server's output goes."""
        return home / "logs" / f"{self.name}.log"

    def url(self, port: int, access: Access = LOCAL) -> str:
        """Address of the server's page, for this machine."""
        return f"http://{access.near}:{port}"

    def full_command(self, home: Path, port: int, access: Access = LOCAL) -> list[str]:
        """The command line, with the Python that runs this process."""
        return [sys.executable, "-m", *self.command(self.folder(home), port, access)]

    def full_environment(
        self, home: Path, port: int, user: Mapping[str, str], access: Access = LOCAL
    ) -> dict[str, str]:
        """Variables of the server's process; later wins: defaults, preferences, the user's, settings."""
        folder = self.folder(home)
        kept = user if self.is_client else without_secrets(user)
        dropped = (PASSWORD,) if self.is_client else CLIENT_VARIABLES
        inherited = {name: value for name, value in kept.items() if name not in dropped}
        return {**DEFAULTS, **self.preferences(folder), **inherited, **self.settings(folder, port, access)}


def _prefect_command(_folder: Path, port: int, access: Access) -> list[str]:
    network = ["--host", access.host, "--port", str(port)]
    return ["flows.services.prefect_server", "server", "start", *network]


def _prefect_settings(folder: Path, port: int, access: Access) -> dict[str, str]:
    page, twins = (
        f"http://{access.far}:{port}",
        {f"http://{name}:{port}" for name in ("localhost", access.near)},
    )
    return {
        "PREFECT_HOME": str(folder),
        "PREFECT_SERVER_API_HOST": access.host,
        "PREFECT_SERVER_API_PORT": str(port),
        "PREFECT_SERVER_UI_API_URL": f"{page}/api",
        # by default any page in the user's browser may call the API
        "PREFECT_SERVER_API_CORS_ALLOWED_ORIGINS": ",".join(sorted({page, *twins})),
        # the package's own folder may be read-only, or shared by servers of several homes
        "PREFECT_SERVER_UI_STATIC_DIRECTORY": str(folder / "ui"),
        "PREFECT_CLI_PROMPT": "false",
        "PREFECT_CLI_COLORS": "false",
        **prefect_guard(access),
    }


def _prefect_preferences(folder: Path) -> dict[str, str]:
    return {
        "PREFECT_API_DATABASE_CONNECTION_URL": f"sqlite+aiosqlite:///{folder / 'prefect.db'}",
        # a busy SQLite file makes a writer wait; ten seconds are too few beside a training run
        "PREFECT_SERVER_DATABASE_TIMEOUT": "60",
        # what was refused and is asked again would be in no log
        "PREFECT_API_LOG_RETRYABLE_ERRORS": "true",
        # runs are kept a season, with their logs and pictures; the store and MLflow keep what came of them
        "PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED": "events,flow_runs,orphans",
        "PREFECT_SERVER_SERVICES_DB_VACUUM_RETENTION_PERIOD": str(90 * 86400),
        # looks every five seconds for paused runs, which chipcyte's flows never are
        "PREFECT_SERVER_SERVICES_PAUSE_EXPIRATIONS_ENABLED": "false",
    }


def _mlflow_command(_folder: Path, port: int, access: Access) -> list[str]:
    network = ["--host", access.host, "--port", str(port), "--workers", "1"]
    guard = ["--app-name", "basic-auth"] if access.password else []
    # a line in the log for every metric would fill the disk
    return ["mlflow", "server", *network, *guard, "--uvicorn-opts", "--no-access-log"]


def _mlflow_settings(folder: Path, _port: int, access: Access) -> dict[str, str]:
    return mlflow_guard(access, folder)


def _mlflow_preferences(folder: Path) -> dict[str, str]:
    return {
        "MLFLOW_BACKEND_STORE_URI": f"sqlite:///{folder / 'mlflow.db'}",
        "MLFLOW_ARTIFACTS_DESTINATION": (folder / "artifacts").as_uri(),
        # judges and gateways for language models: eight more processes, two gigabytes that outlive the server
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_ENABLE_AI_GATEWAY": "false",
    }


def _worker_command(_folder: Path, _port: int, _access: Access) -> list[str]:
    pool = ["--pool", POOL, "--type", "process", "--name", socket.gethostname()]
    return ["prefect", "worker", "start", *pool, "--with-healthcheck"]


def _worker_settings(folder: Path, port: int, access: Access) -> dict[str, str]:
    return {
        "PREFECT_HOME": str(folder.with_name("prefect")),
        "CHIPCYTE_HOME": str(folder.parent),
        "PREFECT_WORKER_WEBSERVER_HOST": access.host,
        "PREFECT_WORKER_WEBSERVER_PORT": str(port),
        "PREFECT_CLI_PROMPT": "false",
        "PREFECT_CLI_COLORS": "false",
    }


PREFECT = Recipe(
    name="prefect",
    package="prefect",
    default_port=4200,
    health_path="/api/health",
    address_variable="PREFECT_API_URL",
    command=_prefect_command,
    settings=_prefect_settings,
    preferences=_prefect_preferences,
)
MLFLOW = Recipe(
    name="mlflow",
    package="mlflow",
    default_port=5000,
    health_path="/health",
    address_variable="MLFLOW_TRACKING_URI",
    command=_mlflow_command,
    settings=_mlflow_settings,
    preferences=_mlflow_preferences,
)
WORKER = Recipe(
    name="worker",
    package="prefect",
    default_port=4201,
    health_path="/health",
    address_variable="",
    command=_worker_command,
    settings=_worker_settings,
    # a SQLite file that is busy, a server that is started again: it asks for some minutes, as its runs do
    preferences=lambda _folder: {"PREFECT_CLIENT_MAX_RETRIES": "10"},
    is_client=True,
)
RECIPES = (PREFECT, MLFLOW)
PARTS = (*RECIPES, WORKER)
"""In the order of their start."""
