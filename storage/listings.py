"""What a listing says of objects, and how a folder is listed: by the system, which is faster than obstore."""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

STAGING = re.compile(r"#\d+$")  # what obstore writes before it renames; a killed process leaves it behind


@dataclass(frozen=True)
class Entry:
    """One object of a listing."""

    name: str
    size_bytes: int
    modified: datetime


def entry_of(name: str, file: "Path | os.DirEntry[str]") -> Entry | None:
    """Return what a folder says of a file; None if it is gone since it was listed."""
    try:
        facts = file.stat()
    except FileNotFoundError:
        return None
    return Entry(name, facts.st_size, datetime.fromtimestamp(facts.st_mtime, UTC))


def small_file(folder: Path, name: str) -> bytes | None:
    """Return the bytes of a file, four times as soon as obstore; None where the system does not give them."""
    try:
        with open(f"{folder}/{name}", "rb", buffering=0) as file:  # noqa: PTH123 - half of the time is a Path's
            return file.read()
    except OSError:
        return None


def walk(folder: Path, prefix: str, *, torn: bool = False) -> "Iterator[tuple[str, os.DirEntry[str]]]":
    """Yield the names and files below a prefix of a store's folder; none where it is not there.

    Parameters
    ----------
    torn
        Not the whole objects, but the half-written ones.
    """
    waiting = [prefix]
    while waiting:
        place = waiting.pop()
        try:
            entries = os.scandir(folder / place)
        except (FileNotFoundError, NotADirectoryError):
            continue
        with entries:
            for entry in entries:
                name = f"{place}/{entry.name}" if place else entry.name
                if entry.is_dir():
                    waiting.append(name)
                elif torn == bool(STAGING.search(entry.name)):
                    yield name, entry
