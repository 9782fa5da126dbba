"""Labels of planes to labels of a stack: nuclei that lie over each other are one."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.uint32]


def stack_numbers(
    areas_px: Sequence[NDArray[np.int64]], overlaps: Sequence[NDArray[np.int64]], *, min_iou: float
) -> list[Numbers]:
    """Number the nuclei of a stack, so that those over each other have one number.

    Parameters
    ----------
    areas_px
        Of each plane, from the first to the last: areas of its labels 1 to n, px, int64, shape (n,).
    overlaps
        Of each plane but the last, with the next: rows (label here, label there, common pixels), each pair
        once or in parts, int64, shape (m, 3).
    min_iou
        Two nuclei are one if their common pixels are at least this share of their joint pixels, in (0, 1].
        Each is joined to one of the next plane at most, the best first.

    Returns
    -------
    Of each plane: the number of its labels 1 to n, uint32. New numbers follow on, plane by plane, in the
    order of the labels; 1 to the last without a gap.

    Raises
    ------
    ValueError
        If there are not as many overlaps as gaps between planes.
    """
    if len(overlaps) != max(0, len(areas_px) - 1):
        raise ValueError(f"expected overlaps of {len(areas_px) - 1} pairs of planes, found {len(overlaps)}")
    numbers: list[Numbers] = []
    last = 0
    for plane, areas in enumerate(areas_px):
        own = np.zeros(areas.size, np.uint32)
        if plane:
            here, there = _partners(areas_px[plane - 1], areas, overlaps[plane - 1], min_iou)
            own[there] = numbers[-1][here]
        new = own == 0
        own[new] = last + 1 + np.arange(np.count_nonzero(new), dtype=np.uint32)
        last += int(np.count_nonzero(new))
        numbers.append(own)
    return numbers


def _partners(
    below_px: NDArray[np.int64], above_px: NDArray[np.int64], overlaps: NDArray[np.int64], min_iou: float
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return places of labels of two planes that are one nucleus, each at most once."""
    pairs, place = np.unique(overlaps[:, :2].reshape(-1, 2), axis=0, return_inverse=True)
    common = np.bincount(place.ravel(), overlaps[:, 2], len(pairs))
    here, there = pairs.T - 1
    iou = common / (below_px[here] + above_px[there] - common)
    taken_here, taken_there = np.zeros(below_px.size, bool), np.zeros(above_px.size, bool)
    chosen = []
    for k in np.lexsort((there, here, -iou)):
        if iou[k] >= min_iou and not taken_here[here[k]] and not taken_there[there[k]]:
            taken_here[here[k]] = taken_there[there[k]] = True
            chosen.append(k)
    return here[chosen], there[chosen]
