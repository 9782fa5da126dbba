"""What a segmenter is, and how to get one by its name."""

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from tasks.models.threshold import ThresholdSegmenter


class Segmenter(Protocol):
    """Finds the nuclei of one plane.

    Attributes
    ----------
    name
        As `load_segmenter` knows it.
    version
        Raised whenever the same input may give other labels.
    halo_px
        How far beyond a pixel the image decides about the labels there: a tile that is seen with this margin
        on each side gives the same nuclei as the whole plane, as long as the nuclei (and clumps of touching
        ones) are smaller.
    """

    @property
    def name(self) -> str: ...  # noqa: D102

    @property
    def version(self) -> int: ...  # noqa: D102

    @property
    def halo_px(self) -> int: ...  # noqa: D102

    def segment(
        self, yx: NDArray[np.generic], *, histogram: NDArray[np.int64] | None = None
    ) -> NDArray[np.uint32]:
        """Label the nuclei of a plane or tile.

        Parameters
        ----------
        yx
            Image, axes y x, any real dtype. Floats in [0, 1] are taken as they are, and exactly 0 lies
            outside the frame; anything else is stretched by its own range.
        histogram
            Counts of the whole plane's pixels above 0, in even bins of [0, 1]; a tile needs it to agree with
            its plane. None: taken from `yx`.

        Returns
        -------
        Labels, uint32, axes y x: 0 background, 1 to n without a gap, in the order of their first pixels.

        Raises
        ------
        ValueError
            If `yx` is no plane, or not finite.
        """
        ...


_SEGMENTERS = {"threshold": ThresholdSegmenter}


def load_segmenter(name: str, **options: Any) -> Segmenter:
    """Make a segmenter.

    Parameters
    ----------
    name
        "threshold".
    options
        Fields of the segmenter's own class.

    Raises
    ------
    ValueError
        If the name is unknown; the error lists the known ones.
    TypeError
        If the segmenter has no such option.
    """
    if name not in _SEGMENTERS:
        raise ValueError(f"segmenter: expected one of {', '.join(sorted(_SEGMENTERS))}, found {name!r}")
    return _SEGMENTERS[name](**options)
