"""Networks as traced graphs in MLflow's registry."""

import copy
import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import torch

MARK = "chipcyte.entry"  # a tag of models and versions: which entry made them


@dataclass(frozen=True, slots=True)
class ModelReference:
    """A model in MLflow's registry.

    Attributes
    ----------
    uri
        `models:/NAME/VERSION`, for MLflow's loaders; `models:/NAME` while it waits for a lost server.
    version
        Its version, counted from 1; None while it waits.
    """

    uri: str
    version: int | None


def traced(module: "torch.nn.Module", example: npt.NDArray[Any]) -> dict[str, bytes]:
    """Return a network as the files of an MLflow model, its ids left open.

    Parameters
    ----------
    module
        Network with one tensor as input; a copy in evaluation mode on the CPU is traced (torch's pt2, no
        pickle, nothing of this project's code).
    example
        Its input, batch first.
    """
    import mlflow.pytorch

    if len(example) == 1:  # torch would fix a batch of one for ever
        example = np.concatenate([example, example])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model"
        mlflow.pytorch.save_model(
            copy.deepcopy(module).cpu().eval(),
            str(path),
            input_example=example,
            # named here, because finding them out loads the model in a second process for many seconds
            pip_requirements=[f"{package}=={version(package)}" for package in ("mlflow", "numpy", "torch")],
            serialization_format="pt2",
        )
        return {
            one.relative_to(path).as_posix(): one.read_bytes() for one in path.rglob("*") if one.is_file()
        }


def put_model(
    client: Any,
    run_id: str,
    folder: Path,
    *,
    name: str,
    registered_name: str,
    mark: str,
    tags: Mapping[str, str],
) -> ModelReference:
    """Store traced files as a model of a run and give it the next version under a name; once for a mark.

    Parameters
    ----------
    folder
        The files of `traced`.
    name
        What MLflow calls the model.
    mark
        Names this call, so that a second one with the same mark finds what the first has made.
    tags
        Words that the version bears.
    """
    from mlflow.entities import LoggedModelStatus

    logged = _logged_model(client, run_id, name, mark)
    if logged.status != LoggedModelStatus.READY:
        _name_model(folder, run_id, logged)
        client.log_model_artifacts(logged.model_id, str(folder))
        client.finalize_logged_model(logged.model_id, LoggedModelStatus.READY)
    _show_as_output(client, run_id, logged.model_id)
    return _version(client, run_id, logged, registered_name, {**tags, MARK: mark})


def _logged_model(client: Any, run_id: str, name: str, mark: str) -> Any:
    experiment = client.get_run(run_id).info.experiment_id
    found = client.search_logged_models([experiment], f"tags.`{MARK}` = '{mark}'", max_results=1)
    if found:
        return found[0]
    return client.create_logged_model(experiment, name=name, source_run_id=run_id, tags={MARK: mark})


def _show_as_output(client: Any, run_id: str, model_id: str) -> None:
    from mlflow.entities import LoggedModelOutput

    shown = client.get_run(run_id).outputs
    if all(one.model_id != model_id for one in (shown.model_outputs if shown else ())):
        client.log_outputs(run_id, [LoggedModelOutput(model_id, step=0)])


def _name_model(folder: Path, run_id: str, logged: Any) -> None:
    from mlflow.models import Model

    described = Model.load(str(folder))
    described.artifact_path, described.run_id = logged.artifact_location, run_id
    described.model_uuid = described.model_id = logged.model_id
    described.save(str(folder / "MLmodel"))


def _version(
    client: Any, run_id: str, logged: Any, registered_name: str, tags: dict[str, str]
) -> ModelReference:
    from mlflow.utils.mlflow_tags import MLFLOW_MODEL_VERSIONS

    _ensure_registered_model(client, registered_name)
    found = [
        one
        for one in client.search_model_versions(f"name = '{registered_name}' and run_id = '{run_id}'")
        if one.tags.get(MARK) == tags[MARK]
    ]
    # not models:/ID: with a database file MLflow would look that up on the process's own tracking address
    entry = (
        found[0]
        if found
        else client.create_model_version(
            registered_name, logged.artifact_location, run_id=run_id, model_id=logged.model_id, tags=tags
        )
    )
    link = [{"name": registered_name, "version": str(entry.version)}]  # shown on the model's page
    client.set_logged_model_tags(logged.model_id, {MLFLOW_MODEL_VERSIONS: json.dumps(link)})
    return ModelReference(uri=f"models:/{registered_name}/{entry.version}", version=int(entry.version))


def _ensure_registered_model(client: Any, name: str) -> None:
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
