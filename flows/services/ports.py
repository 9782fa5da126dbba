"""Ports of an address, 127.0.0.1 unless said: which are free, and who holds the others."""

import os
import socket
from collections.abc import Collection, Mapping

import psutil

from storage.errors import ChipcyteError, InputError

HOST = "127.0.0.1"
TRIED_PORTS = 200


def is_free(port: int, host: str = HOST) -> bool:
    """Whether a server could listen on this port now."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        if os.name == "posix":  # elsewhere this option would let the probe share a port that is in use
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def holder(port: int) -> str:
    """Who listens on a port, as ` (held by NAME, process ID)`; empty if unknown."""
    try:
        for connection in psutil.net_connections(kind="tcp"):
            at_port = connection.laddr and connection.laddr.port == port
            if at_port and connection.status == psutil.CONN_LISTEN and connection.pid:
                return f" (held by {psutil.Process(connection.pid).name()}, process {connection.pid})"
    except psutil.Error:
        pass  # the system shows other users' sockets to an administrator only
    return ""


def demand(port: int, server: str, host: str = HOST) -> int:
    """Return a port the user asked for.

    Raises
    ------
    InputError
        If it is no port or cannot be listened on.
    """
    if not 1 <= port <= 65535:
        raise InputError(
            f"expected a port from 1 to 65535 for the {server} server, found {port}; choose another"
        )
    if not is_free(port, host):
        raise InputError(
            f"expected port {port} to be free for the {server} server, found it in use or not allowed"
            f"{holder(port)}; choose another port or leave the choice to chipcyte"
        )
    return port


def first_free(default: int, avoid: Collection[int] = (), host: str = HOST) -> int:
    """The default port, or the next one that is free and not in `avoid`.

    Raises
    ------
    ChipcyteError
        If `TRIED_PORTS` ports from the default on are all taken.
    """
    for port in range(default, default + TRIED_PORTS):
        if port not in avoid and is_free(port, host):
            return port
    raise ChipcyteError(
        f"expected a free port from {default} to {default + TRIED_PORTS - 1} on {host}, found none; "
        "end programs that listen there or name a port"
    )


def choose(
    usual: Mapping[str, int], wanted: Mapping[str, int | None], host: str = HOST
) -> tuple[dict[str, int], list[str]]:
    """Return a port for each part (asked for, the usual one, or the next free), and what to tell of it."""
    asked = {name: port for name in usual if (port := wanted[name]) is not None}
    if len(set(asked.values())) < len(asked):
        raise InputError(f"expected two different ports, found {asked} for the servers; change one of them")
    chosen = {name: demand(port, name, host) for name, port in asked.items()}
    notes = []
    for name, default in usual.items():
        if name in chosen:
            continue
        port = chosen[name] = first_free(default, chosen.values(), host)
        if port != default:
            taken = f"{default}{holder(default)}"
            notes.append(f"port {taken} is in use, so the {name} server listens on {port}")
    return chosen, notes
