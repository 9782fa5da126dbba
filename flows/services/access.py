"""Who may reach the servers: everybody on this machine, or whoever knows the password."""

import os
import secrets
import socket
from collections.abc import Mapping
from configparser import ConfigParser
from dataclasses import dataclass, field
from pathlib import Path

from flows.environment import LOOPBACK_HOSTS
from flows.services.ports import HOST
from storage.errors import InputError

PASSWORD = "CHIPCYTE_PASSWORD"
"""The variable with the password: the only place it is read from. It is never written, shown or logged."""

USER = "chipcyte"
LEAST_LETTERS = 12
EVERY_ADDRESS = ("0.0.0.0", "::")
PRIVATE = ("10.*", "192.168.*", *(f"172.{number}.*" for number in range(16, 32)))
_CLIENTS = ("PREFECT_API_AUTH_STRING", "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD")


@dataclass(frozen=True, slots=True)
class Access:
    """Where a server listens and what it asks for.

    Attributes
    ----------
    host
        Address it listens on.
    password
        What it asks for, of the user `chipcyte`; empty: nothing.
    """

    host: str = HOST
    password: str = field(default="", repr=False)

    @property
    def near(self) -> str:
        """The address by which this machine reaches it."""
        return HOST if self.host in (*EVERY_ADDRESS, *LOOPBACK_HOSTS) else self.host

    @property
    def far(self) -> str:
        """The name by which a browser on any machine that may reach it does so."""
        return socket.gethostname() if self.host in EVERY_ADDRESS else self.near


def chosen_access(host: str) -> Access:
    """Return the access to servers on an address, with the password of the environment.

    Raises
    ------
    InputError
        Other machines could reach them, and there is no password; or it is too short.
    """
    password = os.environ.get(PASSWORD, "")
    if not password and host not in LOOPBACK_HOSTS:
        raise InputError(
            f"expected a password in the variable {PASSWORD} for servers on {host}, which other machines can "
            f"reach, found none; set it, or leave --host out and the servers listen on {HOST} alone"
        )
    if password and (len(password) < LEAST_LETTERS or not password.isascii() or not password.isprintable()):
        raise InputError(
            f"expected a password of at least {LEAST_LETTERS} printable ASCII letters in {PASSWORD}, found "
            f"{len(password)} letters; choose another"
        )
    return Access(host, password)


def access_of(*, host: str, protected: bool) -> Access:
    """Return the access to a server as it was when it was started, with the password of the environment."""
    return Access(host, os.environ.get(PASSWORD, "") if protected else "")


def without_secrets(user: Mapping[str, str]) -> dict[str, str]:
    """Return the user's variables without the password and what clients know of it: no server inherits it."""
    return {name: value for name, value in user.items() if name not in (PASSWORD, *_CLIENTS)}


def prefect_guard(access: Access) -> dict[str, str]:
    """Return the variables by which a Prefect server asks for the password."""
    return {"PREFECT_SERVER_API_AUTH_STRING": f"{USER}:{access.password}"} if access.password else {}


def mlflow_guard(access: Access, folder: Path) -> dict[str, str]:
    """Return the variables by which MLflow's app `basic-auth` asks for the password."""
    if not access.password:
        return {}
    names = ["localhost", HOST, access.near, access.far, socket.getfqdn(), *PRIVATE]
    return {
        "MLFLOW_AUTH_ADMIN_USERNAME": USER,
        "MLFLOW_AUTH_ADMIN_PASSWORD": access.password,
        "MLFLOW_AUTH_CONFIG_PATH": str(folder / "users.ini"),
        "MLFLOW_FLASK_SERVER_SECRET_KEY": secrets.token_hex(
            32
        ),  # against forged forms; one process, one life
        "MLFLOW_SERVER_ALLOWED_HOSTS": ",".join(dict.fromkeys(f"{name}:*" for name in names)),
    }


def write_users(access: Access, folder: Path) -> None:
    """Make MLflow's list of users anew, with no password in it: it would go on with the one before."""
    if not access.password:
        return
    users = folder / "users.db"
    for path in (
        users,
        *(users.with_name(f"{users.name}{ending}") for ending in ("-wal", "-shm", "-journal")),
    ):
        path.unlink(missing_ok=True)
    settings = ConfigParser(interpolation=None)
    settings["mlflow"] = {
        "default_permission": "NO_PERMISSIONS",
        "database_uri": f"sqlite:///{users}",
        "authorization_function": "mlflow.server.auth:authenticate_request_basic_auth",
        "auth_cache_ttl_seconds": "60",  # a check takes a tenth of a second by design
    }
    with (folder / "users.ini").open("w", encoding="utf-8") as stream:
        settings.write(stream)
    (folder / "users.ini").chmod(0o600)


def client_secrets(password: str) -> dict[str, str]:
    """Return the variables by which Prefect's and MLflow's clients send the password."""
    values = (f"{USER}:{password}", USER, password)
    return dict(zip(_CLIENTS, values, strict=True)) if password else {}


def tell_clients(access: Access) -> None:
    """Let Prefect's and MLflow's clients in this process and its children send the password."""
    os.environ.update(client_secrets(access.password))
