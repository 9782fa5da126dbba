"""Where the servers are: those of this home, or those that the user named; and how clients learn of it."""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass

from flows.services.access import client_secrets
from flows.services.recipes import MLFLOW, PREFECT, RECIPES, Recipe
from flows.services.records import ServerRecord

CONNECTED = "CHIPCYTE_CONNECTED_"
"""Prefix of the variables that tell an address which `connect` set from one that the user set."""


@dataclass(frozen=True, slots=True)
class Servers:
    """The two servers in use.

    Attributes
    ----------
    prefect_url
        Address of Prefect's API, for `PREFECT_API_URL`.
    prefect_ui_url, mlflow_url
        Pages for a browser; MLflow's is also its tracking URI.
    started
        By name (`prefect`, `mlflow`), whether this call started it.
    given
        By name, whether the user named a server of their own, which chipcyte neither starts nor stops.
    notes
        Sentences the user should read, such as another port than the usual one.
    """

    prefect_url: str
    prefect_ui_url: str
    mlflow_url: str
    started: Mapping[str, bool]
    given: Mapping[str, bool]
    notes: tuple[str, ...] = ()


def given_address(recipe: Recipe) -> str | None:
    """Return the address of a server that the user named; None if it is ours."""
    address = os.environ.get(recipe.address_variable)
    return address if address != os.environ.get(CONNECTED + recipe.name.upper()) else None


def given_addresses() -> dict[str, str]:
    """Return the addresses of all servers that the user named, by name."""
    return {recipe.name: address for recipe in RECIPES if (address := given_address(recipe))}


def servers_of(
    records: Mapping[str, ServerRecord], *, started: set[str] | None = None, notes: tuple[str, ...] = ()
) -> Servers:
    """Return the servers that the user named, and for the others those of the records."""
    given = given_addresses()
    api_url = given.get(PREFECT.name) or f"{records[PREFECT.name].url}/api"
    page = os.environ.get("PREFECT_UI_URL") if PREFECT.name in given else None
    return Servers(
        prefect_url=api_url,
        prefect_ui_url=page or api_url.removesuffix("/").removesuffix("/api"),
        mlflow_url=given.get(MLFLOW.name) or records[MLFLOW.name].url,
        started={recipe.name: recipe.name in (started or set()) for recipe in RECIPES},
        given={recipe.name: recipe.name in given for recipe in RECIPES},
        notes=notes,
    )


def client_environment(servers: Servers, password: str) -> dict[str, str]:
    """Return the variables by which a client finds the servers and is let in."""
    addresses = {"PREFECT_API_URL": servers.prefect_url, "MLFLOW_TRACKING_URI": servers.mlflow_url}
    return addresses | client_secrets(password)


def connect(servers: Servers) -> None:
    """Point Prefect's and MLflow's clients in this process and its children at the servers."""
    for recipe, address in ((PREFECT, servers.prefect_url), (MLFLOW, servers.mlflow_url)):
        os.environ[recipe.address_variable] = address
        if not servers.given[recipe.name]:
            os.environ[CONNECTED + recipe.name.upper()] = address
    if "prefect" in sys.modules:  # it read its settings when it was imported
        from prefect.context import refresh_global_settings_context

        refresh_global_settings_context()
