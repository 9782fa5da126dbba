"""Networks as traced graphs in MLflow's registry."""

import copy
import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True)
class ModelReference:
    """A model in MLflow's registry.

    Attributes
    ----------
    uri
        `models:/NAME/VERSION`, for MLflow's loaders.
    version
        Its version, counted from 1.
    """

    uri: str
    version: int


def log_model(
    client: Any, module: "torch.nn.Module", example: npt.NDArray[Any], *, run: Any, name: str
) -> Any:
    """Store a network as a model of a run.

    Parameters
    ----------
    client
        MLflow's client.
    module
        Network with one tensor as input.
    example
        Its input, batch first.
    run
        MLflow's description of the run (`client.get_run(...).info`).
    name
        What MLflow calls the model.

    Returns
    -------
    LoggedModel
        MLflow's description of the model.
    """
    logged = client.create_logged_model(run.experiment_id, name=name, source_run_id=run.run_id)
    with tempfile.TemporaryDirectory() as folder, _marked_if_it_fails(client, logged.model_id):
        path = Path(folder) / "model"
        _save_traced(module, example, path, run_id=run.run_id, logged=logged)
        client.log_model_artifacts(logged.model_id, str(path))
        client.finalize_logged_model(logged.model_id, "READY")
    return logged


def register(client: Any, logged: Any, *, run_id: str, registered_name: str) -> ModelReference:
    """Give a logged model the next version under a name, and show it as the run's output."""
    from mlflow.entities import LoggedModelOutput
    from mlflow.utils.mlflow_tags import MLFLOW_MODEL_VERSIONS

    client.log_outputs(run_id, [LoggedModelOutput(logged.model_id, step=0)])
    _ensure_registered_model(client, registered_name)
    # not models:/ID: with a database file MLflow would look that up on the process's own tracking address
    entry = client.create_model_version(
        registered_name, logged.artifact_location, run_id=run_id, model_id=logged.model_id
    )
    link = [{"name": registered_name, "version": str(entry.version)}]  # shown on the model's page
    client.set_logged_model_tags(logged.model_id, {MLFLOW_MODEL_VERSIONS: json.dumps(link)})
    return ModelReference(uri=f"models:/{registered_name}/{entry.version}", version=int(entry.version))


@contextmanager
def _marked_if_it_fails(client: Any, model_id: str) -> Iterator[None]:
    try:
        yield
    except BaseException:
        from mlflow.exceptions import MlflowException

        with suppress(MlflowException):
            client.finalize_logged_model(model_id, "FAILED")
        raise


def _ensure_registered_model(client: Any, name: str) -> None:
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def _save_traced(
    module: "torch.nn.Module", example: npt.NDArray[Any], path: Path, *, run_id: str, logged: Any
) -> None:
    import mlflow.pytorch
    from mlflow.models import Model

    if len(example) == 1:  # torch would fix a batch of one for ever
        example = np.concatenate([example, example])
    mlflow.pytorch.save_model(
        copy.deepcopy(module).cpu().eval(),
        str(path),
        mlflow_model=Model(
            artifact_path=logged.artifact_location,
            model_uuid=logged.model_id,
            run_id=run_id,
            model_id=logged.model_id,
        ),
        input_example=example,
        # named here, because finding them out loads the model in a second process for many seconds
        pip_requirements=[f"{package}=={version(package)}" for package in ("mlflow", "numpy", "torch")],
        serialization_format="pt2",
    )
