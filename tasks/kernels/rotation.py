"""Rotation of an image about its centre, in one interpolation, whole or in blocks, there and back.

The geometry is that of `tasks.kernels.geometry`, the interpolation that of `tasks.kernels.resampling`.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from tasks.kernels.checks import finite_float32, require_plane
from tasks.kernels.geometry import rotated_shape, rotation_matrix
from tasks.kernels.resampling import Box, needed_box, resample

_ORDERS = (0, 1, 3)


def rotate(
    yx: NDArray[np.generic], angle_deg: float, *, order: int = 1, grow: bool = True, fill: float | None = None
) -> NDArray[np.generic]:
    """Rotate an image counter-clockwise, as seen on a screen, about its centre, in one interpolation.

    Parameters
    ----------
    yx
        Image or labels, axes y x.
    angle_deg
        Degrees, counter-clockwise.
    order
        0 nearest (for labels: keeps the dtype), 1 linear, 3 cubic (Keys; may overshoot the image's values).
    grow
        Enlarge the result so that no pixel is lost (`rotated_shape`), else keep the shape.
    fill
        Value outside the image; None mirrors the image there, so that no edge arises.

    Returns
    -------
    Rotated image: float32, or the dtype of `yx` for order 0. The geometry is that of
    `skimage.transform.rotate`.

    Raises
    ------
    ValueError
        If `yx` is no plane, or the order is not 0, 1 or 3.
    """
    require_plane(yx)
    whole = _box_of(yx.shape)
    region = _box_of(rotated_shape(yx.shape, angle_deg)) if grow else whole
    return rotate_block(
        yx, whole, region, shape_yx=yx.shape, angle_deg=angle_deg, order=order, grow=grow, fill=fill
    )


def rotate_region(
    read: Callable[[Box], NDArray[np.generic]],
    region: Box,
    *,
    shape_yx: Sequence[int],
    angle_deg: float,
    order: int = 1,
    grow: bool = True,
    fill: float | None = None,
) -> NDArray[np.generic]:
    """Compute one region of the rotated image, equal to that region of `rotate`, to the last bit.

    Parameters
    ----------
    read
        Gives the part of the image, axes y x, inside the two slices it is given.
    region
        Slices (y, x) of the rotated image, px, with start and stop and at least one pixel.
    shape_yx
        Shape of the whole image before, px.
    angle_deg, order, grow, fill
        As in `rotate`.
    """
    box = source_box(region, shape_yx=shape_yx, angle_deg=angle_deg, order=order, grow=grow, fill=fill)
    return rotate_block(
        read(box), box, region, shape_yx=shape_yx, angle_deg=angle_deg, order=order, grow=grow, fill=fill
    )


def source_box(
    region: Box,
    *,
    shape_yx: Sequence[int],
    angle_deg: float,
    order: int = 1,
    grow: bool = True,
    fill: float | None = None,
) -> Box:
    """Slices (y, x) of the image that a region of the rotated image needs; never empty, never beyond it.

    Parameters
    ----------
    region, shape_yx, angle_deg, order, grow, fill
        As in `rotate_region`. Where `fill` is None the mirrored parts are held too.
    """
    return needed_box(
        region,
        shape_yx=_pair(shape_yx),
        matrix=rotation_matrix(shape_yx, angle_deg, grow),
        order=_checked(order),
        mirror=fill is None,
    )


def rotate_block(
    block_yx: NDArray[np.generic],
    box: Box,
    region: Box,
    *,
    shape_yx: Sequence[int],
    angle_deg: float,
    order: int = 1,
    grow: bool = True,
    fill: float | None = None,
) -> NDArray[np.generic]:
    """Compute one region of the rotated image from the part of the image inside `box`.

    Parameters
    ----------
    block_yx
        The image inside `box`, axes y x.
    box
        Slices of the image: `source_box` of the region, or more.
    region, shape_yx, angle_deg, order, grow, fill
        As in `rotate_region`.

    Raises
    ------
    ValueError
        If the block is no plane, has not the shape of the box, holds NaN, or the order is not 0, 1 or 3.
    """
    require_plane(block_yx, "block_yx")
    expected = tuple(part.stop - part.start for part in box)
    if block_yx.shape != expected:
        raise ValueError(
            f"block_yx: expected the pixels of {box}, shape {expected}, found shape {block_yx.shape}; "
            "pass what was read from that box"
        )
    return resample(
        finite_float32(block_yx, "block_yx") if _checked(order) else block_yx,
        box,
        region,
        shape_yx=_pair(shape_yx),
        matrix=rotation_matrix(shape_yx, angle_deg, grow),
        order=order,
        fill=fill,
    )


def rotate_back(
    yx: NDArray[np.generic],
    *,
    shape_yx: Sequence[int],
    angle_deg: float,
    order: int = 0,
    grow: bool = True,
    fill: float = 0,
) -> NDArray[np.generic]:
    """Bring a rotated image, or the labels found in it, back to the pixels before the rotation.

    Parameters
    ----------
    yx
        Image or labels in the frame of the rotated image, axes y x.
    shape_yx
        Shape of the image before, px.
    angle_deg, grow
        As given to `rotate`.
    order
        As in `rotate`; 0 for labels.
    fill
        Value where the rotated image holds nothing (without `grow`, the corners).

    Returns
    -------
    Image of shape `shape_yx`: float32, or the dtype of `yx` for order 0.

    Raises
    ------
    ValueError
        If `yx` has not the shape of the rotated image, or the order is not 0, 1 or 3.
    """
    require_plane(yx)
    expected = rotated_shape(shape_yx, angle_deg) if grow else _pair(shape_yx)
    if yx.shape != expected:
        raise ValueError(
            f"yx: expected shape {expected}, that of {tuple(shape_yx)} rotated by {angle_deg} degrees, "
            f"found {yx.shape}; pass the shape and the angle that made it"
        )
    return resample(
        finite_float32(yx) if _checked(order) else yx,
        _box_of(yx.shape),
        _box_of(shape_yx),
        shape_yx=expected,
        matrix=np.linalg.inv(rotation_matrix(shape_yx, angle_deg, grow)).astype(np.float64, copy=False),
        order=order,
        fill=fill,
    )


def _checked(order: int) -> int:
    if order not in _ORDERS:
        raise ValueError(f"order: expected 0 (nearest), 1 (linear) or 3 (cubic), found {order}")
    return order


def _pair(shape_yx: Sequence[int]) -> tuple[int, int]:
    return int(shape_yx[0]), int(shape_yx[1])


def _box_of(shape_yx: Sequence[int]) -> Box:
    height, width = _pair(shape_yx)
    return slice(0, height), slice(0, width)
