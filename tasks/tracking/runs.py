"""Runs: opened, written to and closed, whatever happens inside and whether or not the server stays."""

import getpass
import json
import threading
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy.typing as npt

from storage.objects import Objects
from tasks.tracking.entries import TICKET, TICKET_PREFIX, Entry, find_run, open_run, tell
from tasks.tracking.models import ModelReference, traced
from tasks.tracking.server import LostServerError, TrackingError, explained, is_reachable, make_client, page
from tasks.tracking.spool import Spool, deliver_if_any, log
from tasks.tracking.texts import columns_of, flattened, key, shortened

if TYPE_CHECKING:
    import torch

DIGEST_LENGTH = 36


@dataclass(slots=True)
class Run:
    """One MLflow run, open for logging.

    With a spool, a server that is lost costs nothing: from then on all that the run is told waits in the
    store (`tasks.tracking.spool`). Without one, it is an error.

    Attributes
    ----------
    id
        MLflow's id of the run; its ticket where no server could give it one.
    url
        The run's page; `runs:/ID` where MLflow is a database file without pages.
    client
        MLflow's client for the run's server.
    spool
        Where the store lets entries wait.
    is_lost
        Whether the server was lost.
    """

    id: str
    url: str
    client: Any
    spool: Spool | None = None
    is_lost: bool = False
    lock: Any = field(default_factory=threading.Lock, repr=False)

    def tag(self, name: str, value: str) -> None:
        """Attach a word to the run; a later value replaces an earlier one."""
        self._tell("tag", {"name": name, "value": value})

    def params(self, values: Mapping[str, object]) -> None:
        """Log settings once, as short texts; nested ones as `outer.inner`."""
        texts = {key(name): shortened(text) for name, text in flattened(values).items()}
        self._tell("params", {"values": texts})

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
        numbers = {key(name): float(value) for name, value in values.items() if value is not None}
        self._tell("metrics", {"values": numbers, "step": step or 0, "time_ms": _now_ms()})

    def picture(self, name: str, png: bytes) -> None:
        """Store a PNG file as `pictures/NAME.png`."""
        self._tell("files", {}, {f"pictures/{name}.png": png})

    def file(self, name: str, content: bytes) -> None:
        """Store bytes as `files/NAME`."""
        self._tell("files", {}, {f"files/{name}": content})

    def page(self, name: str, html: str) -> None:
        """Store an HTML page as `NAME.html`."""
        self._tell("files", {}, {f"{name}.html": html.encode()})

    def table(self, name: str, rows: Sequence[Mapping[str, object]]) -> None:
        """Store rows as `tables/NAME.json`, which MLflow shows as a table; a later one replaces it."""
        columns = columns_of(rows)
        cells = [list(row) for row in zip(*columns.values(), strict=True)]
        content = json.dumps({"columns": list(columns), "data": cells}).encode()
        self._tell("table", {}, {f"tables/{name}.json": content})

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
        facts = {
            "name": name,
            "digest": digest[:DIGEST_LENGTH],
            "source_type": "chipcyte",
            "source": json.dumps({"uri": source, "digest": digest}),
            "profile": json.dumps(dict(counts)),
        }
        self._tell("dataset", facts)

    def model(
        self,
        module: "torch.nn.Module",
        example: npt.NDArray[Any],
        *,
        name: str,
        registered_name: str,
        tags: Mapping[str, str] | None = None,
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
        tags
            Words that the version bears.
        """
        facts = {"name": name, "registered_name": registered_name, "mark": uuid.uuid4().hex}
        made = self._tell("model", facts | {"tags": dict(tags or {})}, traced(module, example))
        return made or ModelReference(f"models:/{registered_name}", None)

    def end(self, status: str) -> None:
        """Say how the run ended: FINISHED, FAILED or KILLED."""
        self._tell("end", {"status": status, "time_ms": _now_ms()})

    def _tell(self, does: str, facts: dict[str, Any], files: dict[str, bytes] | None = None) -> Any:
        entry = Entry(does, facts, files or {})
        with self.lock:
            if not self.is_lost:
                try:
                    with explained(self.client.tracking_uri):
                        return tell(self.client, self.id, entry)
                except LostServerError as error:
                    if self.spool is None:
                        raise
                    self.is_lost = True
                    log.warning(f"the work goes on, what it finds waits in the store: {error}")
            assert self.spool is not None
            self.spool.add(entry)
        return None


@contextmanager
def tracked_run(
    experiment: str,
    name: str,
    *,
    tracking_uri: str,
    tags: Mapping[str, str],
    spool: Objects | None = None,
) -> Iterator[Run]:
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
    spool
        The store in which entries wait if the server is lost; None: a lost server is an error.

    Yields
    ------
    Run
        It ends as FINISHED, as FAILED after an exception, as KILLED after an interrupt.

    Raises
    ------
    TrackingError
        If the server cannot be reached and there is no spool, or the experiment was deleted.
    """
    with explained(tracking_uri):
        run = _opened(experiment, name, tracking_uri, tags, spool)
        with _closing(run, tracking_uri):
            yield run


def log_to_run(tracking_uri: str, run_id: str, spool: Objects | None = None) -> Run:
    """Reopen a run to log more; its status stays as it is.

    Parameters
    ----------
    run_id
        MLflow's id, or the ticket of a run that was opened while the server was lost.
    spool
        As for `tracked_run`.

    Raises
    ------
    TrackingError
        If the server cannot be reached and there is no spool, or knows no such run.
    """
    client = make_client(tracking_uri)
    waits = None if spool is None else Spool(spool, run_id)
    try:
        with explained(tracking_uri):
            found = find_run(client, run_id)
            if found is not None:
                experiment = client.get_run(found).info.experiment_id
                return Run(found, page(tracking_uri, experiment, found), client, waits)
    except LostServerError:
        if waits is None:
            raise
    if waits is None:
        raise TrackingError(f"expected run {run_id} in MLflow at {tracking_uri}, found none")
    return Run(run_id, tracking_uri, client, waits, is_lost=True)


def _opened(
    experiment: str, name: str, tracking_uri: str, tags: Mapping[str, str], spool: Objects | None
) -> Run:
    client, ticket = make_client(tracking_uri), f"{TICKET_PREFIX}{uuid.uuid4().hex}"
    about = {"mlflow.user": _user(), "mlflow.source.name": "chipcyte", TICKET: ticket, **tags}
    facts = {"experiment": experiment, "name": name, "tags": about, "time_ms": _now_ms()}
    entry = Entry("open", facts)
    try:
        with explained(tracking_uri):
            run_id = open_run(client, entry)
            where = client.get_experiment_by_name(experiment).experiment_id
            return Run(
                run_id, page(tracking_uri, where, run_id), client, Spool(spool, run_id) if spool else None
            )
    except LostServerError as error:
        if spool is None:
            raise
        log.warning(f"the work goes on, what it finds waits in the store: {error}")
    waits = Spool(spool, ticket)
    waits.add(entry)
    return Run(ticket, tracking_uri, client, waits, is_lost=True)


@contextmanager
def _closing(run: Run, tracking_uri: str) -> Iterator[None]:
    try:
        yield
    except BaseException as error:
        with suppress(TrackingError):  # the first error is the one to report
            run.end("FAILED" if isinstance(error, Exception) else "KILLED")
        raise
    run.end("FINISHED")
    if run.is_lost and run.spool is not None and is_reachable(tracking_uri):
        deliver_if_any(run.spool.objects, tracking_uri)  # the server came back meanwhile


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container may run under a number without a name
        return "unknown"


def _now_ms() -> int:
    return int(time.time() * 1000)
