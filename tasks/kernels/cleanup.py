"""Optional steps of a frame's cleaning: uneven background, groove lines, contrast.

Each may run in blocks: a block that is cut out with the stated halo, where the image goes on, gives to the
last bit the pixels that the whole image gives.
"""

import math
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tasks.kernels.checks import finite_float32
from tasks.kernels.compiling import compiled


def remove_background(
    yx: NDArray[np.generic], radius_px: int = 15, kind: Literal["black", "white"] = "black"
) -> NDArray[np.float32]:
    """Take the background away by a top-hat (Meyer, 1979; Serra, Image Analysis, 1982, ch. XII).

    Parameters
    ----------
    yx
        Image, axes y x, any real dtype.
    radius_px
        Radius of the disc, px; halo 2 radius_px.
    kind
        "black": the image less its black top-hat, yx - (closing - yx), and no less than 0: what is darker
        than its surroundings and narrower than the disc (grooves, gaps between nuclei) sinks to the ground;
        all else keeps its value. "white": the white top-hat, yx - opening: what is wider than the disc goes.
        For nuclei on an uneven ground use "white" with a disc larger than a nucleus.

    Returns
    -------
    Float32, axes y x, in the units of `yx`.

    Raises
    ------
    ValueError
        If the image is no plane or holds NaN, the radius is below 1, or the kind is another.

    Notes
    -----
    The disc is that of `skimage.morphology.disk`; opening and closing equal scikit-image's. The maximum over
    the disc is that over its rows (Urbach and Wilkinson, IEEE TIP 17:1, 2008): 52 steps a pixel for a radius
    of 15, not 709.
    """
    plane = finite_float32(yx)
    if radius_px < 1:
        raise ValueError(f"radius_px: expected at least 1, found {radius_px}; give the disc's radius in px")
    if kind == "white":
        opening = _highest(-_highest(-plane, radius_px), radius_px)
        return plane - opening
    if kind == "black":
        closing = -_highest(-_highest(plane, radius_px), radius_px)
        return np.maximum(plane - (closing - plane), np.float32(0))
    raise ValueError(f"kind: expected 'black' or 'white', found {kind!r}")


def remove_grooves(yx: NDArray[np.generic], threshold: float, radius_px: int = 30) -> NDArray[np.float32]:
    """Replace what is below a threshold, grooves and ridges alike, by the local background.

    Parameters
    ----------
    yx
        Image, axes y x, any real dtype.
    threshold
        Nuclei are at least as bright as this, grooves and ridges are darker; in the units of `yx`.
    radius_px
        The local background is the mean of the pixels below the threshold in a square of this half side
        (and inside the image), px; halo radius_px. At least a groove's period, so that it holds no lines.

    Returns
    -------
    Float32, axes y x: pixels of at least the threshold are unchanged. Needs no rotation before it: lines of
    any direction go.

    Raises
    ------
    ValueError
        If the image is no plane or holds NaN, the threshold is not finite, or the radius is below 1.
    """
    plane = finite_float32(yx)
    if radius_px < 1 or not math.isfinite(threshold):
        raise ValueError(
            f"expected a finite threshold and a radius_px of at least 1, found {threshold} and {radius_px}; "
            "give the threshold in the units of the image, the radius in px"
        )
    below = plane < threshold
    total = _square_sums(np.where(below, plane, 0).astype(np.float64), radius_px)
    count = _square_sums(below.astype(np.float64), radius_px)
    return np.where(below, total / np.maximum(count, 1), plane).astype(np.float32)


def sigmoid_contrast(yx: NDArray[np.generic], cutoff: float = 0.5, gain: float = 10) -> NDArray[np.float32]:
    """Stretch the middle tones, 1 / (1 + exp(gain (cutoff - yx))), as `skimage.exposure.adjust_sigmoid`.

    Parameters
    ----------
    yx
        Image with values in [0, 1], axes y x; halo 0.
    cutoff
        The value that becomes a half.
    gain
        Steepness there, times four.

    Returns
    -------
    Float32 in (0, 1), axes y x.

    Raises
    ------
    ValueError
        If the image is no plane, holds NaN, or is not within [0, 1].
    """
    plane = finite_float32(yx)
    if plane.min() < 0 or plane.max() > 1:
        raise ValueError(
            f"yx: expected values in [0, 1], found {plane.min():g} to {plane.max():g}; normalise it first"
        )
    stretched: NDArray[np.float32] = 1 / (1 + np.exp(np.float32(gain) * (np.float32(cutoff) - plane)))
    return stretched


def _highest(yx: NDArray[np.float32], radius_px: int) -> NDArray[np.float32]:
    """Maximum over a disc, inside the image; mirroring at the edge would give the same."""
    halves = np.array(
        [math.isqrt(radius_px**2 - offset**2) for offset in range(radius_px + 1)], dtype=np.int64
    )
    out = np.full(yx.shape, -np.inf, np.float32)
    _disc_maximum(np.ascontiguousarray(yx), out, halves)
    return out


@compiled
def _disc_maximum(source: Any, out: Any, halves: Any) -> None:
    """Spread each row of the source, widened by the disc's half width there, over the rows of the disc."""
    height, width = source.shape
    pad = halves[0]
    levels = int(np.log2(2 * pad + 1)) + 1
    runs = np.full((levels, width + 2 * pad), -np.inf, np.float32)  # maximum of 2^k pixels from here on
    wide = np.empty(width, np.float32)
    for row in range(height):
        runs[0, pad : pad + width] = source[row]
        for k in range(1, levels):
            _join(runs[k], runs[k - 1], runs[k - 1][1 << (k - 1) :])
        last = -1
        for offset in range(halves.size):
            half = halves[offset]
            if half != last:
                k = int(np.log2(2 * half + 1))
                _join(wide, runs[k][pad - half :], runs[k][pad + half + 1 - (1 << k) :])
                last = half
            if row >= offset:
                _join(out[row - offset], out[row - offset], wide)
            if offset and row + offset < height:
                _join(out[row + offset], out[row + offset], wide)


@compiled
def _join(out: Any, one: Any, other: Any) -> None:
    """Higher of two lines, as far as all three go."""
    for n in range(min(out.size, one.size, other.size)):
        out[n] = one[n] if one[n] > other[n] else other[n]


def _square_sums(yx: NDArray[np.float64], radius_px: int) -> NDArray[np.float64]:
    """Sum over the square of half side `radius_px` around each pixel, inside the image."""
    out = np.zeros_like(yx)
    _sum_squares(yx, out, radius_px)
    return out


@compiled
def _sum_squares(source: Any, out: Any, radius: int) -> None:
    """Always added in the same order: a running sum would depend on where the block begins."""
    height, width = source.shape
    down = np.zeros(width + 2 * radius)
    inner = down[radius : radius + width]
    for row in range(height):
        inner[:] = 0
        for other in range(max(row - radius, 0), min(row + radius + 1, height)):
            _add(inner, source[other])
        for shift in range(2 * radius + 1):
            _add(out[row], down[shift : shift + width])


@compiled
def _add(out: Any, line: Any) -> None:
    for n in range(out.size):
        out[n] += line[n]
