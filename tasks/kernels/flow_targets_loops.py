"""The compiled loops of heat and flow in cells (see `tasks.kernels.flow_targets`, which says what they mean).

A cell is worked on in a flat copy of its box with a rim of one pixel: no pixel needs a rule of its own, and a
sum over neighbours is one long loop over slices, which runs in vector lanes.
"""

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from tasks.kernels.compiling import compiled

Labels: TypeAlias = NDArray[np.uint32]
Boxes: TypeAlias = NDArray[np.int64]
Box: TypeAlias = NDArray[np.int64]
Heat: TypeAlias = NDArray[np.float64]
Flows: TypeAlias = NDArray[np.float32]

SHARE = 1 / 9
LEVEL = 1e-9  # a slope that is less of the heat comes from rounding: sides as warm as each other
AREA = 4  # column of a box


@compiled
def boxes_of(labels_yx: Labels, count: int) -> Boxes:
    """Return first and stop row, first and stop column, and area of the labels 0 to count; of 0 all are 0."""
    height, width = labels_yx.shape
    boxes = np.zeros((count + 1, 5), np.int64)
    for y in range(height):
        for x in range(width):
            label = labels_yx[y, x]
            if label:
                box = boxes[label]
                if box[AREA] == 0:
                    box[0], box[2] = y, x
                box[1] = y + 1
                box[2], box[3] = min(box[2], x), max(box[3], x + 1)
                box[AREA] += 1
    return boxes


@compiled
def fill_flows(labels_yx: Labels, boxes: Boxes, flows_cyx: Flows) -> None:
    """Write the flow of every cell into its pixels."""
    heat, sums, weight, stack = _scratch(boxes)
    for label in range(1, boxes.shape[0]):
        box = boxes[label]
        if box[AREA]:
            stride = _spread_heat(labels_yx, label, box, heat, sums, weight, stack)
            for y in range(box[0], box[1]):
                for x in range(box[2], box[3]):
                    if labels_yx[y, x] == label:
                        dy, dx = _direction(heat, weight, _index(box, y, x), stride)
                        flows_cyx[0, y, x] = dy
                        flows_cyx[1, y, x] = dx


@compiled
def sum_errors(labels_yx: Labels, own_cyx: Flows, flows_cyx: Flows, count: int) -> NDArray[np.float64]:
    """Sum the squared distance of the two flows over the pixels of each label, 0 to count."""
    sums = np.zeros(count + 1)
    height, width = labels_yx.shape
    for y in range(height):
        for x in range(width):
            label = labels_yx[y, x]
            if label:
                dy = np.float64(own_cyx[0, y, x] - flows_cyx[0, y, x])
                dx = np.float64(own_cyx[1, y, x] - flows_cyx[1, y, x])
                sums[label] += dy * dy + dx * dx
    return sums


@compiled
def _index(box: Box, y: int, x: int) -> int:
    """Place of a pixel in the flat box."""
    return int((y - box[0] + 1) * (box[3] - box[2] + 2) + x - box[2] + 1)


@compiled
def _direction(heat: Heat, weight: Heat, i: int, stride: int) -> tuple[float, float]:
    """Return the unit vector uphill, or 0 where it is level."""
    if weight[i] == 0:
        return 0.0, 0.0
    dy = heat[i + stride] - heat[i - stride]
    dx = heat[i + 1] - heat[i - 1]
    slope = np.sqrt(dy * dy + dx * dx)
    if slope <= LEVEL * heat[i]:
        return 0.0, 0.0
    return dy / slope, dx / slope


@compiled
def _scratch(boxes: Boxes) -> tuple[Heat, Heat, Heat, NDArray[np.int64]]:
    """Room for the largest box."""
    most = 0
    for label in range(boxes.shape[0]):
        box = boxes[label]
        most = max(most, (box[1] - box[0] + 2) * (box[3] - box[2] + 2))
    return np.empty(most), np.empty(most), np.empty(most), np.empty(most, np.int64)


@compiled
def _spread_heat(
    labels_yx: Labels,
    label: int,
    box: Box,
    heat: Heat,
    sums: Heat,
    weight: Heat,
    stack: NDArray[np.int64],
) -> int:
    """Fill `heat`, and `weight` with a ninth where heat can come, else 0; return the length of a row."""
    height, width = box[1] - box[0], box[3] - box[2]
    stride, size = width + 2, (height + 2) * (width + 2)
    heat[:size] = 0
    sums[:size] = 0
    weight[:size] = 0
    centre = _centre(labels_yx, label, box)
    first, stop = _reach(labels_yx, label, box, centre, weight, stack)
    for _ in range(2 * (height + width + 2)):
        heat[centre] += 1
        _add_three(
            heat[first - 2 : stop],
            heat[first - 1 : stop + 1],
            heat[first : stop + 2],
            sums[first - 1 : stop + 1],
        )
        _weigh_three(
            sums[first - stride : stop - stride],
            sums[first:stop],
            sums[first + stride : stop + stride],
            weight[first:stop],
            heat[first:stop],
        )
    return int(stride)


@compiled
def _add_three(left: Heat, here: Heat, right: Heat, total: Heat) -> None:
    for i in range(total.size):
        total[i] = left[i] + here[i] + right[i]


@compiled
def _weigh_three(above: Heat, here: Heat, below: Heat, weight: Heat, total: Heat) -> None:
    for i in range(total.size):
        total[i] = (above[i] + here[i] + below[i]) * weight[i]


@compiled
def _centre(labels_yx: Labels, label: int, box: Box) -> int:
    """Return the place in the flat box of the cell's pixel nearest to its rounded mean."""
    total_y, total_x = 0, 0
    for y in range(box[0], box[1]):
        for x in range(box[2], box[3]):
            if labels_yx[y, x] == label:
                total_y += y - box[0]
                total_x += x - box[2]
    mean_y = box[0] + np.int64(np.rint(total_y / box[AREA]))
    mean_x = box[2] + np.int64(np.rint(total_x / box[AREA]))
    nearest, centre = -1, 0
    for y in range(box[0], box[1]):
        for x in range(box[2], box[3]):
            away = (y - mean_y) ** 2 + (x - mean_x) ** 2
            if labels_yx[y, x] == label and (nearest < 0 or away < nearest):
                nearest, centre = away, _index(box, y, x)
    return centre


@compiled
def _reach(
    labels_yx: Labels, label: int, box: Box, centre: int, weight: Heat, stack: NDArray[np.int64]
) -> tuple[int, int]:
    """Weigh what hangs together with the centre; return the first place and the one after the last."""
    stride = box[3] - box[2] + 2
    weight[centre] = SHARE
    stack[0] = centre
    waiting, first, last = 1, centre, centre
    while waiting:
        waiting -= 1
        here = stack[waiting]
        first, last = min(first, here), max(last, here)
        y, x = box[0] + here // stride - 1, box[2] + here % stride - 1
        for near_y in range(max(y - 1, box[0]), min(y + 2, box[1])):
            for near_x in range(max(x - 1, box[2]), min(x + 2, box[3])):
                there = _index(box, near_y, near_x)
                if labels_yx[near_y, near_x] == label and weight[there] == 0:
                    weight[there] = SHARE
                    stack[waiting] = there
                    waiting += 1
    return first, last + 1
