"""The networks that a store or this machine holds: what is in use, and what learning starts from."""

from dataclasses import dataclass
from pathlib import Path

from storage import records
from storage.arrays import digest
from storage.errors import FormatError, InputError, MissingInputError
from storage.objects import Objects
from tasks.models.cellpose_checkpoints import load_cellpose, save_cellpose
from tasks.models.cellpose_net import CellposeConfig, CellposeNet, seeded_cellpose
from tasks.models.networks import SHIPPED, network_path
from tasks.refine_settings import CHAMPION, SCRATCH, RefineSettings
from tasks.stage import folder
from tasks.tracking.champions import Champion

CHANNELS = 2  # as the published networks of Cellpose: what to segment, and zeros


@dataclass(frozen=True)
class Base:
    """A network by the name people gave, and the SHA-256 of its weights."""

    name: str
    digest: str
    net: CellposeNet


def read_network(objects: Objects, key: str) -> CellposeNet:
    """Return the network of a segmenter artifact."""
    return load_cellpose(objects.get(folder("segmenter", key, "network.pt")))


def in_use(objects: Objects, champion: Champion | None) -> Base | None:
    """Return the network that segments now: the champion, else the shipped one; None if it is not there."""
    if champion is not None and records.find(objects, "segmenter", champion.key) is not None:
        return _base(f"{champion.name}/{champion.version}", read_network(objects, champion.key))
    try:
        return _base(SHIPPED[0], load_cellpose(network_path(SHIPPED[0])))
    except ValueError:
        return None


def open_base(objects: Objects, settings: RefineSettings, champion: Champion | None) -> Base:
    """Return the network to start from.

    Raises
    ------
    InputError
        There is no such network, or it is not one that can learn here.
    """
    if settings.base == SCRATCH:
        net = seeded_cellpose(CellposeConfig(CHANNELS, settings.widths), seed=settings.seed)
        net.diam_mean.fill_(settings.diameter_px)
        return _base(SCRATCH, net)
    if settings.base == CHAMPION:
        if champion is None:
            raise MissingInputError("expected a champion to start from, found none; name another --base")
        return _base(f"{champion.name}/{champion.version}", read_network(objects, champion.key))
    try:
        return _base(settings.base, load_cellpose(network_path(settings.base)))
    except OSError as error:
        raise InputError(f"{settings.base}: could not be read: {error.strerror}") from error
    except ValueError as error:
        raise FormatError(f"--base {settings.base}: {error}") from error


def _base(name: str, net: CellposeNet) -> Base:
    return Base(name, digest(save_cellpose(net))[1], net)


def out_file(path: Path) -> Path:
    """Return where a network is to be written; InputError if something is there, or no folder for it."""
    if path.exists():
        raise InputError(f"{path} exists already, and nothing is ever replaced; name another file")
    if not path.parent.is_dir():
        raise InputError(f"expected a folder at {path.parent}, found none; make it first")
    return path
