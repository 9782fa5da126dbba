"""The compiled loops of following flows (see `tasks.kernels.dynamics`, which says what they compute).

Positions are whole numbers of 1 / 1024 px: adding to them rounds in the same way at every place of a plane,
so a region gives what the plane gives, and a pixel that circles soon comes back to exactly where it was.
"""

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from tasks.kernels.compiling import compiled

Plane: TypeAlias = NDArray[np.float32]
Indices: TypeAlias = NDArray[np.int32]
Labels: TypeAlias = NDArray[np.uint32]

BITS = 10
UNIT = np.float32(1 << BITS)
PART = np.int32((1 << BITS) - 1)
HALF = 1 << (BITS - 1)
LONGEST_SIDE_PX = 1 << (30 - BITS)
LONGEST_STEP_PX = np.float32(16)
TOGETHER = 256  # pixels that walk side by side: the processor moves one while another waits for its flow
Y, X, KEPT_Y, KEPT_X, PIXEL = range(5)  # the rows of a walker's state
WINDOW = 5  # a mask's seed takes in end points up to this far, px
MORE_THAN_SEED, MORE_THAN_GROWN = 10, 2  # end points in a pixel
ONE, ZERO = np.float32(1), np.int32(0)
RIGHT, DOWN = np.uint64(2), np.uint64(1)


@compiled
def fill_field(flows_cyx: Plane, cellprob_yx: Plane, threshold: float, field: Plane) -> Indices:
    """Write the flows of cell pixels, axes y+1 x+1 2, in the units of positions; return these pixels."""
    height, width = cellprob_yx.shape
    pixels = np.empty(height * width, np.int32)
    count = 0
    for y in range(height):
        for x in range(width):
            if cellprob_yx[y, x] > threshold:
                for c in range(2):
                    step = min(max(flows_cyx[c, y, x], -LONGEST_STEP_PX), LONGEST_STEP_PX)
                    field[y, x, c] = step * UNIT
                pixels[count] = y * width + x
                count += 1
    return pixels[:count].copy()


@compiled
def follow(field: Plane, pixels: Indices, niter: int) -> Indices:
    """Return the pixel in which each of the given ones ends after `niter` steps.

    Notes
    -----
    Who is back where it was kept (at step 1, 2, 4, 8 ..., as Brent finds cycles, BIT 20:176, 1980) goes round
    for ever, so only the rest of the last round is left to walk: the same end, without the steps.
    """
    width = field.shape[1] - 1
    flat = field.ravel()
    last = np.array([(field.shape[0] - 2) << BITS, (width - 1) << BITS], np.int32)
    ends = np.empty(pixels.size, np.int32)
    state = np.empty((5, TOGETHER), np.int32)
    for first in range(0, pixels.size, TOGETHER):
        count = min(TOGETHER, pixels.size - first)
        for k in range(count):
            state[PIXEL, k] = first + k
            state[Y, k] = pixels[first + k] // width << BITS
            state[X, k] = pixels[first + k] % width << BITS
        _keep(state, count)
        kept = 0
        for done in range(1, niter + 1):
            _walk(flat, 2 * (width + 1), last, state[Y, :count], state[X, :count])
            k = 0
            while k < count:
                if state[Y, k] == state[KEPT_Y, k] and state[X, k] == state[KEPT_X, k]:
                    for _ in range((niter - done) % (done - kept)):
                        _walk(flat, 2 * (width + 1), last, state[Y, k : k + 1], state[X, k : k + 1])
                    ends[state[PIXEL, k]] = _nearest(state, k, width)
                    count -= 1
                    for row in range(5):
                        state[row, k] = state[row, count]
                else:
                    k += 1
            if done & (done - 1) == 0:
                _keep(state, count)
                kept = done
            if count == 0:
                break
        for k in range(count):
            ends[state[PIXEL, k]] = _nearest(state, k, width)
    return ends


@compiled
def _keep(state: Indices, count: int) -> None:
    for k in range(count):
        state[KEPT_Y, k] = state[Y, k]
        state[KEPT_X, k] = state[X, k]


@compiled
def _nearest(state: Indices, k: int, width: int) -> int:
    return int(((state[Y, k] + HALF) >> BITS) * width + ((state[X, k] + HALF) >> BITS))


@compiled
def _walk(flat: Plane, stride: int, last: Indices, ys: Indices, xs: Indices) -> None:
    """Take one step by the flow between the four pixels around.

    Places are unsigned: numba would test others for counting from the end.
    """
    last_y, last_x, below = last[0], last[1], np.uint64(stride)
    for k in range(ys.size):
        y, x = ys[k], xs[k]
        i = np.uint64(y >> BITS) * below + np.uint64((x >> BITS) << 1)
        j = i + below
        down, right = np.float32(y & PART) / UNIT, np.float32(x & PART) / UNIT
        up, left = ONE - down, ONE - right
        a, b, c, d = up * left, up * right, down * left, down * right
        dy = a * flat[i] + b * flat[i + RIGHT] + c * flat[j] + d * flat[j + RIGHT]
        i += DOWN
        j += DOWN
        dx = a * flat[i] + b * flat[i + RIGHT] + c * flat[j] + d * flat[j + RIGHT]
        ys[k] = min(max(y + np.int32(np.rint(dy)), ZERO), last_y)
        xs[k] = min(max(x + np.int32(np.rint(dx)), ZERO), last_x)


@compiled
def count_ends(ends: Indices, counts: NDArray[np.int32]) -> None:
    """Count how many pixels end in each."""
    flat = counts.ravel()
    for k in range(ends.size):
        flat[ends[k]] += 1


@compiled
def are_peaks(counts: NDArray[np.int32], crowded: Indices) -> NDArray[np.bool_]:
    """Say which of these pixels are the highest of the 5 x 5 around them."""
    height, width = counts.shape
    peaks = np.ones(crowded.size, np.bool_)
    for k in range(crowded.size):
        y, x = crowded[k] // width, crowded[k] % width
        around = counts[max(y - 2, 0) : min(y + 3, height), max(x - 2, 0) : min(x + 3, width)]
        peaks[k] = counts[y, x] == around.max()
    return peaks


@compiled
def grow_seeds(counts: NDArray[np.int32], seeds: Indices, owners: Labels) -> None:
    """Give each seed what hangs together with it by 5 steps over pixels with enough ends; later ones win."""
    height, width = counts.shape
    reached = np.empty((2 * WINDOW + 1) ** 2, np.int32)
    for k in range(seeds.size):
        owner = np.uint32(k + 1)
        owners[seeds[k] // width, seeds[k] % width] = owner
        reached[0] = seeds[k]
        known, seen = 1, 0
        for _ in range(WINDOW):
            ring = known
            for n in range(seen, ring):
                y, x = reached[n] // width, reached[n] % width
                for near_y in range(max(y - 1, 0), min(y + 2, height)):
                    for near_x in range(max(x - 1, 0), min(x + 2, width)):
                        if counts[near_y, near_x] > MORE_THAN_GROWN and owners[near_y, near_x] != owner:
                            owners[near_y, near_x] = owner
                            reached[known] = near_y * width + near_x
                            known += 1
            seen = ring


@compiled
def give_labels(pixels: Indices, ends: Indices, owners: Labels, labels_yx: Labels) -> None:
    """Label each pixel by the owner of the one where it ends."""
    labels, owner = labels_yx.ravel(), owners.ravel()
    for k in range(pixels.size):
        labels[pixels[k]] = owner[ends[k]]


@compiled
def renumber(labels_yx: Labels, kept: NDArray[np.bool_]) -> int:
    """Number the kept labels by their first pixels, in place, others become 0; return how many there are."""
    numbers = np.zeros(kept.size, np.uint32)
    labels = labels_yx.ravel()
    count = 0
    for i in range(labels.size):
        label = labels[i]
        if label:
            if kept[label] and numbers[label] == 0:
                count += 1
                numbers[label] = count
            labels[i] = numbers[label]
    return count
