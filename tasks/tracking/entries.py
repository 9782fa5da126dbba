"""Entries: all that is ever told MLflow of a run, as data that can wait for a server and be told twice.

An answer may be lost after the server has done what was asked, so telling an entry again must change nothing.
MLflow holds one metric of equal name, step, moment and value, one tag, parameter, dataset and file of a name;
what it would make anew (runs, models, versions) bears a mark of ours and is looked for first.
"""

import io
import json
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tasks.tracking.models import put_model
from tasks.tracking.server import experiment_id

PARAMS_PER_REQUEST = 100
METRICS_PER_REQUEST = 1000
TICKET = "chipcyte.ticket"  # a tag: what a run is called before MLflow has given it an id
TICKET_PREFIX = "new-"
PARENT = "mlflow.parentRunId"  # a tag: the run below which MLflow shows this one
FACTS = "entry.json"
FILES = "files/"


@dataclass(frozen=True)
class Entry:
    """One thing told of a run.

    Attributes
    ----------
    does
        One of `DOES`, or "open".
    facts
        Plain JSON values.
    files
        Content by path in the run, or in its model.
    """

    does: str
    facts: dict[str, Any]
    files: dict[str, bytes] = field(default_factory=dict)

    def packed(self) -> bytes:
        """Return the entry as one ZIP file."""
        content = io.BytesIO()
        with zipfile.ZipFile(content, "w") as archive:
            archive.writestr(FACTS, json.dumps({"does": self.does, "facts": self.facts}))
            for name, each in self.files.items():
                archive.writestr(FILES + name, each)
        return content.getvalue()

    @classmethod
    def unpacked(cls, content: bytes) -> "Entry":
        """Return the entry that was packed."""
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            named = json.loads(archive.read(FACTS))
            files = {
                name.removeprefix(FILES): archive.read(name) for name in archive.namelist() if name != FACTS
            }
        return cls(named["does"], named["facts"], files)


def open_run(client: Any, entry: Entry) -> str:
    """Make the run of an entry "open" and return its id."""
    facts, tags = entry.facts, dict(entry.facts["tags"])
    if tags.get(PARENT, "").startswith(TICKET_PREFIX):  # the run above it was opened without a server too
        tags[PARENT] = find_run(client, tags[PARENT]) or tags[PARENT]
    made = client.create_run(
        experiment_id(client, facts["experiment"]),
        start_time=facts["time_ms"],
        run_name=facts["name"],
        tags=tags,
    )
    return str(made.info.run_id)


def find_run(client: Any, run_id: str) -> str | None:
    """Return the id of a run named by id or ticket; None if no run bears the ticket (yet)."""
    if not run_id.startswith(TICKET_PREFIX):
        return run_id
    everywhere = [one.experiment_id for one in client.search_experiments()]
    found = client.search_runs(everywhere, f"tags.`{TICKET}` = '{run_id}'", max_results=1)
    return str(found[0].info.run_id) if found else None


def tell(client: Any, run_id: str, entry: Entry) -> Any:
    """Tell MLflow an entry of a run that is there; the second time changes nothing."""
    return DOES[entry.does](client, run_id, entry)


def _tag(client: Any, run_id: str, entry: Entry) -> None:
    client.set_tag(run_id, entry.facts["name"], entry.facts["value"])


def _params(client: Any, run_id: str, entry: Entry) -> None:
    from mlflow.entities import Param

    params = [Param(name, text) for name, text in entry.facts["values"].items()]
    for start in range(0, len(params), PARAMS_PER_REQUEST):
        client.log_batch(run_id, params=params[start : start + PARAMS_PER_REQUEST])


def _metrics(client: Any, run_id: str, entry: Entry) -> None:
    from mlflow.entities import Metric

    facts = entry.facts
    metrics = [
        Metric(name, number, facts["time_ms"], facts["step"]) for name, number in facts["values"].items()
    ]
    for start in range(0, len(metrics), METRICS_PER_REQUEST):
        client.log_batch(run_id, metrics=metrics[start : start + METRICS_PER_REQUEST])


def _files(client: Any, run_id: str, entry: Entry) -> None:
    with tempfile.TemporaryDirectory() as folder:
        write_files(Path(folder), entry.files)
        client.log_artifacts(run_id, folder)


def _table(client: Any, run_id: str, entry: Entry) -> None:
    from mlflow.utils.mlflow_tags import MLFLOW_LOGGED_ARTIFACTS

    _files(client, run_id, entry)
    listed = json.loads(client.get_run(run_id).data.tags.get(MLFLOW_LOGGED_ARTIFACTS, "[]"))
    missing = [{"path": path, "type": "table"} for path in entry.files]
    listed += [one for one in missing if one not in listed]
    client.set_tag(run_id, MLFLOW_LOGGED_ARTIFACTS, json.dumps(listed))


def _dataset(client: Any, run_id: str, entry: Entry) -> None:
    from mlflow.entities import Dataset, DatasetInput

    client.log_inputs(run_id, datasets=[DatasetInput(Dataset(**entry.facts))])


def _model(client: Any, run_id: str, entry: Entry) -> Any:
    with tempfile.TemporaryDirectory() as folder:
        write_files(Path(folder), entry.files)
        return put_model(client, run_id, Path(folder), **entry.facts)


def _end(client: Any, run_id: str, entry: Entry) -> None:
    client.set_terminated(run_id, entry.facts["status"], entry.facts["time_ms"])


DOES: dict[str, Callable[[Any, str, Entry], Any]] = {
    "tag": _tag,
    "params": _params,
    "metrics": _metrics,
    "files": _files,
    "table": _table,
    "dataset": _dataset,
    "model": _model,
    "end": _end,
}


def write_files(folder: Path, files: dict[str, bytes]) -> None:
    """Write files of an entry below a folder."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
