"""Pixels of an image at places that an affine map gives: nearest, linear or cubic, whole or in blocks.

Places are computed in whole numbers (2^-40 px), so a pixel's value does not depend on the block that it is
computed in, to the last bit. Cubic is a local convolution, as in scikit-image: a block needs a margin of two
pixels and no prefilter.
"""

import numpy as np
from numpy.typing import NDArray

from tasks.kernels.interpolation import KERNELS, ONE

Box = tuple[slice, slice]


def resample(
    source_yx: NDArray[np.generic],
    source_box: Box,
    region: Box,
    *,
    shape_yx: tuple[int, int],
    matrix: NDArray[np.float64],
    order: int,
    fill: float | None,
) -> NDArray[np.generic]:
    """Compute one region of an affinely mapped image from the part of the image that it needs.

    Parameters
    ----------
    source_yx
        The image inside `source_box`, axes y x; float32 for orders 1 and 3, any dtype for order 0.
    source_box
        Where it lies in the image, px; at least `needed_box`.
    region
        The wanted part of the mapped image, px.
    shape_yx
        Shape of the whole image.
    matrix
        3 x 3, (y, x, 1) of the mapped image to (y, x, 1) of the image, px.
    order
        0 nearest, 1 linear, 3 cubic (which may overshoot the values of the image).
    fill
        Value outside the image; None mirrors the image there, its edge pixels repeated.

    Returns
    -------
    The region, axes y x, of the dtype of `source_yx`.
    """
    outside = np.asarray(0 if fill is None else fill).astype(source_yx.dtype)
    out = np.full([part.stop - part.start for part in region], outside)
    source, target = np.ascontiguousarray(source_yx), out
    if order == 0:  # the bits are moved, whatever they mean
        same_bits = f"u{source.itemsize}"
        source, target, outside = source.view(same_bits), out.view(same_bits), outside.view(same_bits)
    walk = np.rint(matrix[:2] * ONE).astype(np.int64)
    walk[:, 2] += walk[:, 0] * region[0].start + walk[:, 1] * region[1].start
    origin = (source_box[0].start, source_box[1].start)
    KERNELS[order](source, target, walk, origin, shape_yx, fill is None, outside[()])
    return out


def needed_box(
    region: Box, *, shape_yx: tuple[int, int], matrix: NDArray[np.float64], order: int, mirror: bool
) -> Box:
    """Part of the image that `resample` reads for a region, px; at least one pixel, never beyond the image.

    Parameters
    ----------
    region
        Part of the mapped image, px, with at least one pixel.
    shape_yx, matrix, order
        As in `resample`.
    mirror
        Whether the outside mirrors the image, whose mirrored parts are then needed too.
    """
    corners = [(y, x, 1) for y in _ends(region[0]) for x in _ends(region[1])]
    places = matrix[:2] @ np.array(corners, float).T
    reach_px = 2 if order == 3 else 1
    lows = np.floor(places.min(axis=1) - 1e-6) - reach_px
    highs = np.floor(places.max(axis=1) + 1e-6) + reach_px
    parts = [
        _held(int(low), int(high), side_px, mirror)
        for low, high, side_px in zip(lows, highs, shape_yx, strict=True)
    ]
    return parts[0], parts[1]


def _ends(part: slice) -> tuple[int, int]:
    return part.start, part.stop - 1


def _held(low: int, high: int, side_px: int, mirror: bool) -> slice:
    """Pixels of the image that stand for those from low to high, some of which lie outside."""
    if mirror:
        wanted = np.arange(low, min(high, low + 2 * side_px) + 1) % (2 * side_px)
        kept = np.minimum(wanted, 2 * side_px - 1 - wanted)
    else:
        kept = np.clip([low, high], 0, side_px - 1)
    return slice(int(kept.min()), int(kept.max()) + 1)
