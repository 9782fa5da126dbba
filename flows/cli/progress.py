"""Progress of a run: bars on a terminal, plain lines elsewhere; always on standard error."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from flows.cli.common import err

LINE_EVERY_S = 5.0


class _Lines:
    """One line when a step begins, at most one in five seconds after that, one when it ends."""

    def __init__(self) -> None:
        self.last: dict[str, float] = {}

    def __call__(self, label: str, done: int, total: int) -> None:
        moment = time.monotonic()
        if done == total or moment - self.last.get(label, -LINE_EVERY_S) >= LINE_EVERY_S:
            self.last[label] = moment
            err.print(f"{label}: {done} of {total}", soft_wrap=True)


class _Bars:
    """A bar for each step that is running."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress
        self.bars: dict[str, int] = {}
        self.lock = threading.Lock()

    def __call__(self, label: str, done: int, total: int) -> None:
        with self.lock:
            if label not in self.bars:
                self.bars[label] = self.progress.add_task(label, total=total)
            bar = self.bars[label]
            self.progress.update(bar, completed=done, visible=done < total)  # type: ignore[arg-type]


@contextmanager
def shown() -> Iterator[None]:
    """Show the progress of the stages that run inside the block."""
    from tasks import announce

    if not err.is_terminal:
        announce.on_terminal(_Lines())
        try:
            yield
        finally:
            announce.on_terminal(None)
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=err, transient=True) as progress:
        announce.on_terminal(_Bars(progress))
        try:
            yield
        finally:
            announce.on_terminal(None)
