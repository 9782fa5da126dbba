"""A network that learned in a store, as a file of the machine that asks: a worker may run on any."""

import os
import tempfile
from functools import lru_cache
from pathlib import Path

from storage import records
from storage.errors import MissingInputError
from storage.objects import Objects, open_store
from tasks.stage import folder

OF_STORE = "segmenter/"


def model_of(key: str) -> str:
    """Return how settings name a network of the store that is worked on."""
    return f"{OF_STORE}{key}"


def local_model(objects: Objects, model: str) -> str:
    """Return a model as `load_network` knows it: one of the store becomes a file of this machine.

    Raises
    ------
    MissingInputError
        The store holds no such network.
    """
    if not model.startswith(OF_STORE):
        return model
    key = model.removeprefix(OF_STORE)
    if records.find(objects, "segmenter", key) is None:
        raise MissingInputError(
            f"expected a network {model} in {objects.url}, found none; `chipcyte list segmenter` names them"
        )
    return str(network_file(objects, key))


def network_file(objects: Objects, key: str) -> Path:
    """Return the network of a segmenter artifact as a file of this machine; a copy where the store is not."""
    if objects.folder is not None:
        return objects.folder / _name(key)
    return _copy(objects.url, key)


def _name(key: str) -> str:
    return folder("segmenter", key, "network.pt")


@lru_cache(maxsize=8)
def _copy(url: str, key: str) -> Path:
    """Fetch a network once a process: what a key names never changes."""
    place = Path(tempfile.gettempdir()) / f"chipcyte-networks-{os.getuid()}"
    place.mkdir(mode=0o700, exist_ok=True)
    copy, content = place / f"{key}.pt", open_store(url).get(_name(key))
    if not copy.is_file() or copy.read_bytes() != content:
        partial = copy.with_suffix(f".{os.getpid()}")
        partial.write_bytes(content)
        partial.replace(copy)
    return copy
