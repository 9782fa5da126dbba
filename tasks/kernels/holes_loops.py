"""The compiled loop that fills the holes of labels, without a pass over the plane for each of them."""

import numpy as np
from numpy.typing import NDArray

from tasks.kernels.compiling import compiled
from tasks.kernels.flow_targets_loops import AREA, Box, Boxes, Labels


@compiled
def fill_holes(labels_yx: Labels, boxes: Boxes) -> None:
    """Give each label, in order, what it encloses (by sides, not corners), other labels too; in place."""
    most = 0
    for label in range(boxes.shape[0]):
        box = boxes[label]
        most = max(most, (box[1] - box[0] + 2) * (box[3] - box[2] + 2))
    outside, stack = np.empty(most, np.bool_), np.empty(most, np.int64)
    for label in range(1, boxes.shape[0]):
        box = boxes[label]
        height, width = box[1] - box[0], box[3] - box[2]
        if box[AREA] < height * width:
            _flood(labels_yx, label, box, outside, stack)
            for y in range(height):
                for x in range(width):
                    if not outside[(y + 1) * (width + 2) + x + 1]:
                        labels_yx[box[0] + y, box[2] + x] = label


@compiled
def _flood(
    labels_yx: Labels, label: int, box: Box, outside: NDArray[np.bool_], stack: NDArray[np.int64]
) -> None:
    """Mark what can be reached from the rim of one pixel around the box without crossing the label."""
    height, width = box[1] - box[0] + 2, box[3] - box[2] + 2
    outside[: height * width] = False
    outside[0] = True
    stack[0] = 0
    waiting = 1
    while waiting:
        waiting -= 1
        y, x = stack[waiting] // width, stack[waiting] % width
        for down, right in ((-1, 0), (0, -1), (0, 1), (1, 0)):
            near_y, near_x = y + down, x + right
            if not (0 <= near_y < height and 0 <= near_x < width) or outside[near_y * width + near_x]:
                continue
            rim = near_y in (0, height - 1) or near_x in (0, width - 1)
            if rim or labels_yx[box[0] + near_y - 1, box[2] + near_x - 1] != label:
                outside[near_y * width + near_x] = True
                stack[waiting] = near_y * width + near_x
                waiting += 1
