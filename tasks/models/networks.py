"""Networks that predict flows, by name or file: what they ask of an image, and what they say of it.

Torch is imported with the first network: it takes two seconds and half a GiB, and a worker may need none.
"""

import hashlib
import os
import time
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch

FLOW_SCALE = 5.0
"""Networks of Cellpose's kind are trained on this many times the unit flows."""
SHIPPED = ("nuclei-small",)
WEIGHTS = Path(__file__).parent / "weights"
CELLPOSE4 = ("cpsam_v2", "cpsam", "cpdino", "cpdino-vitb")
NUCLEI_DIAMETER_PX = 17.0  # of Cellpose 1's "nuclei", whose file does not say it

Maps = NDArray[np.float32]


class FlowNetwork(Protocol):
    """A network that tells of each pixel where its nucleus's centre lies.

    Attributes
    ----------
    name
        As it was asked for.
    digest
        SHA-256 of its weights, the first 16 digits: other weights may give other labels.
    diameter_px
        What nuclei are to be rescaled to.
    any_diameter
        Whether it takes nuclei as they are, of whatever diameter.
    patch_px, overlap_px, multiple_px
        The longest edge of an image that it is given at once, how much of two neighbours should be the same,
        and what edges must be divisible by.
    bytes_a_px
        Memory it takes for each pixel of an image.
    """

    @property
    def name(self) -> str: ...  # noqa: D102

    @property
    def digest(self) -> str: ...  # noqa: D102

    @property
    def diameter_px(self) -> float: ...  # noqa: D102

    @property
    def any_diameter(self) -> bool: ...  # noqa: D102

    @property
    def patch_px(self) -> int: ...  # noqa: D102

    @property
    def overlap_px(self) -> int: ...  # noqa: D102

    @property
    def multiple_px(self) -> int: ...  # noqa: D102

    @property
    def bytes_a_px(self) -> int: ...  # noqa: D102

    def maps(self, nyx: NDArray[np.float32]) -> Maps:
        """Predict the maps of images.

        Parameters
        ----------
        nyx
            Images, float32, shape (n, y, x), scaled so that 0 and 1 are the plane's 1st and 99th percentile.

        Returns
        -------
        Float32, shape (n, 3, y, x): flow along y, flow along x (both times 5), logit of being in a nucleus.
        """
        ...


def load_network(name: str) -> FlowNetwork:
    """Return a network, read once a process.

    Parameters
    ----------
    name
        One that is shipped ("nuclei-small"); a file of Cellpose 1 to 4; or the name of one among Cellpose's
        own models on this machine, such as "cyto3" or "cpsam". Nothing is ever downloaded.

    Raises
    ------
    ValueError
        There is no such network on this machine, or its file is none: the error says where to put one.
    """
    path = network_path(name)
    return _loaded(name, path, path.stat().st_mtime_ns)


def seconds_a_patch(network: FlowNetwork) -> float:
    """Time of one patch by itself, s, measured here: the shorter of two, for the first one warms up."""
    nyx = np.zeros((1, network.patch_px, network.patch_px), np.float32)
    taken = []
    for _ in range(2):
        began = time.perf_counter()
        network.maps(nyx)
        taken.append(time.perf_counter() - began)
    return min(taken)


def cellpose_models() -> Path:
    """Folder of Cellpose's own models on this machine, as the cellpose package looks for them."""
    told = os.environ.get("CELLPOSE_LOCAL_MODELS_PATH")
    return Path(told) if told else Path.home() / ".cellpose" / "models"


def digest_of(path: Path) -> str:
    """First 16 digits of the SHA-256 of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()[:16]


def network_path(name: str) -> Path:
    """Return the file of a network by name; ValueError if there is none, saying where to put it."""
    places = [Path(name).expanduser(), cellpose_models() / name]
    if name in SHIPPED:
        places = [WEIGHTS / f"{name}.pt"]
    for place in places:
        if place.is_file():
            return place
    raise ValueError(
        f"segmenter: expected 'threshold', {', '.join(map(repr, SHIPPED))}, or a network of Cellpose by file "
        f"or name, found {name!r}, which is no file, neither by itself nor in {cellpose_models()}: put the "
        "weights there, or set CELLPOSE_LOCAL_MODELS_PATH to the folder that holds them"
    )


@lru_cache(maxsize=4)
def _loaded(name: str, path: Path, _: int) -> FlowNetwork:
    from tasks.models.cellpose_checkpoints import Cellpose4Error, load_cellpose
    from tasks.models.cellpose_fused import fused
    from tasks.models.cellpose_net import DEFAULT_DIAMETER_PX
    from tasks.models.convolutional import ConvolutionalNetwork
    from tasks.models.device import choose_device

    device, digest = choose_device(), digest_of(path)
    if path.name in CELLPOSE4:
        return _cellpose4(name, path, digest, device)
    try:
        net = load_cellpose(path)
    except Cellpose4Error:
        return _cellpose4(name, path, digest, device)
    diameter_px = float(net.diam_mean)
    if path.name.startswith("nucleitorch") and diameter_px == DEFAULT_DIAMETER_PX:
        diameter_px = NUCLEI_DIAMETER_PX
    return ConvolutionalNetwork(name, digest, diameter_px, fused(net), device)


def _cellpose4(name: str, path: Path, digest: str, device: "torch.device") -> FlowNetwork:
    from tasks.models.cellpose4 import Cellpose4Network

    make: Callable[..., FlowNetwork] = Cellpose4Network.load
    return make(name, path, digest, device)
