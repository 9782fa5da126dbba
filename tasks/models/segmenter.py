"""What a segmenter is, and how to get one by its name."""

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from tasks.models.network import NetworkSegmenter
from tasks.models.networks import load_network
from tasks.models.threshold import ThresholdSegmenter

DEFAULT = "nuclei-small"


class Segmenter(Protocol):
    """Finds the nuclei of one plane.

    Attributes
    ----------
    name
        As `load_segmenter` knows it.
    version
        Another whenever the same input may give other labels.
    """

    @property
    def name(self) -> str: ...  # noqa: D102

    @property
    def version(self) -> int | str: ...  # noqa: D102

    def segment(self, yx: NDArray[np.generic]) -> NDArray[np.uint32]:
        """Label the nuclei of a plane.

        Parameters
        ----------
        yx
            Image, axes y x, any real dtype; nuclei bright.

        Returns
        -------
        Labels, uint32, axes y x: 0 background, 1 to n without a gap, in the order of their first pixels.

        Raises
        ------
        ValueError
            If `yx` is no plane, or not finite.
        """
        ...


def load_segmenter(name: str = DEFAULT, **options: Any) -> Segmenter:
    """Make a segmenter.

    Parameters
    ----------
    name
        "nuclei-small", the network that is shipped; "threshold", which needs none; the file of a network of
        Cellpose 1 to 4; or the name of one in Cellpose's folder of models. Nothing is downloaded.
    options
        Fields of `ThresholdSegmenter`, or of `NetworkSegmenter` but the network.

    Raises
    ------
    ValueError
        If there is no such network on this machine; the error says what there may be, and where to put it.
    TypeError
        If the segmenter has no such option.
    """
    if name == ThresholdSegmenter.name:
        return ThresholdSegmenter(**options)
    return NetworkSegmenter(load_network(name), **options)
