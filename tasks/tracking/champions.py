"""Which version of a registered model is in use: the alias `champion`, and those that were it before."""

import json
from dataclasses import dataclass
from typing import Any

from storage.errors import InputError
from tasks.tracking.place import KEY
from tasks.tracking.server import explained, make_client

ALIAS = "champion"
CHALLENGER = "challenger"
BEFORE = "chipcyte.champions"  # a tag of the registered model: versions that were champion, the last one last
PROMOTED = "chipcyte.promoted"


@dataclass(frozen=True)
class Champion:
    """A version of a registered model.

    Attributes
    ----------
    name, version
        As MLflow counts them.
    key
        Key of the artifact in the store that holds the weights.
    """

    name: str
    version: int
    key: str


@dataclass(frozen=True)
class Version(Champion):
    """A version of a registered model with the aliases it bears."""

    aliases: tuple[str, ...] = ()


def versions(tracking_uri: str, name: str) -> list[Version]:
    """Return the versions of a registered model whose weights an artifact holds, the oldest first."""
    with explained(tracking_uri):
        client = make_client(tracking_uri)
        found = [
            client.get_model_version(name, one.version)  # a search leaves the aliases out
            for one in client.search_model_versions(f"name = '{name}'")
            if KEY in one.tags
        ]
    known = [Version(name, int(one.version), one.tags[KEY], tuple(sorted(one.aliases))) for one in found]
    return sorted(known, key=lambda one: one.version)


def find_champion(tracking_uri: str, name: str) -> Champion | None:
    """Return the model's version that is in use; None if there is none.

    Raises
    ------
    TrackingError
        MLflow cannot be reached.
    """
    with explained(tracking_uri):
        return _champion(make_client(tracking_uri), name)


def find_version(tracking_uri: str, name: str, key: str) -> int | None:
    """Return the version whose weights an artifact holds; None if MLflow knows none (any more)."""
    with explained(tracking_uri):
        found = make_client(tracking_uri).search_model_versions(f"name = '{name}'")
    versions = [int(one.version) for one in found if one.tags.get(KEY) == key]
    return max(versions, default=None)


def was_champion(tracking_uri: str, name: str, version: int) -> bool:
    """Return whether a version is champion, or was it before it was rolled back or followed by another."""
    with explained(tracking_uri):
        return PROMOTED in make_client(tracking_uri).get_model_version(name, str(version)).tags


def promote(tracking_uri: str, name: str, version: int) -> Champion:
    """Make a version the champion; the one before it is remembered."""
    with explained(tracking_uri):
        client = make_client(tracking_uri)
        before = _before(client, name)
        standing = _champion(client, name)
        if standing is not None and standing.version != version:
            _remember(client, name, [*before, standing.version])
        client.set_registered_model_alias(name, ALIAS, str(version))
        client.set_model_version_tag(name, str(version), PROMOTED, "yes")
        if str(client.get_registered_model(name).aliases.get(CHALLENGER)) == str(version):
            client.delete_registered_model_alias(name, CHALLENGER)
        promoted = _champion(client, name)
    assert promoted is not None
    return promoted


def challenge(tracking_uri: str, name: str, version: int) -> None:
    """Make a version the challenger: it may be better than the champion, but not surely."""
    with explained(tracking_uri):
        make_client(tracking_uri).set_registered_model_alias(name, CHALLENGER, str(version))


def rollback(tracking_uri: str, name: str) -> tuple[Champion, Champion | None]:
    """Return to the champion before; (the one that stood, the one that stands now).

    With none before, nothing is champion: a segmenter's default holds again.

    Raises
    ------
    InputError
        There is no champion.
    TrackingError
        MLflow cannot be reached.
    """
    with explained(tracking_uri):
        client = make_client(tracking_uri)
        standing = _champion(client, name)
        if standing is None:
            raise InputError(
                f"expected a champion of {name} in MLflow at {tracking_uri}, found none; `chipcyte refine "
                "train` makes one of a segmenter, `chipcyte compare --promote` one of an autoencoder"
            )
        before = _before(client, name)
        if before:
            client.set_registered_model_alias(name, ALIAS, str(before[-1]))
            _remember(client, name, before[:-1])
        else:
            client.delete_registered_model_alias(name, ALIAS)
        return standing, _champion(client, name)


def _champion(client: Any, name: str) -> Champion | None:
    from mlflow.exceptions import MlflowException

    try:
        entry = client.get_model_version_by_alias(name, ALIAS)
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            return None
        raise
    return Champion(name, int(entry.version), entry.tags.get(KEY, ""))


def _before(client: Any, name: str) -> list[int]:
    versions: list[int] = json.loads(client.get_registered_model(name).tags.get(BEFORE, "[]"))
    return versions


def _remember(client: Any, name: str, versions: list[int]) -> None:
    client.set_registered_model_tag(name, BEFORE, json.dumps(versions))
