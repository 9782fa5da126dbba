"""Several acquisitions at once, in threads of the flow's process."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import TypeVar

from tasks import announce, chunked
from tasks.settings import Resources

Item = TypeVar("Item")
Made = TypeVar("Made")


def each(items: Sequence[Item], function: Callable[[Item], Made], resources: Resources) -> list[Made]:
    """Call a function on each, several at once; all are tried before the first failure is raised.

    Workers take the units of the first before those of the second: side by side all would wait for the
    workers together, and then all for this process.
    """

    def in_turn(turn: int, item: Item) -> Made:
        chunked.TURN.set(turn)
        return function(item)

    with ThreadPoolExecutor(resources.acquisitions_at_once) as pool:
        # Prefect keeps the running flow in a context variable, which a thread does not inherit.
        futures = [pool.submit(copy_context().run, in_turn, turn, item) for turn, item in enumerate(items)]
    failures = [error for future in futures if (error := future.exception()) is not None]
    for failure in failures[1:]:
        announce.warn(f"also failed: {failure}")
    if failures:
        raise failures[0]
    return [future.result() for future in futures]
