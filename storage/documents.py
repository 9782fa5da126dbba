"""The metadata objects (zarr.json) of arrays and images, read once by a worker in a step of a stage."""

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from threading import Lock

from storage.objects import Objects

MOST_STEPS = 8  # of stages that run at once in one process


@dataclass
class _Kept:
    """The documents that were read in the last steps, by step."""

    steps: OrderedDict[str, dict[str, bytes]] = field(default_factory=OrderedDict)
    lock: Lock = field(default_factory=Lock)

    def of(self, step: str) -> dict[str, bytes]:
        """Return the documents of a step, by address."""
        with self.lock:
            documents = self.steps.setdefault(step, {})
            self.steps.move_to_end(step)
            while len(self.steps) > MOST_STEPS:
                self.steps.popitem(last=False)
        return documents


_kept = _Kept()
_step: ContextVar[str | None] = ContextVar("step", default=None)


@contextmanager
def final(step: str) -> Iterator[None]:
    """Within the block, read each document once in this process for all blocks of the same step.

    Every array exists with its final metadata before the first unit of a step is computed, and stays until
    after the last: what was read for one unit is true for all. Outside such a block each document is read
    anew, since another process may have removed the artifact, or made it again, in between.

    Parameters
    ----------
    step
        A name that is given to one step of one run, and to no other ever after.
    """
    token = _step.set(step)
    try:
        yield
    finally:
        _step.reset(token)


def read(objects: Objects, name: str) -> bytes:
    """Return the bytes of a document; MissingInputError if there is none of this name."""
    step = _step.get()
    if step is None:
        return objects.get(name)
    documents = _kept.of(step)
    address = objects.uri(name)
    if address not in documents:
        documents[address] = objects.get(name)
    return documents[address]
