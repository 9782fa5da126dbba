"""Peak memory of a stage, computed from shapes before it runs."""

import math
from collections.abc import Sequence

from storage.errors import MemoryBudgetError
from tasks.settings import Resources

# Bytes a unit holds at its peak for each pixel of the plane or tile it works on, halo included. Measured with
# tests/tasks/test_budget.py, which fails when a stage takes more.
INGEST = 24
PREPROCESS = 64
SEGMENT = 160
MEASURE = 64
BASE_BYTES = 1000 * 2**20  # a worker's libraries, torch among them, and what they keep from unit to unit
NETWORK_BYTES = 300 * 2**20  # beside that: a network, and what torch keeps from one patch to the next


def unit_bytes(per_px: int, shape_yx: Sequence[int]) -> int:
    """Return the peak memory of one worker on one unit, in bytes."""
    return BASE_BYTES + per_px * math.prod(shape_yx)


def network_unit_bytes(per_px: int, shape_yx: Sequence[int]) -> int:
    """Return the peak memory of one worker that has asked a network, on one unit, in bytes."""
    return NETWORK_BYTES + unit_bytes(per_px, shape_yx)


def check(
    what: str, per_px: int, shape_yx: Sequence[int], resources: Resources, *, network: bool = False
) -> None:
    """Raise MemoryBudgetError if a unit does not fit the share of one worker."""
    share = resources.memory_bytes // resources.workers
    needed = network_unit_bytes(per_px, shape_yx) if network else unit_bytes(per_px, shape_yx)
    if needed > share:
        raise MemoryBudgetError(
            f"{what}: a unit of {shape_yx[0]} x {shape_yx[1]} px needs {needed / 2**20:,.0f} MiB, each of "
            f"{resources.workers} workers has {share / 2**20:,.0f} MiB; raise resources.memory_bytes to "
            f"{needed * resources.workers} or lower resources.workers"
        )


def check_bytes(what: str, held_bytes: int, resources: Resources) -> None:
    """Raise MemoryBudgetError if what one process holds at once, beside its libraries, does not fit."""
    needed = BASE_BYTES + held_bytes
    if needed > resources.memory_bytes:
        raise MemoryBudgetError(
            f"{what} need {needed / 2**20:,.0f} MiB at once, resources.memory_bytes allows "
            f"{resources.memory_bytes / 2**20:,.0f} MiB; raise it to {needed} or more, or give fewer pictures"
        )
