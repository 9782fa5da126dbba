"""What this machine gives: cores and memory, as far as this process may use them."""

import os
from pathlib import Path

import psutil

_CONTAINER = Path("/sys/fs/cgroup/memory.max")  # of cgroup v2, as this process sees its own


def cores() -> int:
    """Return how many cores this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def memory_bytes() -> int:
    """Return the memory of the machine, or of the container that this process lives in."""
    whole = int(psutil.virtual_memory().total)
    try:
        return min(whole, int(_CONTAINER.read_text()))
    except (OSError, ValueError):  # no container, or one without a limit ("max")
        return whole
