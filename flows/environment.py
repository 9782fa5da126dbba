"""Where chipcyte keeps its own things, and the variables that keep every library local and quiet.

Prefect and MLflow read most of their settings once, when they are imported, so `prepare_environment`
comes first in every process that will import them.
"""

import os
from contextlib import suppress
from pathlib import Path

DEFAULTS = {
    # nothing leaves the machine; of "1" and "true" MLflow understands only the latter
    "DO_NOT_TRACK": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_CLOUD_ENABLE_ORCHESTRATION_TELEMETRY": "false",
    "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
    "PREFECT_WORKER_WEBSERVER_HOST": "127.0.0.1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    # the names of the user's environment variables are nobody's business in a logged model
    "MLFLOW_RECORD_ENV_VARS_IN_MODEL_LOGGING": "false",
    # more than three of them missed, and deployments/prefect.yaml says that the run is dead
    "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "60",
    # a missing server is an error to report, not a reason to start a hidden one
    "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "false",
    # what a Prefect server answers while its database is restarted; asked again for about a minute
    "PREFECT_CLIENT_RETRY_EXTRA_CODES": "500",
    # MLflow's own seven tries wait for more than two minutes before they say that nobody answers
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "4",
    # threads that spin while they wait make a training on shared cores five times slower
    "OMP_WAIT_POLICY": "PASSIVE",
    # standard output belongs to the result; Prefect still sends every line of a run to its own pages
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "WARNING",
    "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_PRINT_MODEL_URLS_ON_CREATION": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "GIT_PYTHON_REFRESH": "quiet",
}
"""Value of each variable that `prepare_environment` sets where the user did not."""

LOOPBACK_HOSTS = ("127.0.0.1", "localhost")


def home_folder() -> Path:
    """Folder of the embedded servers' databases, logs and state.

    Returns
    -------
    Path
        `CHIPCYTE_HOME` if set, else `$XDG_DATA_HOME/chipcyte`, else `~/.local/share/chipcyte`; absolute.
        The folder may not exist yet.
    """
    if chosen := os.environ.get("CHIPCYTE_HOME"):
        return Path(chosen).expanduser().absolute()
    data_folder = os.environ.get("XDG_DATA_HOME")
    base = Path(data_folder) if data_folder else Path("~/.local/share")
    return (base.expanduser() / "chipcyte").absolute()


def prepare_environment(home: Path | None = None) -> None:
    """Set the variables that keep Prefect, MLflow and their helpers local and quiet, and make the home.

    Call it before prefect or mlflow are imported. A variable that the user has set keeps its value.

    Parameters
    ----------
    home
        The folder of `home_folder` unless given; Prefect's own folder lies inside.
    """
    home = home or home_folder()
    with suppress(OSError):  # who needs it says so; here Prefect alone would complain, at its import
        home.mkdir(parents=True, exist_ok=True)
    wishes = {**DEFAULTS, "PREFECT_HOME": str(home / "prefect")}
    if "PREFECT_LOGGING_LEVEL" in os.environ:  # whoever chose a level wants to see those lines
        del wishes["PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL"]
    for name, value in wishes.items():
        os.environ.setdefault(name, value)
    _reach_loopback_without_proxy()


def _reach_loopback_without_proxy() -> None:
    """Without this an HTTP proxy of the site would be asked for our own servers on 127.0.0.1."""
    if not any(os.environ.get(name) for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY")):
        return
    for name in ("no_proxy", "NO_PROXY"):
        hosts = [host for host in os.environ.get(name, "").split(",") if host]
        os.environ[name] = ",".join([*hosts, *(host for host in LOOPBACK_HOSTS if host not in hosts)])
