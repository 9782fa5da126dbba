"""Flows and cell probability of a network to labels: pixels follow the flows, those that meet are one cell.

Stringer et al., Cellpose: a generalist algorithm for cellular segmentation, Nature Methods 18:100, 2021, with
the seeds and thresholds of cellpose 4. It differs in three ways, so that the same cell gets the same mask
wherever it lies: flows are read at a pixel's own place (cellpose 4 reads them up to half a pixel off, by the
place in the picture), end points are rounded to pixels, and neither neighbours that touch nor the size of the
picture decide which masks are kept.

A region gives the labels of the plane, up to their numbers, for all cells that have a pixel at least
`halo_px` inside it.
"""

import math

import numpy as np
from numpy.typing import NDArray

from tasks.kernels.checks import finite_float32
from tasks.kernels.dynamics_loops import (
    LONGEST_SIDE_PX,
    MORE_THAN_SEED,
    WINDOW,
    are_peaks,
    count_ends,
    fill_field,
    follow,
    give_labels,
    grow_seeds,
    renumber,
)
from tasks.kernels.flow_targets import error_sums
from tasks.kernels.flow_targets_loops import AREA, Labels, boxes_of
from tasks.kernels.holes_loops import fill_holes

Plane = NDArray[np.float32]


def halo_px(reach_px: float) -> int:
    """Return how much further than the pixels whose labels are asked for the flows have to be known.

    Parameters
    ----------
    reach_px
        The farthest that a pixel lies from where the flows bring it, px: for nuclei half their longest axis,
        and never more than `niter`.

    Returns
    -------
    Margin on each side, px. A cell's pixel is at most a reach and a seed's window from the seed, and so the
    seed from the cell's other pixels; a rival's window that meets the seed's reaches as far again, and what
    ends there comes from a reach around. A hole that holds another cell may ask for more.
    """
    return 2 * math.ceil(reach_px) + 4 * WINDOW + 2


def labels_from_flows(
    flows_cyx: NDArray[np.floating],
    cellprob_yx: NDArray[np.floating],
    *,
    cellprob_threshold: float = 0.0,
    flow_threshold: float = 0.4,
    niter: int = 200,
    min_area_px: int = 15,
    max_area_px: int | None = None,
) -> Labels:
    """Label the cells of a plane or region.

    Pixels above the threshold move `niter` times by the flow at their place (bilinear, 0 in other pixels).
    Where more than 10 end in one pixel, and nowhere in the 5 x 5 px around it more, is a seed. It takes in
    what hangs together with it by 5 steps over pixels where more than 2 end; a contested one goes to the seed
    with more ends, then to the first in reading order. A cell is all pixels that end in what a seed took in.

    Parameters
    ----------
    flows_cyx
        Flows, axes c y x: down and right, px an iteration, a fifth of what Cellpose's networks give. More
        than 16 px count as 16.
    cellprob_yx
        Cell probability before the sigmoid, axes y x.
    cellprob_threshold
        Pixels above it belong to cells.
    flow_threshold
        The largest error a cell may have (`flow_error_by_label`); 0 keeps all.
    niter
        How many steps; long cells need more, at least half their length.
    min_area_px, max_area_px
        The smallest and the largest cell; holes are filled after the largest go. None: no limit.

    Returns
    -------
    Labels, uint32, axes y x: 0 background, 1 to n without a gap, in the order of their first pixels.

    Raises
    ------
    ValueError
        If shapes do not fit, a value is not finite, or niter is less than 1.
    TypeError
        If an array holds no real numbers.
    """
    flows, cellprob = _checked(flows_cyx, cellprob_yx)
    if niter < 1:
        raise ValueError(f"niter: expected 1 step or more, found {niter}")
    field = np.zeros((cellprob.shape[0] + 1, cellprob.shape[1] + 1, 2), np.float32)
    pixels = fill_field(flows, cellprob, cellprob_threshold, field)
    labels = np.zeros(cellprob.shape, np.uint32)
    count = _join(pixels, follow(field, pixels, niter), labels)
    count = _drop_by_area(labels, count, min_area_px, labels.size if max_area_px is None else max_area_px)
    if flow_threshold > 0:
        boxes = boxes_of(labels, count)
        count = renumber(labels, error_sums(labels, boxes, flows) <= flow_threshold * boxes[:, AREA])
    fill_holes(labels, boxes_of(labels, count))
    _drop_by_area(labels, count, min_area_px, labels.size)
    return labels


def _drop_by_area(labels: Labels, count: int, least_px: int, most_px: int) -> int:
    area = boxes_of(labels, count)[:, AREA]
    return renumber(labels, (area >= least_px) & (area <= most_px))


def _join(pixels: NDArray[np.int32], ends: NDArray[np.int32], labels: Labels) -> int:
    """Give the pixels that end in one seed's neighbourhood its number; return the number of seeds."""
    counts = np.zeros(labels.shape, np.int32)
    count_ends(ends, counts)
    crowded = np.flatnonzero(counts > MORE_THAN_SEED).astype(np.int32)
    seeds = crowded[are_peaks(counts, crowded)]
    seeds = seeds[np.lexsort((-seeds, counts.ravel()[seeds]))]
    owners = np.zeros(labels.shape, np.uint32)
    grow_seeds(counts, seeds, owners)
    give_labels(pixels, ends, owners, labels)
    return int(seeds.size)


def _checked(
    flows_cyx: NDArray[np.floating], cellprob_yx: NDArray[np.floating]
) -> tuple[NDArray[np.float32], Plane]:
    cellprob = np.ascontiguousarray(finite_float32(cellprob_yx, "cellprob"))
    if flows_cyx.shape != (2, *cellprob.shape):
        raise ValueError(
            f"flows: expected axes c y x of shape {(2, *cellprob.shape)} as the cell probability, "
            f"found {flows_cyx.shape}"
        )
    if cellprob.size >= 1 << 31 or max(cellprob.shape) > LONGEST_SIDE_PX:
        raise ValueError(
            f"flows: expected less than 2^31 px and sides up to {LONGEST_SIDE_PX} px, "
            f"found {cellprob.shape}; label it region by region"
        )
    flows = np.ascontiguousarray(flows_cyx, np.float32)
    for yx in flows:
        finite_float32(yx, "flows")
    return flows, cellprob
