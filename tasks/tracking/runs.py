"""Runs: opened, written to and closed, whatever happens inside."""

import getpass
import json
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import numpy.typing as npt

from storage.errors import ChipcyteError
from tasks.tracking.models import ModelReference, log_model, register
from tasks.tracking.texts import columns_of, flattened, key, shortened

if TYPE_CHECKING:
    import torch

PARAMS_PER_REQUEST = 100
METRICS_PER_REQUEST = 1000
DIGEST_LENGTH = 36
SQLITE = "sqlite:///"


class TrackingError(ChipcyteError, OSError):
    """MLflow cannot be reached or refuses what was asked."""


@dataclass(frozen=True, slots=True)
class Run:
    """One MLflow run, open for logging.

    Attributes
    ----------
    id
        MLflow's id of the run.
    url
        The run's page; `runs:/ID` where MLflow is a database file without pages.
    client
        MLflow's client for the run's server.
    """

    id: str
    url: str
    client: Any

    def tag(self, name: str, value: str) -> None:
        """Attach a word to the run; a later value replaces an earlier one."""
        self.client.set_tag(self.id, name, value)

    def params(self, values: Mapping[str, object]) -> None:
        """Log settings once, as short texts; nested ones as `outer.inner`."""
        from mlflow.entities import Param

        params = [Param(key(name), shortened(text)) for name, text in flattened(values).items()]
        for start in range(0, len(params), PARAMS_PER_REQUEST):
            self.client.log_batch(self.id, params=params[start : start + PARAMS_PER_REQUEST])

    def metrics(self, values: Mapping[str, float | None], step: int | None = None) -> None:
        """Log numbers in as few requests as MLflow allows.

        Parameters
        ----------
        values
            Not-a-number is kept, because a number that could not be computed is a finding; None is left out.
            MLflow shows an infinite value as the largest double.
        step
            Position on the axis of MLflow's charts, such as the epoch; 0 if None.
        """
        from mlflow.entities import Metric

        now_ms = int(time.time() * 1000)
        numbers = {key(name): float(value) for name, value in values.items() if value is not None}
        metrics = [Metric(name, number, now_ms, step or 0) for name, number in numbers.items()]
        for start in range(0, len(metrics), METRICS_PER_REQUEST):
            self.client.log_batch(self.id, metrics=metrics[start : start + METRICS_PER_REQUEST])

    def picture(self, name: str, png: bytes) -> None:
        """Store a PNG file as `pictures/NAME.png`."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"{name}.png"
            path.write_bytes(png)
            self.client.log_artifact(self.id, str(path), "pictures")

    def file(self, name: str, content: bytes) -> None:
        """Store bytes as `files/NAME`."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / name
            path.write_bytes(content)
            self.client.log_artifact(self.id, str(path), "files")

    def page(self, name: str, html: str) -> None:
        """Store an HTML page as `NAME.html`."""
        self.client.log_text(self.id, html, f"{name}.html")

    def table(self, name: str, rows: Sequence[Mapping[str, object]]) -> None:
        """Store rows as `tables/NAME.json`, which MLflow shows as a table; a second call appends."""
        self.client.log_table(self.id, columns_of(rows), f"tables/{name}.json")

    def dataset(self, name: str, digest: str, source: str, counts: Mapping[str, int]) -> None:
        """Remember what the run read, by address and digest; no content is copied.

        Parameters
        ----------
        name
            What MLflow calls it.
        digest
            Digest of the content; MLflow shows its first `DIGEST_LENGTH` characters, the source keeps all.
        source
            Address of the data, such as an artifact's URI.
        counts
            How much of what it holds, such as `cells`.
        """
        from mlflow.entities import Dataset, DatasetInput

        entry = Dataset(
            name=name,
            digest=digest[:DIGEST_LENGTH],
            source_type="chipcyte",
            source=json.dumps({"uri": source, "digest": digest}),
            profile=json.dumps(dict(counts)),
        )
        self.client.log_inputs(self.id, datasets=[DatasetInput(entry)])

    def model(
        self, module: "torch.nn.Module", example: npt.NDArray[Any], *, name: str, registered_name: str
    ) -> ModelReference:
        """Store a network as a traced graph (torch's pt2, no pickle) and register it.

        Parameters
        ----------
        module
            Network with one tensor as input; a copy in evaluation mode on the CPU is traced.
        example
            Input of the network, axes as it wants them, batch first. The batch may have any length later;
            the other axes keep the example's lengths.
        name
            What MLflow calls this model.
        registered_name
            Name in the registry, which counts the versions.
        """
        info = self.client.get_run(self.id).info
        logged = log_model(self.client, module, example, run=info, name=name)
        return register(self.client, logged, run_id=self.id, registered_name=registered_name)


@contextmanager
def tracked_run(experiment: str, name: str, *, tracking_uri: str, tags: Mapping[str, str]) -> Iterator[Run]:
    """Open a new run for the length of a block.

    Parameters
    ----------
    experiment
        Name of the experiment; made if missing.
    name
        Name of the run.
    tracking_uri
        Address of an MLflow server, or `sqlite:///FILE`.
    tags
        Words to find the run by.

    Yields
    ------
    Run
        It ends as FINISHED, as FAILED after an exception, as KILLED after an interrupt.

    Raises
    ------
    TrackingError
        If the server cannot be reached or the experiment was deleted.
    """
    with explained(tracking_uri):
        client = make_client(tracking_uri)
        experiment_id = _experiment_id(client, experiment, tracking_uri)
        about = {"mlflow.user": _user(), "mlflow.source.name": "chipcyte", **tags}
        run_id = client.create_run(experiment_id, run_name=name, tags=about).info.run_id
        with _closing(client, run_id):
            yield Run(run_id, _page(tracking_uri, experiment_id, run_id), client)


def log_to_run(tracking_uri: str, run_id: str) -> Run:
    """Reopen a run to log more; its status stays as it is.

    Raises
    ------
    TrackingError
        If the server cannot be reached or knows no such run.
    """
    with explained(tracking_uri):
        client = make_client(tracking_uri)
        experiment_id = client.get_run(run_id).info.experiment_id
    return Run(run_id, _page(tracking_uri, experiment_id, run_id), client)


def make_client(tracking_uri: str) -> Any:
    """Return MLflow's client for runs and registry of one server."""
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=tracking_uri, registry_uri=tracking_uri)


def _experiment_id(client: Any, name: str, tracking_uri: str) -> str:
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(name)
    if found is None:
        try:
            return str(client.create_experiment(name, artifact_location=_artifact_location(tracking_uri)))
        except MlflowException:  # another process made it in the meantime
            found = client.get_experiment_by_name(name)
            if found is None:
                raise
    if found.lifecycle_stage == "deleted":
        raise TrackingError(
            f"expected an experiment to log to, found that {name!r} was deleted in MLflow at {tracking_uri}; "
            "restore it there or choose another name"
        )
    return str(found.experiment_id)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container may run under a number without a name
        return "unknown"


def _artifact_location(tracking_uri: str) -> str | None:
    """Beside a database file; MLflow itself would take the folder the program happens to run in."""
    if not tracking_uri.startswith(SQLITE):
        return None
    return (Path(tracking_uri.removeprefix(SQLITE)).absolute().parent / "artifacts").as_uri()


def _page(tracking_uri: str, experiment_id: str, run_id: str) -> str:
    if not tracking_uri.startswith(("http://", "https://")):
        return f"runs:/{run_id}"
    return f"{tracking_uri.rstrip('/')}/#/experiments/{quote(experiment_id)}/runs/{quote(run_id)}"


@contextmanager
def explained(tracking_uri: str) -> Iterator[None]:
    """Turn MLflow's errors within the block into a TrackingError that says what to do."""
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as error:
        raise TrackingError(
            f"expected MLflow at {tracking_uri} to do what was asked, found: {error}; see whether it runs "
            "(chipcyte status) and whether MLFLOW_TRACKING_URI names it"
        ) from error


@contextmanager
def _closing(client: Any, run_id: str) -> Iterator[None]:
    try:
        yield
    except BaseException as error:
        from mlflow.exceptions import MlflowException

        with suppress(MlflowException):  # the first error is the one to report
            client.set_terminated(run_id, "FAILED" if isinstance(error, Exception) else "KILLED")
        raise
    client.set_terminated(run_id, "FINISHED")
