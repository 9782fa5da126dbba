"""How each server is started: command, environment, addresses. Nothing else knows their flags."""

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from flows.environment import DEFAULTS
from flows.services.access import Access, mlflow_guard, prefect_guard, without_secrets

CLIENT_VARIABLES = (
    "PREFECT_API_URL",
    "PREFECT_API_KEY",
    "MLFLOW_TRACKING_URI",
    "MLFLOW_REGISTRY_URI",
)
"""What tells a client where to go would only confuse a server that inherits it."""


LOCAL = Access()


@dataclass(frozen=True, slots=True)
class Recipe:
    """One server.

    Attributes
    ----------
    name
        `prefect` or `mlflow`, also the name of its package, folder and log.
    default_port
        Its port where the user names none.
    health_path
        Path below the server's address that answers 200 when it is well.
    address_variable
        The variable by which clients find it, and by which a user names a server of their own.
    command
        Arguments after `python -m`, from the server's folder, port and access.
    settings
        Variables the server cannot do without, from its folder, port and access.
    preferences
        Variables that only suit it, from its folder; the user's own values win.
    """

    name: str
    default_port: int
    health_path: str
    address_variable: str
    command: Callable[[Path, int, Access], list[str]]
    settings: Callable[[Path, int, Access], dict[str, str]]
    preferences: Callable[[Path], dict[str, str]]

    @property
    def version(self) -> str:
        """Version of the installed package."""
        return version(self.name)

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
        inherited = {
            name: value for name, value in without_secrets(user).items() if name not in CLIENT_VARIABLES
        }
        return {**DEFAULTS, **self.preferences(folder), **inherited, **self.settings(folder, port, access)}


def _prefect_command(_folder: Path, port: int, access: Access) -> list[str]:
    return ["prefect", "server", "start", "--host", access.host, "--port", str(port)]


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
        # looks every five seconds for paused runs, which chipcyte's flows never are
        "PREFECT_SERVER_SERVICES_PAUSE_EXPIRATIONS_ENABLED": "false",
    }


def _mlflow_command(folder: Path, port: int, access: Access) -> list[str]:
    stores = ["--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}"]
    files = ["--artifacts-destination", (folder / "artifacts").as_uri()]
    network = ["--host", access.host, "--port", str(port), "--workers", "1"]
    guard = ["--app-name", "basic-auth"] if access.password else []
    # a line in the log for every metric would fill the disk
    return ["mlflow", "server", *stores, *files, *network, *guard, "--uvicorn-opts", "--no-access-log"]


def _mlflow_settings(folder: Path, _port: int, access: Access) -> dict[str, str]:
    return mlflow_guard(access, folder)


def _mlflow_preferences(_folder: Path) -> dict[str, str]:
    # judges and gateways for language models: eight more processes and two gigabytes that outlive the server
    return {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_ENABLE_AI_GATEWAY": "false"}


PREFECT = Recipe(
    name="prefect",
    default_port=4200,
    health_path="/api/health",
    address_variable="PREFECT_API_URL",
    command=_prefect_command,
    settings=_prefect_settings,
    preferences=_prefect_preferences,
)
MLFLOW = Recipe(
    name="mlflow",
    default_port=5000,
    health_path="/health",
    address_variable="MLFLOW_TRACKING_URI",
    command=_mlflow_command,
    settings=_mlflow_settings,
    preferences=_mlflow_preferences,
)
RECIPES = (PREFECT, MLFLOW)
