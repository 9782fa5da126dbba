"""The compiled loops of measuring cells (see `tasks.kernels.cells`, which says what they mean)."""

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from tasks.kernels.compiling import compiled

Labels: TypeAlias = NDArray[np.uint32]
Boxes: TypeAlias = NDArray[np.int64]
Sums: TypeAlias = NDArray[np.int64]

Y, X, YY, XX, XY = range(5)  # columns of the sums


@compiled
def cell_sums(labels_yx: Labels, boxes: Boxes) -> Sums:
    """Sum the moments of each label's pixels, counted from the first corner of its box."""
    height, width = labels_yx.shape
    sums = np.zeros((boxes.shape[0], 5), np.int64)
    for i in range(height):
        for j in range(width):
            label = labels_yx[i, j]
            if label:
                y, x = i - boxes[label, 0], j - boxes[label, 2]
                own = sums[label]
                own[Y] += y
                own[X] += x
                own[YY] += y * y
                own[XX] += x * x
                own[XY] += x * y
    return sums


@compiled
def total_values(labels_yx: Labels, values_yx: NDArray[np.float32], count: int) -> NDArray[np.float64]:
    """Sum the values of each label's pixels, row by row."""
    totals = np.zeros(count + 1)
    for i in range(labels_yx.shape[0]):
        for j in range(labels_yx.shape[1]):
            totals[labels_yx[i, j]] += np.float64(values_yx[i, j])
    return totals


@compiled
def touching(labels_yx: Labels, edge_yx: NDArray[np.bool_], count: int) -> NDArray[np.bool_]:
    """Say of each label whether one of its pixels is at an edge."""
    touches = np.zeros(count + 1, np.bool_)
    for i in range(labels_yx.shape[0]):
        for j in range(labels_yx.shape[1]):
            if edge_yx[i, j]:
                touches[labels_yx[i, j]] = True
    return touches


@compiled
def hull_areas(labels_yx: Labels, boxes: Boxes) -> NDArray[np.int64]:
    """Count the pixels whose middle lies in or on the convex hull of each label's pixels.

    A pixel has four corners here, the middles of its sides. All lengths are doubled, so these are whole
    numbers; the left border of the hull is the convex one through the leftmost corners of the rows, the right
    border that of the picture mirrored.
    """
    areas = np.zeros(boxes.shape[0], np.int64)
    longest = 0
    for label in range(1, boxes.shape[0]):
        longest = max(longest, boxes[label, 1] - boxes[label, 0])
    firsts, lasts = np.empty(longest, np.int64), np.empty(longest, np.int64)
    starts, ends = np.empty(longest, np.int64), np.empty(longest, np.int64)
    ys, xs = np.empty(4 * longest + 4, np.int64), np.empty(4 * longest + 4, np.int64)
    for label in range(1, boxes.shape[0]):
        top, bottom, left, right = boxes[label, 0], boxes[label, 1], boxes[label, 2], boxes[label, 3]
        rows = bottom - top
        for y in range(rows):
            firsts[y], lasts[y] = right, left - 1
            for x in range(left, right):
                if labels_yx[top + y, x] == label:
                    firsts[y] = min(firsts[y], x)
                    lasts[y] = x
        for y in range(rows):
            lasts[y] = -lasts[y]
        _border(firsts, right, rows, ys, xs, starts)
        _border(lasts, 1 - left, rows, ys, xs, ends)
        for y in range(rows):
            areas[label] += -ends[y] - starts[y] + 1
    return areas


@compiled
def _border(
    firsts: NDArray[np.int64],
    none: int,
    rows: int,
    ys: NDArray[np.int64],
    xs: NDArray[np.int64],
    starts: NDArray[np.int64],
) -> None:
    """Find the first whole place of each row that is not left of the hull; `none` marks an empty row."""
    known = 0
    for at in range(-1, 2 * rows):  # rows and the lines between them, all doubled
        lowest = np.int64(1) << 60
        if at % 2 == 0:
            if firsts[at // 2] != none:
                lowest = 2 * firsts[at // 2] - 1
        else:
            for row in ((at - 1) // 2, (at + 1) // 2):
                if 0 <= row < rows and firsts[row] != none:
                    lowest = min(lowest, 2 * firsts[row])
        if lowest == np.int64(1) << 60:
            continue
        while known >= 2 and (xs[known - 1] - xs[known - 2]) * (at - ys[known - 2]) >= (
            lowest - xs[known - 2]
        ) * (ys[known - 1] - ys[known - 2]):
            known -= 1
        ys[known], xs[known] = at, lowest
        known += 1
    k = 0
    for row in range(rows):
        while ys[k + 1] < 2 * row:
            k += 1
        run = ys[k + 1] - ys[k]
        above = xs[k] * run + (xs[k + 1] - xs[k]) * (2 * row - ys[k])
        starts[row] = -((-above) // (2 * run))
