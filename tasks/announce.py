"""What people see while a stage runs: progress in the terminal and in the Prefect UI.

Prefect is imported inside the functions: it takes two seconds, and Dask's workers import this module too.
"""

import base64
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

from tasks.chunked import Listener

log = logging.getLogger("chipcyte")

Terminal = Callable[[str, int, int], None]
_terminals: list[Terminal] = []
SECONDS_BETWEEN = 2.0


def on_terminal(show: Terminal | None) -> None:
    """Let `show(label, done, total)` hear of every unit; None: nobody."""
    _terminals[:] = [show] if show else []


def listener(label: str) -> Listener:
    """Return a listener for a step: every unit to the terminal, one in two seconds to the Prefect UI.

    A step that is shorter than that is not shown there: hundreds of a run are, and each costs the server more
    than a small unit takes.
    """
    to_prefect = _ProgressArtifact(label)

    def tell(done: int, total: int) -> None:
        for show in _terminals:
            show(label, done, total)
        if total:
            to_prefect(done, total)

    return tell


class _ProgressArtifact:
    """A progress artifact of the running task; nothing where no task runs, or once Prefect has refused it."""

    def __init__(self, label: str) -> None:
        self.label = label
        self.identity: UUID | None = None
        self.refused = False
        self.last = time.monotonic()

    def __call__(self, done: int, total: int) -> None:
        from prefect.context import TaskRunContext

        if TaskRunContext.get() is None or self.refused or not self._is_news(done == total):
            return
        self.last = time.monotonic()
        self.refused = True  # unless it goes well: a server that is away keeps its client waiting each time
        with _worth_no_run(f"the progress of {self.label}"):
            self._show(100.0 * done / total, total)
            self.refused = False

    def _is_news(self, ended: bool) -> bool:
        if ended:
            return self.identity is not None
        return time.monotonic() - self.last >= SECONDS_BETWEEN

    def _show(self, percent: float, total: int) -> None:
        from prefect.artifacts import create_progress_artifact, update_progress_artifact

        if self.identity is None:
            created: Any = create_progress_artifact(percent, description=f"{self.label}: {total} units")
            self.identity = created
        else:
            update_progress_artifact(self.identity, progress=percent)


def table(key: str, rows: list[dict[str, Any]], description: str) -> None:
    """Show a table in the Prefect UI; nothing where no task or flow runs."""
    from prefect import artifacts

    if rows and _within_a_run():
        with _worth_no_run(f"the table {key}"):
            artifacts.create_table_artifact(table=rows, key=key, description=description)


def link(key: str, url: str, text: str) -> None:
    """Show a link in the Prefect UI; nothing where no task or flow runs."""
    from prefect import artifacts

    if _within_a_run():
        with _worth_no_run(f"the link {key}"):
            artifacts.create_link_artifact(link=url, link_text=text, key=key, description=text)


def image(key: str, png: Callable[[], bytes], description: str) -> None:
    """Show a picture in the Prefect UI, drawn only where a task or flow runs."""
    from prefect import artifacts

    if _within_a_run():
        url = f"data:image/png;base64,{base64.b64encode(png()).decode()}"
        with _worth_no_run(f"the picture {key}"):
            artifacts.create_image_artifact(image_url=url, key=key, description=description)


def run_page() -> str:
    """Return the page of the flow run that is going on; empty where none is, or its server has no page."""
    from prefect.runtime import flow_run
    from prefect.utilities.urls import url_for

    return (url_for("flow-run", flow_run.id) if flow_run.id else None) or ""


def warn(text: str) -> None:
    """Say something that people must know although the work goes on."""
    log.warning(text)


@contextmanager
def _worth_no_run(what: str) -> Iterator[None]:
    """Go on without what the Prefect UI cannot show."""
    try:
        yield
    except Exception as error:  # noqa: BLE001 - Prefect and httpx raise many kinds
        warn(f"{what} is not in the Prefect UI: {error}")


def _within_a_run() -> bool:
    from prefect.context import FlowRunContext, TaskRunContext

    return TaskRunContext.get() is not None or FlowRunContext.get() is not None
