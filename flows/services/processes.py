"""The servers' processes: started detached, recognised, watched and stopped."""

import os
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import psutil

from flows.services import logs, ports
from flows.services.records import ServerRecord

MARK = "CHIPCYTE_SERVER"
"""Variable in the environment of every process of a part; finds those whose parent was killed."""

GRACE_S = 10.0
PORT_GRACE_S = 2.0
HEALTH_TIMEOUT_S = 2.0


def mark(home: Path, name: str) -> str:
    """Value of `MARK` for the processes of one server of one home."""
    return f"{name}@{home}"


def network_number() -> int:
    """Number of this process's network namespace, 0 where the system has none.

    The same address means another server in another namespace (a container, `unshare -n`).
    """
    try:
        return Path("/proc/self/ns/net").stat().st_ino
    except OSError:
        return 0


def spawn(
    command: Sequence[str], *, environment: Mapping[str, str], folder: Path, log: Path
) -> "subprocess.Popen[bytes]":
    """Start a process that survives this one and holds none of its pipes; its output is added to `log`."""
    log.parent.mkdir(parents=True, exist_ok=True)
    logs.bound(log)
    with log.open("ab") as output:
        return subprocess.Popen(
            command,
            env=dict(environment),
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def leader(record: ServerRecord) -> psutil.Process | None:
    """The recorded process if it is still the same one and alive."""
    try:
        process = psutil.Process(record.pid)
        same = abs(process.create_time() - record.created_s) < 1.0
        return process if same and process.status() != psutil.STATUS_ZOMBIE else None
    except psutil.Error:
        return None


def answers(record: ServerRecord, health_url: str) -> bool:
    """Whether the recorded process itself listens on its port, in this network, and says it is well."""
    members = family(record)
    if not members or record.network != network_number():
        return False
    return _listens(members, record.port) and _healthy(health_url)


def family(record: ServerRecord) -> list[psutil.Process]:
    """The recorded process and its descendants, but for those of other parts, which a supervisor starts."""
    first = leader(record)
    if first is None:
        return []
    try:
        below = first.children(recursive=True)
    except psutil.Error:
        return [first]
    return [first, *(one for one in below if _mark_of(one) in ("", _mark_of(first)))]


def _mark_of(process: psutil.Process) -> str:
    """The mark of a process; empty if it has none, or is another user's, or has just ended."""
    try:
        return process.environ().get(MARK, "")
    except (psutil.Error, OSError):
        return ""


def _listens(members: Sequence[psutil.Process], port: int) -> bool:
    try:
        found = [socket for member in members for socket in member.net_connections(kind="tcp")]
    except psutil.AccessDenied:
        return True  # some systems hide sockets; then the health check alone decides
    except psutil.Error:
        return False
    return any(one.laddr and one.laddr.port == port and one.status == psutil.CONN_LISTEN for one in found)


def _healthy(url: str) -> bool:
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with direct.open(url, timeout=HEALTH_TIMEOUT_S) as response:
            return bool(response.status == 200)
    except (OSError, urllib.error.URLError):
        return False


def stop(home: Path, name: str, record: ServerRecord | None) -> bool:
    """End every process of a server, politely first.

    Only processes that carry the home's mark, or are the recorded process with the recorded creation time,
    or its children, are touched.

    Returns
    -------
    bool
        Whether there was anything to end.
    """
    members = set(_marked(mark(home, name)))
    if record is not None:
        members |= set(family(record))
    _end(members)
    if record is not None and record.port:
        _await_free(record)
    return bool(members)


def resident_bytes(record: ServerRecord) -> int:
    """Memory of a server's processes that lies in RAM, in bytes; 0 if it is gone."""
    total_bytes = 0
    for member in family(record):
        try:
            total_bytes += member.memory_info().rss
        except psutil.Error:
            continue  # ended while we were counting
    return total_bytes


def _marked(*values: str) -> list[psutil.Process]:
    every = (one for one in psutil.process_iter() if one.pid != os.getpid())
    return [one for one in every if _mark_of(one) in values]


def _await_free(record: ServerRecord) -> None:
    """A killed process with many threads looks dead a moment before the system closes its sockets."""
    give_up_s = time.monotonic() + PORT_GRACE_S
    while not ports.is_free(record.port, record.host) and time.monotonic() < give_up_s:
        time.sleep(0.05)


def _end(members: set[psutil.Process]) -> None:
    for member in members:
        _signal(member, force=False)
    stubborn = _left(members)
    for member in stubborn:
        _signal(member, force=True)
    _left(stubborn)


def _left(members: Collection[psutil.Process]) -> list[psutil.Process]:
    """Return those that still run after a while; one whose parent has not asked for it has ended, too."""
    give_up_s = time.monotonic() + GRACE_S
    while (left := [one for one in members if _runs(one)]) and time.monotonic() < give_up_s:
        time.sleep(0.05)
    psutil.wait_procs(members, timeout=0)  # asks for our own
    return left


def _runs(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def _signal(process: psutil.Process, *, force: bool) -> None:
    try:
        if force:
            process.kill()
        else:
            process.terminate()
    except psutil.NoSuchProcess:
        pass
