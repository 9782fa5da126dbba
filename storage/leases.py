"""Leases: two processes that want the same artifact at once find out, and one of them does it.

A lease is a small object beside the done-markers, created only if absent. Its holder renews it; one that is
not renewed is dead and may be taken over. That is judged by watching it, never by comparing clocks.
"""

import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass

import psutil

from storage import layout
from storage.errors import BusyError, MissingInputError, StoreError
from storage.objects import Objects

RENEW_EVERY_S = 5.0
DEAD_AFTER_S = 20.0


@dataclass(frozen=True)
class Holder:
    """Who holds a lease. `beat` changes with each renewal, `started_s` tells a reused process number."""

    token: str
    host: str
    pid: int
    started_s: float
    beat: int = 0

    @property
    def is_gone(self) -> bool:
        """Whether the holder is a process of this host that no longer runs, or an earlier try of this one."""
        if self.host != socket.gethostname():
            return False
        if self.pid == os.getpid():
            return True  # threads of one process wait for each other, so none of them holds it
        try:
            return abs(psutil.Process(self.pid).create_time() - self.started_s) > 1
        except psutil.NoSuchProcess:
            return True


def _path(kind: str, key: str) -> str:
    return f"{layout.progress_folder(kind, key)}/lease.json"


@contextmanager
def held(objects: Objects, kind: str, key: str, *, dead_after_s: float = DEAD_AFTER_S) -> Iterator[None]:
    """Hold the lease of an artifact for the length of a block.

    Raises
    ------
    BusyError
        Another process, alive, holds it; the text names its host and number.
    """
    path = _path(kind, key)
    mine = Holder(uuid.uuid4().hex, socket.gethostname(), os.getpid(), psutil.Process().create_time())
    with _in_this_process(objects.uri(path)):
        _acquire(objects, path, mine, f"{kind} {key}", dead_after_s)
        stop = threading.Event()
        renewing = threading.Thread(target=_renew, args=(objects, path, mine, stop), daemon=True)
        renewing.start()
        try:
            yield
        finally:
            stop.set()
            renewing.join()
            objects.delete([path])


_locks: dict[str, threading.Lock] = {}


def _in_this_process(name: str) -> threading.Lock:
    """Return the lock for which threads of one process wait, so that a lease is between processes only."""
    return _locks.setdefault(name, threading.Lock())


def _acquire(objects: Objects, path: str, mine: Holder, what: str, dead_after_s: float) -> None:
    while not objects.create(path, _text(mine)):
        theirs = _read(objects, path)
        if theirs is None:
            continue
        if not theirs.is_gone and not _stands_still(objects, path, theirs, dead_after_s):
            raise BusyError(
                f"{what} is already being done by process {theirs.pid} on {theirs.host}; "
                "wait for it, then run the same command again"
            )
        _bury(objects, path, theirs, dead_after_s)


def _stands_still(objects: Objects, path: str, theirs: Holder, dead_after_s: float) -> bool:
    """Watch a lease; return whether it was never renewed."""
    deadline = time.monotonic() + dead_after_s
    while time.monotonic() < deadline:
        time.sleep(min(0.5, dead_after_s / 4))
        if _read(objects, path) != theirs:
            return False
    return True


def _bury(objects: Objects, path: str, theirs: Holder, dead_after_s: float) -> None:
    """Remove a dead holder's lease, once: of several that find it dead, the one that makes the tomb.

    Otherwise a slow second one could remove the lease that the first has taken meanwhile. A tomb bears the
    dead holder's token, so it is used for one death only; if its maker dies too, patience replaces it.
    """
    made_tomb = objects.create(f"{path}.{theirs.token}", b"")
    if made_tomb or _stands_still(objects, path, theirs, dead_after_s):
        objects.delete([path])


def _renew(objects: Objects, path: str, mine: Holder, stop: threading.Event) -> None:
    beat = 0
    while not stop.wait(RENEW_EVERY_S):
        beat += 1
        try:
            objects.put(path, _text(Holder(**(asdict(mine) | {"beat": beat}))))
        except StoreError:
            continue  # the work itself will say that the store is gone


def _read(objects: Objects, path: str) -> Holder | None:
    try:
        return Holder(**json.loads(objects.get(path)))
    except MissingInputError:
        return None


def _text(holder: Holder) -> bytes:
    return json.dumps(asdict(holder)).encode()
