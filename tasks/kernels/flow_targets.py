"""Flows of labelled cells: what a network of Cellpose's kind learns, and how well its own agree with a mask.

In every cell heat spreads from its centre, and the flow of a pixel is the unit vector uphill, so that whoever
follows the flows ends in the centre: Stringer et al., Cellpose: a generalist algorithm for cellular
segmentation, Nature Methods 18:100, 2021.

Differs from cellpose 4 in two ways, so that the flows of a cell depend on its own pixels alone: neighbours
that touch do not count in the gradient, and heat spreads as long as this cell asks, not as the largest of the
picture does. No halo beyond the cell is needed.
"""

import numpy as np
from numpy.typing import NDArray

from tasks.kernels.checks import require_plane
from tasks.kernels.flow_targets_loops import AREA, Boxes, Labels, boxes_of, fill_flows, sum_errors


def flows_from_labels(labels_yx: NDArray[np.integer]) -> NDArray[np.float32]:
    """Return the direction from each pixel of a cell to the cell's centre, around its bends.

    Heat 1 is added to the centre, then each pixel of the cell gets a ninth of the sum over itself and its
    eight neighbours in the cell, 2 (h + w + 2) times for a cell with a box of h x w px. The flow is the
    gradient of the heat (central differences; it is 0 outside the cell) over its length.

    Parameters
    ----------
    labels_yx
        Labels, axes y x, any integer type: 0 is background, a cell has one number, in any order. The centre
        is the cell's pixel nearest to the rounded mean of its pixels; parts that do not hang together with it
        get no flow.

    Returns
    -------
    Flows, float32, axes c y x: down (y) and right (x), of length 1 in cells (0 where the heat has no slope)
    and 0 in the background. Cellpose's networks are trained on 5 times these.

    Raises
    ------
    ValueError
        If it is no plane, or a label is negative.
    TypeError
        If the labels are no integers.
    """
    labels = _checked(labels_yx)
    most = int(labels.max())
    if most > labels.size:
        ids = np.unique(labels)
        ids = ids[ids > 0]
        most = ids.size
        labels = np.where(labels > 0, np.searchsorted(ids, labels) + 1, 0)
    dense = np.ascontiguousarray(labels, np.uint32)
    flows_cyx = np.zeros((2, *dense.shape), np.float32)
    fill_flows(dense, boxes_of(dense, most), flows_cyx)
    return flows_cyx


def flow_error_by_label(
    labels_yx: NDArray[np.integer], flows_cyx: NDArray[np.floating]
) -> NDArray[np.float64]:
    """Return how far the given flows lie from those of the masks themselves: Cellpose's measure of quality.

    Parameters
    ----------
    labels_yx
        Labels, axes y x, without large gaps: at most as many as there are pixels.
    flows_cyx
        Flows, axes c y x: down and right, of length 1 where the network is sure (a fifth of what Cellpose's
        networks give).

    Returns
    -------
    For each label from 0 to the largest, the mean over its pixels of the squared distance between the two
    flows: 0 best, 2 for directions by chance, 4 worst. NaN for 0 and for labels that no pixel has.

    Raises
    ------
    ValueError
        If it is no plane, a label is negative or too large, or the shapes differ.
    TypeError
        If the labels are no integers.
    """
    labels = _checked(labels_yx)
    most = int(labels.max())
    if most > labels.size:
        raise ValueError(
            f"labels: expected numbers up to {labels.size}, one a pixel at most, found {most}; "
            "number them 1 to n first"
        )
    if flows_cyx.shape != (2, *labels.shape):
        raise ValueError(
            f"flows: expected axes c y x of shape {(2, *labels.shape)} as the labels, found {flows_cyx.shape}"
        )
    dense = np.ascontiguousarray(labels, np.uint32)
    boxes = boxes_of(dense, most)
    sums = error_sums(dense, boxes, np.ascontiguousarray(flows_cyx, np.float32))
    area = boxes[:, AREA]
    errors = np.full(area.shape, np.nan)
    np.divide(sums, area, out=errors, where=area > 0)
    return errors


def error_sums(labels: Labels, boxes: Boxes, flows_cyx: NDArray[np.float32]) -> NDArray[np.float64]:
    """Sum over each label's pixels what `flow_error_by_label` takes the mean of; `boxes` are the labels'."""
    own_cyx = np.zeros_like(flows_cyx)
    fill_flows(labels, boxes, own_cyx)
    return sum_errors(labels, own_cyx, flows_cyx, len(boxes) - 1)


def _checked(labels_yx: NDArray[np.integer]) -> NDArray[np.integer]:
    require_plane(labels_yx, "labels")
    if labels_yx.dtype.kind not in "iu":
        raise TypeError(f"labels: expected integers, found {labels_yx.dtype}; convert them first")
    if labels_yx.min() < 0:
        raise ValueError(f"labels: expected 0 or more, found {labels_yx.min()}; set what is no cell to 0")
    return labels_yx
