"""A place beside the one that is asked for: what bears the wanted name is finished, or is not there."""

import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from storage.errors import ChipcyteError, InputError, StoreError
from storage.objects import Objects


@contextmanager
def staged(objects: Objects | None, out: Path, *, is_folder: bool) -> Iterator[Path]:
    """Lend a place beside `out`. It becomes `out` if the block ends well, and is removed if not.

    Parameters
    ----------
    objects
        The store that `out` must not lie in, if there is one.

    Raises
    ------
    InputError
        `out` exists and is not an empty folder, or lies in the store.
    StoreError
        It cannot be written: the disk is full, the folder is read-only.
    """
    staging = out.with_name(f"{_unfinished(out)}{os.getpid()}")
    try:
        _check_free(objects, out, is_folder=is_folder)
        out.parent.mkdir(parents=True, exist_ok=True)
        _sweep(out)
        yield staging
        _check_free(objects, out, is_folder=is_folder)  # another process may have been quicker
        staging.rename(out)
    except ChipcyteError:
        raise
    except OSError as error:
        raise StoreError(
            f"could not write {out}: {error.strerror or error}; nothing was left there: make room or "
            "name another place, and run the same command again"
        ) from error
    finally:
        _remove(staging)


def _check_free(objects: Objects | None, out: Path, *, is_folder: bool) -> None:
    if objects is not None and objects.folder is not None and out.is_relative_to(objects.folder.resolve()):
        raise InputError(f"{out} lies in the store, which keeps to itself; name a place outside it")
    empty_folder = is_folder and out.is_dir() and not any(out.iterdir())
    if os.path.lexists(out) and not empty_folder:
        raise InputError(f"{out} exists already, and nothing is ever replaced; name another place")


def write_file(path: Path, content: bytes) -> None:
    """Write a file below a lent place, and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def check_space(folder: Path, needed_bytes: int) -> None:
    """Raise StoreError if the disk of a folder has not so much left."""
    free_bytes = shutil.disk_usage(folder).free
    if needed_bytes > free_bytes:
        needed, free = (f"{size_bytes / 2**20:,.1f} MiB" for size_bytes in (needed_bytes, free_bytes))
        raise StoreError(
            f"this needs {needed}, and {free} are free in {folder}; nothing was written: make room "
            "there or name another place"
        )


def _unfinished(out: Path) -> str:
    """Return how the names of this host's unfinished copies begin; the process number follows."""
    return f"{out.name}.unfinished-{socket.gethostname()}-"


def _sweep(out: Path) -> None:
    """Remove what killed processes left beside the same place."""
    start = _unfinished(out)
    for path in out.parent.iterdir():
        pid = path.name.removeprefix(start)
        if path.name.startswith(start) and pid.isdecimal() and _is_dead(int(pid)):
            _remove(path)


def _is_dead(pid: int) -> bool:
    """Whether no other process has the number; one that had ours before us is dead."""
    return pid == os.getpid() or not psutil.pid_exists(pid)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    elif path.exists():
        path.unlink()
