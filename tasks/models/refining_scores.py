"""How well a network segments labelled pictures, and when learning is to stop."""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from tasks.kernels.matching import THRESHOLDS, match_counts
from tasks.models.cellpose_fused import fused
from tasks.models.cellpose_net import CellposeNet
from tasks.models.convolutional import ConvolutionalNetwork
from tasks.models.device import choose_device
from tasks.models.network import NetworkSegmenter
from tasks.models.refining_batches import LabelledPlane, median_diameter_px


def segmenter_of(
    net: CellposeNet, *, name: str = "refined", diameter_px: float | None = None
) -> NetworkSegmenter:
    """Return the segmenter that a network makes; a diameter of None is found in each picture."""
    device = choose_device()
    network = ConvolutionalNetwork(name, "", float(net.diam_mean), fused(net).to(device), device)
    return NetworkSegmenter(network, diameter_px=diameter_px)


@dataclass(frozen=True)
class Score:
    """What a segmenter found in a picture.

    Attributes
    ----------
    labels_yx
        What it found.
    counts
        Right, missed, too many at each of `kernels.matching.THRESHOLDS`, shape (3, 3).
    """

    labels_yx: NDArray[np.uint32]
    counts: NDArray[np.int64]


def scores(
    net: CellposeNet, planes: Sequence[LabelledPlane], *, diameter_is_known: bool = False
) -> list[Score]:
    """Segment pictures and count what is right.

    Parameters
    ----------
    diameter_is_known
        Take the diameter from the picture's own masks, which is quick and steady, but uses the answer; else
        it is found in the picture, as for one without masks.
    """
    segmenter = segmenter_of(net)
    found = []
    for plane in planes:
        known_px = median_diameter_px(plane.labels_yx) if diameter_is_known else 0.0
        own = segmenter_with(segmenter, known_px) if known_px else segmenter
        labels = own.segment(plane.yx)
        found.append(Score(labels, match_counts(plane.labels_yx, labels, THRESHOLDS)))
    return found


def segmenter_with(segmenter: NetworkSegmenter, diameter_px: float) -> NetworkSegmenter:
    """Return the segmenter with a diameter."""
    return NetworkSegmenter(segmenter.network, diameter_px=max(1.0, diameter_px))


class FlowMaps(nn.Module):
    """A network that gives its maps alone, for those who run it without chipcyte."""

    def __init__(self, net: CellposeNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, ncyx: Tensor) -> Tensor:
        """Flow along y, flow along x (both times 5), logit of being in a cell: (n, 3, y, x)."""
        maps: Tensor = self.net(ncyx).maps_ncyx
        return maps


@dataclass
class EarlyStop:
    """Keeps the best network, and says when none better is to be expected.

    Attributes
    ----------
    score
        How good a network is; higher is better.
    patience
        How many looks without a better score end the learning.
    history
        Step and score of each look.
    best
        Weights of the best network so far.
    """

    score: Callable[[CellposeNet], float]
    patience: int
    history: list[tuple[int, float]] = field(default_factory=list)
    best: dict[str, Any] = field(default_factory=dict)

    def look(self, step: int, net: CellposeNet) -> bool:
        """Score a network; return whether to stop."""
        score = self.score(net)
        if not self.best or score > max(value for _, value in self.history):
            self.best = {name: value.clone() for name, value in net.state_dict().items()}
        self.history.append((step, score))
        return self.is_over

    @property
    def is_over(self) -> bool:
        """Whether the last looks were all no better than an earlier one."""
        return bool(self.history) and len(self.history) - 1 - self._best_look() >= self.patience

    def best_of(self, net: CellposeNet) -> CellposeNet:
        """Return the network with the best weights seen; as it is if there was no look."""
        best = copy.deepcopy(net)
        if self.best:
            best.load_state_dict(self.best)
        return best.eval()

    def _best_look(self) -> int:
        return int(np.argmax([value for _, value in self.history]))

    def state(self) -> dict[str, Any]:
        """Return what a killed run needs to go on."""
        return {"history": [list(one) for one in self.history], "best": self.best}

    def resume(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        self.history = [(int(step), float(score)) for step, score in state["history"]]
        self.best = dict(state["best"])
