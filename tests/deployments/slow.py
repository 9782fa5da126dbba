"""A flow that is killed: its first tries take longer than a test, the third ends at once."""

import os
import time
from pathlib import Path

from prefect import flow

TRIES_THAT_HANG = 2


@flow(name="slow")
def slow(*, folder: str) -> None:
    """Write down the process, and wait to be killed.

    Args:
        folder: Where the numbers of the processes are written.
    """
    number = len(list(Path(folder).iterdir()))
    (Path(folder) / f"{number}.pid").write_text(str(os.getpid()))
    if number < TRIES_THAT_HANG:
        time.sleep(600)
