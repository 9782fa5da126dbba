"""The logs of the group, in one folder: kept from growing without end, and shown."""

import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

LARGEST_BYTES = 10 * 2**20
"""A log that has grown larger becomes the old one, of which there is one."""

FOLLOW_EVERY_S = 0.3


def old(log: Path) -> Path:
    """Return where the earlier part of a log lies."""
    return log.with_suffix(".old.log")


def bound(log: Path) -> None:
    """Begin a log anew if it has grown too large; what is before stays in the old one.

    Whoever writes to it appends, and goes on at its new end: lines written between the copy and the cut are
    lost, which is better than a process that must be told.
    """
    if log.exists() and log.stat().st_size > LARGEST_BYTES:
        shutil.copyfile(log, old(log))
        os.truncate(log, 0)


def last_lines(log: Path, count: int) -> list[str]:
    """Return the last lines of a log, taken from the old one where the new one is too short."""
    lines: list[str] = []
    for path in (old(log), log):
        if path.exists():
            lines = [*lines, *path.read_text(encoding="utf-8", errors="replace").splitlines()][-count:]
    return lines if count else []


def follow(logs: dict[str, Path]) -> Iterator[tuple[str, str]]:
    """Yield (part, line) of what is written from now on, without end."""
    places = {name: log.stat().st_size if log.exists() else 0 for name, log in logs.items()}
    while True:
        for name, log in logs.items():
            size = log.stat().st_size if log.exists() else 0
            start = places[name] if places[name] <= size else 0  # it was begun anew
            whole = _whole_lines(log, start) if size > start else b""
            places[name] = start + len(whole)
            for line in whole.decode(errors="replace").splitlines():
                yield name, line
        time.sleep(FOLLOW_EVERY_S)


def _whole_lines(log: Path, start: int) -> bytes:
    with log.open("rb") as stream:
        stream.seek(start)
        found = stream.read()
    return found[: found.rfind(b"\n") + 1]
