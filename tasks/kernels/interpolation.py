"""Values between pixels, compiled: linear, and the cubic convolution of Keys (IEEE ASSP 29:1153, 1981).

Places are whole numbers of 2^-40 px. A piece is a part of an output row whose neighbours' places run along
one straight line of the source: start, first, last, stop (n from first to last have all their neighbours
inside the image), place and step in y, place and step in x. `source` may be a part of the image of `shape`
that begins at `origin`. All that is compiled stands in this one file: numba's cache sees changes of a
function's own file only.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from tasks.kernels.compiling import compiled

_BITS = 40
ONE = 1 << _BITS
_HALF = ONE >> 1
_STRIP_PX = 512  # a row's strip: keeps steep walks through the source within the caches


@compiled
def _linear_inside(flat: Any, width: int, corner: int, line: Any, span: Any, y: Any, x: Any) -> None:
    """Interpolate linearly where all neighbours lie inside; `corner` is the number of pixel (0, 0)."""
    (begin_y, step_y), (begin_x, step_x) = y, x
    for n in range(span[0], span[1]):
        at_y, at_x = begin_y + n * step_y, begin_x + n * step_x
        here, part = np.uint64((at_y >> _BITS) * width + (at_x >> _BITS) + corner), _part(at_x)
        below = here + np.uint64(width)
        upper = _line(flat[here], flat[here + np.uint64(1)], part)
        lower = _line(flat[below], flat[below + np.uint64(1)], part)
        line[n] = _line(upper, lower, _part(at_y))


@compiled
def _linear_edge(
    source: Any, line: Any, span: Any, y: Any, x: Any, origin: Any, shape: Any, mirror: bool, fill: Any
) -> None:
    """Interpolate linearly where a neighbour may lie outside, where the mirror image is, or one value."""
    for n in range(span[0], span[1]):
        at_y, at_x = y[0] + n * y[1], x[0] + n * x[1]
        top, left = at_y >> _BITS, at_x >> _BITS
        upper = _line(
            _pixel(source, top, left, origin, shape, mirror, fill),
            _pixel(source, top, left + 1, origin, shape, mirror, fill),
            _part(at_x),
        )
        lower = _line(
            _pixel(source, top + 1, left, origin, shape, mirror, fill),
            _pixel(source, top + 1, left + 1, origin, shape, mirror, fill),
            _part(at_x),
        )
        line[n] = _line(upper, lower, _part(at_y))


@compiled
def _cubic_inside(flat: Any, width: int, corner: int, line: Any, span: Any, y: Any, x: Any) -> None:
    """Like `_linear_inside`, by cubic convolution."""
    (begin_y, step_y), (begin_x, step_x), row = y, x, np.uint64(width)
    for n in range(span[0], span[1]):
        at_y, at_x = begin_y + n * step_y, begin_x + n * step_x
        across, down = _keys(at_x), _keys(at_y)
        here = np.uint64((at_y >> _BITS) * width + (at_x >> _BITS) + corner - width - 1)
        total = down[0] * _weighed(flat, here, across) + down[1] * _weighed(flat, here + row, across)
        total += down[2] * _weighed(flat, here + row + row, across)
        line[n] = total + down[3] * _weighed(flat, here + row + row + row, across)


@compiled
def _cubic_edge(
    source: Any, line: Any, span: Any, y: Any, x: Any, origin: Any, shape: Any, mirror: bool, fill: Any
) -> None:
    """Like `_linear_edge`, by cubic convolution."""
    for n in range(span[0], span[1]):
        at_y, at_x = y[0] + n * y[1], x[0] + n * x[1]
        across, down, total = _keys(at_x), _keys(at_y), np.float32(0)
        for j in range(4):
            row = np.float32(0)
            for i in range(4):
                place = ((at_y >> _BITS) - 1 + j, (at_x >> _BITS) - 1 + i)
                row += across[i] * _pixel(source, place[0], place[1], origin, shape, mirror, fill)
            total += down[j] * row
        line[n] = total


@compiled
def _pixel(source: Any, y: int, x: int, origin: Any, shape: Any, mirror: bool, fill: Any) -> Any:
    """Value at a pixel of the image that may lie outside."""
    if mirror:
        y, x = _folded(y, shape[0]), _folded(x, shape[1])
    elif y < 0 or y >= shape[0] or x < 0 or x >= shape[1]:
        return fill
    return source[y - origin[0], x - origin[1]]


@compiled
def _folded(index: int, side_px: int) -> int:
    while index < 0 or index >= side_px:
        index = -1 - index if index < 0 else 2 * side_px - 1 - index
    return index


@compiled
def _part(place: int) -> Any:
    """Fraction of a place, px: its upper 24 bits, which float32 holds exactly."""
    return np.float32(np.int32((place >> (_BITS - 24)) & 0xFFFFFF)) * np.float32(2.0**-24)


@compiled
def _line(a: Any, b: Any, part: Any) -> Any:
    return a + part * (b - a)


@compiled
def _keys(place: int) -> Any:
    """Weights of the four neighbours along one axis, a = -1/2."""
    half, two, three = np.float32(0.5), np.float32(2), np.float32(3)
    part = _part(place)
    square = part * part
    cube = square * part
    return (
        half * (two * square - cube - part),
        half * (three * cube - np.float32(5) * square + two),
        half * (np.float32(4) * square - three * cube + part),
        half * (cube - square),
    )


@compiled
def _weighed(flat: Any, here: Any, weights: Any) -> Any:
    one = np.uint64(1)
    left = weights[0] * flat[here] + weights[1] * flat[here + one]
    return left + weights[2] * flat[here + one + one] + weights[3] * flat[here + one + one + one]


@compiled
def _inside(walk: Any, low: int, high: int, first: int, last: int) -> tuple[int, int]:
    """Narrow n in [first, last) to those with low <= place < high; the walk is place at n = 0, and step."""
    begin, step = walk
    if step > 0:
        return max(first, -((begin - low) // step)), min(last, -((begin - high) // step))
    if step < 0:
        return max(first, (begin - high) // -step + 1), min(last, (begin - low) // -step + 1)
    return (first, last) if low <= begin < high else (first, first)


@compiled
def _within(y: Any, x: Any, before: int, after: int, shape: Any, n: int, end: int) -> tuple[int, int]:
    """First and last + 1 of the n in [n, end) that lie at least so far before and after the image's edges."""
    first, last = _inside(y, before, shape[0] * ONE - after, n, end)
    first, last = _inside(x, before, shape[1] * ONE - after, first, last)
    first = min(first, end)
    return first, max(first, min(last, end))


@compiled
def _mirrored(walk: Any, side_px: int, n: int) -> tuple[int, int]:
    """Mirror a walk into the image, the way that its n-th place is mirrored.

    By one step of 2^-40 px less where it is turned round: so every place comes to lie in [-1/2, side - 1/2).
    """
    begin, step = walk
    tile = (begin + n * step + _HALF) // (side_px * ONE)
    if tile % 2:
        return (tile + 1) * side_px * ONE - ONE - 1 - begin, -step
    return begin - tile * side_px * ONE, step


@compiled
def _cut(table: Any, y: Any, x: Any, shape: Any, margins: Any, mirror: bool, count: int) -> int:
    """Cut a row of `count` places where its mirroring changes; fill the table with pieces, tell how many.

    Without mirror there is one piece, which leaves out what lies wholly outside.
    """
    pieces, n, end = 0, 0, count
    if not mirror:
        n, count = _within(y, x, -2 * ONE, -2 * ONE, shape, 0, count)
        end = count
    while n < count:
        here_y, here_x = y, x
        if mirror:
            here_y, here_x = _mirrored(y, shape[0], n), _mirrored(x, shape[1], n)
            _, end = _within(here_y, here_x, -_HALF, _HALF, shape, n, count)
        first, last = _within(here_y, here_x, margins[0], margins[1], shape, n, end)
        table[pieces, :4] = (n, first, last, end)
        table[pieces, 4:] = (here_y[0], here_y[1], here_x[0], here_x[1])
        pieces, n = pieces + 1, end
    return pieces


@compiled
def _at(walk: Any, row: int, left: int) -> tuple[int, int]:
    """Place and step where a strip of a row begins."""
    return walk[2] + row * walk[0] + left * walk[1], walk[1]


@compiled
def _nearest(source: Any, out: Any, walk: Any, origin: Any, shape: Any, mirror: bool, _: Any) -> None:
    table = np.empty((_STRIP_PX, 8), np.int64)
    flat, width = source.reshape(-1), source.shape[1]
    corner = -origin[0] * width - origin[1]
    for left in range(0, out.shape[1], _STRIP_PX):
        for row in range(out.shape[0]):
            line = out[row, left : left + _STRIP_PX]
            y, x = _at(walk[0], row, left), _at(walk[1], row, left)
            for piece in table[: _cut(table, y, x, shape, (-_HALF, _HALF), mirror, line.size)]:
                begin_y, step_y, begin_x, step_x = piece[4] + _HALF, piece[5], piece[6] + _HALF, piece[7]
                for n in range(piece[1], piece[2]):
                    at_y, at_x = begin_y + n * step_y, begin_x + n * step_x
                    line[n] = flat[np.uint64((at_y >> _BITS) * width + (at_x >> _BITS) + corner)]


@compiled
def _linear(source: Any, out: Any, walk: Any, origin: Any, shape: Any, mirror: bool, fill: Any) -> None:
    table = np.empty((_STRIP_PX, 8), np.int64)
    flat, width = source.reshape(-1), source.shape[1]
    corner = -origin[0] * width - origin[1]
    for left in range(0, out.shape[1], _STRIP_PX):
        for row in range(out.shape[0]):
            line = out[row, left : left + _STRIP_PX]
            y, x = _at(walk[0], row, left), _at(walk[1], row, left)
            for piece in table[: _cut(table, y, x, shape, (0, ONE), mirror, line.size)]:
                start, first, last, stop = piece[:4]
                y, x = (piece[4], piece[5]), (piece[6], piece[7])
                _linear_inside(flat, width, corner, line, (first, last), y, x)
                _linear_edge(source, line, (start, first), y, x, origin, shape, mirror, fill)
                _linear_edge(source, line, (last, stop), y, x, origin, shape, mirror, fill)


@compiled
def _cubic(source: Any, out: Any, walk: Any, origin: Any, shape: Any, mirror: bool, fill: Any) -> None:
    table = np.empty((_STRIP_PX, 8), np.int64)
    flat, width = source.reshape(-1), source.shape[1]
    corner = -origin[0] * width - origin[1]
    for left in range(0, out.shape[1], _STRIP_PX):
        for row in range(out.shape[0]):
            line = out[row, left : left + _STRIP_PX]
            y, x = _at(walk[0], row, left), _at(walk[1], row, left)
            for piece in table[: _cut(table, y, x, shape, (ONE, 2 * ONE), mirror, line.size)]:
                start, first, last, stop = piece[:4]
                y, x = (piece[4], piece[5]), (piece[6], piece[7])
                _cubic_inside(flat, width, corner, line, (first, last), y, x)
                _cubic_edge(source, line, (start, first), y, x, origin, shape, mirror, fill)
                _cubic_edge(source, line, (last, stop), y, x, origin, shape, mirror, fill)


KERNELS: dict[int, Callable[..., None]] = {0: _nearest, 1: _linear, 3: _cubic}
