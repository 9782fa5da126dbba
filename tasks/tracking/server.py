"""The server: how it is reached, what its errors mean, and the experiments it has."""

import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from storage.errors import ChipcyteError

SQLITE = "sqlite:///"
WEB = ("http://", "https://")
VIEW = "?workflowType=machine_learning"  # without it MLflow's pages are for traces of language models
ANSWERS_WITHIN_S = 5.0
LOST_CODES = ("INTERNAL_ERROR", "TEMPORARILY_UNAVAILABLE", "REQUEST_LIMIT_EXCEEDED")
"""MLflow's words for no answer, or one that another try may better; all others are refusals."""


class TrackingError(ChipcyteError, OSError):
    """MLflow cannot be reached or refuses what was asked."""


class LostServerError(TrackingError):
    """MLflow cannot be reached now; the same request may be answered later."""


def make_client(tracking_uri: str) -> Any:
    """Return MLflow's client for runs and registry of one server."""
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=tracking_uri, registry_uri=tracking_uri)


@contextmanager
def explained(tracking_uri: str) -> Iterator[None]:
    """Turn MLflow's errors within the block into a TrackingError that says what to do."""
    from mlflow.exceptions import MlflowException
    from requests import RequestException  # what uploads of files raise

    try:
        yield
    except (MlflowException, RequestException) as error:
        lost = getattr(error, "error_code", LOST_CODES[0]) in LOST_CODES
        raise (LostServerError if lost else TrackingError)(
            f"expected MLflow at {tracking_uri} to do what was asked, found: {error}; see whether it runs "
            "(chipcyte status) and whether MLFLOW_TRACKING_URI names it"
        ) from error


def is_reachable(tracking_uri: str) -> bool:
    """Return whether a server answers at all; a database file always does."""
    if not tracking_uri.startswith(WEB):
        return True
    try:
        with urllib.request.urlopen(f"{tracking_uri.rstrip('/')}/health", timeout=ANSWERS_WITHIN_S):
            return True
    except urllib.error.HTTPError as error:
        return error.code < 500
    except OSError:
        return False


def experiment_id(client: Any, name: str) -> str:
    """Return the experiment of a name, made if missing.

    Raises
    ------
    TrackingError
        It was deleted.
    """
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(name)
    if found is None:
        location = _artifact_location(client.tracking_uri)
        try:
            return str(client.create_experiment(name, artifact_location=location))
        except MlflowException:  # another process made it in the meantime
            found = client.get_experiment_by_name(name)
            if found is None:
                raise
    if found.lifecycle_stage == "deleted":
        raise TrackingError(
            f"expected an experiment to log to, found that {name!r} was deleted in MLflow at "
            f"{client.tracking_uri}; restore it there or choose another name"
        )
    return str(found.experiment_id)


def _artifact_location(tracking_uri: str) -> str | None:
    """Beside a database file; MLflow itself would take the folder the program happens to run in."""
    if not tracking_uri.startswith(SQLITE):
        return None
    return (Path(tracking_uri.removeprefix(SQLITE)).absolute().parent / "artifacts").as_uri()


def page(tracking_uri: str, experiment: str, run_id: str) -> str:
    """Return the address of a run's page; `runs:/ID` where MLflow is a database file without pages."""
    if not tracking_uri.startswith(WEB):
        return f"runs:/{run_id}"
    return f"{tracking_uri.rstrip('/')}/#/experiments/{quote(experiment)}/runs/{quote(run_id)}{VIEW}"


def artifact_page(run_page: str, name: str) -> str:
    """Return the address of the page that shows a file of a run."""
    place, mark, view = run_page.partition("?")
    return f"{place}/artifacts/{name}{mark}{view}"


def front_page(tracking_uri: str) -> str:
    """Return the address of the list of experiments; the URI itself where there are no pages."""
    web = tracking_uri.startswith(WEB)
    return f"{tracking_uri.rstrip('/')}/#/experiments{VIEW}" if web else tracking_uri
