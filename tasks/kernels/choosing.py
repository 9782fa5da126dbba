"""Which frames are worth a person's time: doubtful ones, unlike each other, from every chip."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from tasks.kernels.checks import finite_float32

SMOOTHING_PX = 1.0
_FAR = 1e-12


def doubt_by_label(labels_yx: NDArray[np.integer], yx: NDArray[np.generic]) -> NDArray[np.float64]:
    """Return for each label how little of its outline the picture supports.

    Along a true outline of a bright cell the brightness falls outwards by a good part of the cell's contrast;
    along one that cuts through a cell, or lies in the background, it does not.

    Parameters
    ----------
    labels_yx
        Labels 0 to n, axes y x.
    yx
        Picture of the same shape; smoothed by a Gaussian of 1 px.

    Returns
    -------
    (n + 1,): share of the outline's pixel sides where the brightness falls, over 2 px, by less than a tenth
    of the cell's mean above the darkest hundredth of the plane; 0 best, 1 worst, nan for 0 and labels without
    outline.
    """
    plane = gaussian_filter(finite_float32(yx), SMOOTHING_PX)
    count = int(labels_yx.max(initial=0)) + 1
    dark = np.percentile(plane, 1.0)
    area = np.bincount(labels_yx.ravel(), minlength=count)
    mean = np.bincount(labels_yx.ravel(), weights=plane.ravel(), minlength=count) / np.maximum(area, 1)
    needed = 0.1 * (mean - dark)
    sides, weak = np.zeros(count, np.int64), np.zeros(count, np.int64)
    for labels, bright in ((labels_yx, plane), (labels_yx.T, plane.T)):
        for step in (1, -1):
            _count_sides(labels[::step], bright[::step], needed, sides, weak)
    doubt = np.full(count, np.nan)
    np.divide(weak, sides, out=doubt, where=sides > 0)
    doubt[0] = np.nan
    return doubt


def _count_sides(
    labels: NDArray[np.integer],
    bright: NDArray[np.float32],
    needed: NDArray[np.float64],
    sides: NDArray[np.int64],
    weak: NDArray[np.int64],
) -> None:
    """Add the sides of outlines below which the next row is another's; compared is the row after that."""
    inside = (labels[:-2] != labels[1:-1]) & (labels[:-2] > 0)
    owner = labels[:-2][inside]
    fall = (bright[:-2] - bright[2:])[inside]
    sides += np.bincount(owner, minlength=sides.size)
    weak += np.bincount(owner[fall < needed[owner]], minlength=sides.size)


def choose_frames(
    doubts: NDArray[np.float64], features: NDArray[np.float64], groups: Sequence[str], count: int
) -> list[int]:
    """Choose frames one after the other.

    The next frame is of a group that has the fewest so far, and there the one with the largest sum of two
    numbers in [0, 1]: the rank of its doubt among all frames, and its distance to the nearest chosen frame
    over the largest such distance (farthest-point sampling, Gonzalez 1985). The same input gives the same
    choice; of equals the first is taken.

    Parameters
    ----------
    doubts
        (n,): how unsure the masks of each frame are; nan counts as the median.
    features
        (n, k): what a frame is like; each column is taken by its rank, nan as the median.
    groups
        Chip or field of view of each frame.
    count
        How many to choose; all if there are fewer.

    Returns
    -------
    Indices, in the order of choice.
    """
    doubt = _ranks(np.asarray(doubts, np.float64))
    points = np.stack([_ranks(column) for column in features.T], axis=1)
    _, group = np.unique(np.asarray(groups, dtype=str), return_inverse=True)
    taken = np.zeros(group.max(initial=-1) + 1, np.int64)
    nearest = np.full(len(doubt), np.inf)
    free = np.ones(len(doubt), bool)
    chosen: list[int] = []
    while free.any() and len(chosen) < count:
        fewest = taken[np.unique(group[free])].min()
        open_ = free & (taken[group] == fewest)
        unlike = nearest / max(nearest[free].max(), _FAR) if chosen else np.zeros(len(doubt))
        best = int(np.argmax(np.where(open_, doubt + unlike, -np.inf)))
        chosen.append(best)
        free[best] = False
        taken[group[best]] += 1
        nearest = np.minimum(nearest, np.linalg.norm(points - points[best], axis=1))
    return chosen


def _ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return ranks in [0, 1], equal values having equal ranks; nan is put in the middle."""
    known = np.isfinite(values)
    ranks = np.full(values.size, 0.5)
    levels, inverse = np.unique(values[known], return_inverse=True)
    if levels.size > 1:
        ranks[known] = inverse / (levels.size - 1)
    return ranks
