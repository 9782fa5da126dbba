"""The compiled loops that cut cells out: copied, or sampled along turned and scaled axes."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.kernels.compiling import compiled

Plane = NDArray[np.float32]
Labels = NDArray[Any]
Boxes = NDArray[np.int64]
LEAST_NORMAL = 0x38800000  # bits of 2^-14, the smallest float16 that is not subnormal


@compiled
def copy_cells(
    yx: Plane, labels_yx: Labels, labels: Labels, boxes: Boxes, keep: bool, out_nyx: Plane
) -> None:
    """Copy the pixels round each box's middle pixel, which comes to lie at (size // 2, size // 2).

    Parameters
    ----------
    yx, labels_yx
        Image and labels of one shape.
    labels, boxes
        (n,) and (n, 4): label, of the type of `labels_yx`, and box (y0, x0, y1, x1) of each cell, ends
        excluded.
    keep
        Keep pixels of other labels; else they are 0.
    out_nyx
        (n, size, size), all 0; written to.
    """
    size = out_nyx.shape[1]
    for n in range(labels.size):
        top = (boxes[n, 0] + boxes[n, 2]) // 2 - size // 2
        left = (boxes[n, 1] + boxes[n, 3]) // 2 - size // 2
        _copy(yx, labels_yx, labels[n], boxes[n], keep, top, left, out_nyx[n])


@compiled
def resize_cells(
    yx: Plane, labels_yx: Labels, labels: Labels, boxes: Boxes, keep: bool, out_nyx: Plane
) -> None:
    """Scale the square round each box's middle, as long as its longer side, to the patch.

    Pixel i of the patch lies at (i + 1/2) side / size - 1/2 of the square, which is mirrored at its rim, as
    scikit-image does. Linear interpolation; where the square is larger than the patch, the mean of
    `ceil(side / size)` samples along each axis. Down first, then across: two samples a pixel instead of four.
    Parameters as for `copy_cells`.
    """
    size = out_nyx.shape[1]
    most = 1
    for n in range(labels.size):
        most = max(most, boxes[n, 2] - boxes[n, 0], boxes[n, 3] - boxes[n, 1])
    square, down = np.empty((most, most), np.float32), np.empty((size, most), np.float32)
    for n in range(labels.size):
        side = max(boxes[n, 2] - boxes[n, 0], boxes[n, 3] - boxes[n, 1])
        top = (boxes[n, 0] + boxes[n, 2]) // 2 - side // 2
        left = (boxes[n, 1] + boxes[n, 3]) // 2 - side // 2
        square[:side, :side] = 0
        _copy(yx, labels_yx, labels[n], boxes[n], keep, top, left, square[:side, :side])
        _scale_down_and_across(square, side, down, out_nyx[n])


@compiled
def _scale_down_and_across(square: Plane, side: int, down: Plane, out_yx: Plane) -> None:
    """Scale the first `side` rows and columns of a square to the patch; `down` is room to work in.

    Down row by row, which the compiler vectorises; across column by column, where it need not look up what
    lies beside each pixel.
    """
    size = out_yx.shape[0]
    samples = _samples(side / size)
    first, second = np.empty((2, samples, size), np.uint32)
    share = np.empty((samples, size), np.float32)
    for k in range(samples):
        for i in range(size):
            first[k, i], share[k, i] = _between((i * samples + k + 0.5) / samples * side / size - 0.5, side)
            second[k, i] = min(first[k, i] + 1, side - 1)
    for i in range(size):
        row = down[i]
        row[:side] = 0
        for k in range(samples):
            upper, lower, part = square[first[k, i]], square[second[k, i]], share[k, i]
            for x in range(side):
                row[x] += upper[x] + part * (lower[x] - upper[x])
    weight = np.float32(1 / (samples * samples))
    for j in range(size):
        for k in range(samples):
            before, after, part = first[k, j], second[k, j], share[k, j]
            for i in range(size):
                left = down[i, before]
                out_yx[i, j] += weight * (left + part * (down[i, after] - left))


@compiled
def _between(place: float, side: int) -> tuple[int, np.float32]:
    """Return the pixel at or before a place that is mirrored at the rim, and the way from it to the next."""
    mirrored = max(min(abs(place), 2 * (side - 1.0) - abs(place)), 0.0)
    return int(mirrored), np.float32(mirrored - int(mirrored))


@compiled
def _copy(
    yx: Plane,
    labels_yx: Labels,
    label: int,
    box: NDArray[np.int64],
    keep: bool,
    top: int,
    left: int,
    out_yx: Plane,
) -> None:
    """Copy what lies in a window whose first pixel is (top, left): all of it, or only the cell."""
    height, width = yx.shape
    first, last = max(top, 0), min(top + out_yx.shape[0], height)
    begin, end = max(left, 0), min(left + out_yx.shape[1], width)
    if not keep:
        first, last = max(first, box[0]), min(last, box[2])
        begin, end = max(begin, box[1]), min(end, box[3])
    for y in range(first, last):
        source, target = yx[y, begin:end], out_yx[y - top, begin - left : end - left]
        names = labels_yx[y, begin:end]
        for x in range(end - begin):
            target[x] = source[x] if keep or names[x] == label else np.float32(0)


@compiled
def turn_cells(
    yx: Plane,
    labels_yx: Labels,
    labels: Labels,
    boxes: Boxes,
    turns_rad: NDArray[np.float64],
    keep: bool,
    fill: bool,
    out_nyx: Plane,
) -> None:
    """Turn each cell counter-clockwise on the screen; it lies in the middle, by its extent along new axes.

    Parameters
    ----------
    yx, labels_yx, labels, boxes, keep, out_nyx
        As for `copy_cells`.
    turns_rad
        (n,): angle of each.
    fill
        Scale so that the longer extent fills the patch; else the size stays.
    """
    size = out_nyx.shape[1]
    for n in range(labels.size):
        cosine, sine = math.cos(turns_rad[n]), math.sin(turns_rad[n])
        v_middle, u_middle, side = _extent(labels_yx, labels[n], boxes[n], cosine, sine)
        step = side / size if fill else 1.0
        middle = (size - 1) / 2 if fill else float(size // 2)
        samples = _samples(step)
        for i in range(size):
            for j in range(size):
                total = 0.0
                for k in range(samples * samples):
                    down = (i + (k // samples + 0.5) / samples - 0.5 - middle) * step
                    right = (j + (k % samples + 0.5) / samples - 0.5 - middle) * step
                    v, u = v_middle + down, u_middle + right
                    y, x = u * sine + v * cosine, u * cosine - v * sine
                    total += _sample(yx, labels_yx, labels[n], keep, boxes[n, 0] + y, boxes[n, 1] + x)
                out_nyx[n, i, j] = total / (samples * samples)


@compiled
def _extent(
    labels_yx: Labels, label: int, box: NDArray[np.int64], cosine: float, sine: float
) -> tuple[float, float, float]:
    """Return a label's middle along turned axes v, u from the box's corner, and its longer side in px."""
    v_low, v_high, u_low, u_high = math.inf, -math.inf, math.inf, -math.inf
    for y in range(box[2] - box[0]):
        for x in range(box[3] - box[1]):
            if labels_yx[box[0] + y, box[1] + x] == label:
                u, v = x * cosine + y * sine, y * cosine - x * sine
                v_low, v_high, u_low, u_high = min(v_low, v), max(v_high, v), min(u_low, u), max(u_high, u)
    if v_low > v_high:
        return 0.0, 0.0, 1.0
    return (v_low + v_high) / 2, (u_low + u_high) / 2, max(v_high - v_low, u_high - u_low) + 1.0


@compiled
def _samples(step: float) -> int:
    """Return how many samples along an axis make a pixel that is `step` px wide."""
    return max(1, math.ceil(step - 1e-9))


@compiled
def _sample(yx: Plane, labels_yx: Labels, label: int, keep: bool, y: float, x: float) -> float:
    """Interpolate linearly; pixels beyond the image, and of other labels unless kept, are 0."""
    height, width = yx.shape
    top, left = math.floor(y), math.floor(x)
    down, right = y - top, x - left
    total = 0.0
    for k in range(4):
        row, column = top + k // 2, left + k % 2
        weight = (down if k // 2 else 1 - down) * (right if k % 2 else 1 - right)
        if weight > 0 and 0 <= row < height and 0 <= column < width:  # noqa: SIM102 - a label is read last
            if keep or labels_yx[row, column] == label:
                total += weight * yx[row, column]
    return total


@compiled
def cut_halves(
    yx: Plane,
    labels_yx: Labels,
    labels: Labels,
    boxes: Boxes,
    turns_rad: NDArray[np.float64],
    keep: bool,
    fill: bool,
    room: tuple[Plane, NDArray[np.uint32]],
    out_nyx: NDArray[np.uint16],
) -> np.uint32:
    """Cut cells, one after the other in room that stays in the cache, to the bits of float16.

    Parameters
    ----------
    yx, labels_yx, labels, boxes, keep
        As for `copy_cells`.
    turns_rad
        As for `turn_cells`; empty where none is turned.
    fill
        Scale so that the cell fills the patch; else the size stays.
    room
        (1, size, size) to work in, and the same memory as bits, (size * size,).
    out_nyx
        (n, size, size), written to.

    Returns
    -------
    As of `halve`.
    """
    block, bits = room
    most = np.uint32(0)
    for n in range(labels.size):
        label, box = labels[n : n + 1], boxes[n : n + 1]
        block[:] = 0
        if turns_rad.size:
            turn_cells(yx, labels_yx, label, box, turns_rad[n : n + 1], keep, fill, block)
        elif fill:
            resize_cells(yx, labels_yx, label, box, keep, block)
        else:
            copy_cells(yx, labels_yx, label, box, keep, block)
        most = max(most, halve(block.ravel(), bits, out_nyx[n].ravel()))
    return most


@compiled
def halve(values: NDArray[np.float32], bits: NDArray[np.uint32], out: NDArray[np.uint16]) -> np.uint32:
    """Turn float32 numbers from 0 to 65504 into the bits of the nearest float16, ties to even.

    Parameters
    ----------
    values, bits
        (n,): the numbers, and the same memory as bits.
    out
        (n,): written to.

    Returns
    -------
    The largest of the bits. Those of a number that is too large, negative or none at all are larger than
    those of 65504; then `out` is of no use.
    """
    most = np.uint32(0)
    for n in range(values.size):
        one = bits[n]
        most = max(most, one)
        odd = (one >> np.uint32(13)) & np.uint32(1)
        normal = (one - np.uint32(0x38000000) + np.uint32(0xFFF) + odd) >> np.uint32(13)
        small = np.uint32(np.rint(min(values[n], np.float32(2**-14)) * np.float32(2**24)))
        out[n] = normal if one >= np.uint32(LEAST_NORMAL) else small
    return most
