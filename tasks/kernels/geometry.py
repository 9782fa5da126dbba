"""Where the pixels of a rotated image come from, and the way back.

Angles are counter-clockwise as seen on a screen, rows counting downwards, in degrees; pixel centres lie at
whole numbers. The geometry is that of `skimage.transform.rotate`: the centre is (side - 1) / 2. OpenCV's
`getRotationMatrix2D((width / 2, height / 2), ...)` turns about a place half a pixel further.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.kernels.compiling import compiled


def rotated_shape(shape_yx: Sequence[int], angle_deg: float) -> tuple[int, int]:
    """Shape (y, x) in px of the smallest upright box that holds the rotated image.

    Parameters
    ----------
    shape_yx
        Shape of the image, px.
    angle_deg
        Degrees, counter-clockwise.
    """
    corners_yx = _rotated_corners(shape_yx, angle_deg)
    height, width = np.around(np.ptp(corners_yx, axis=0) + 1).astype(int)
    return int(height), int(width)


def rotation_matrix(shape_yx: Sequence[int], angle_deg: float, grow: bool = True) -> NDArray[np.float64]:
    """Affine 3 x 3 that takes (y, x, 1) of the rotated image to (y, x, 1) of the image before, px.

    Parameters
    ----------
    shape_yx
        Shape of the image before, px.
    angle_deg
        Degrees, counter-clockwise.
    grow
        Whether the rotated image was enlarged to hold every pixel.
    """
    corner_yx = _rotated_corners(shape_yx, angle_deg).min(axis=0) if grow else np.zeros(2)
    centre_yx = _centre(shape_yx)
    turn = _turn(angle_deg)
    matrix = np.eye(3)
    matrix[:2, :2] = turn
    matrix[:2, 2] = turn @ (corner_yx - centre_yx) + centre_yx
    return matrix


def affine_to_raw(shape_yx: Sequence[int], angle_deg: float, grow: bool = True) -> dict[str, Any]:
    """`rotation_matrix` as metadata holds it, in the words of NGFF's transformations (RFC-5).

    Parameters
    ----------
    shape_yx, angle_deg, grow
        As in `rotation_matrix`.

    Returns
    -------
    Plain values. "affine" is [[yy, yx, y0], [xy, xx, x0]]: raw y = yy * clean y + yx * clean x + y0, raw x =
    xy * clean y + xx * clean x + x0, in px of the largest level, pixel centres at whole numbers.
    """
    matrix = rotation_matrix(shape_yx, angle_deg, grow)
    return {
        "type": "affine",
        "input": "clean",
        "output": "raw",
        "axes": ["y", "x"],
        "unit": "px",
        "affine": matrix[:2].tolist(),
    }


def to_raw_yx(
    points_yx: NDArray[np.floating], shape_yx: Sequence[int], angle_deg: float, grow: bool = True
) -> NDArray[np.float64]:
    """Take points of the rotated image to the image before.

    Parameters
    ----------
    points_yx
        Shape (n, 2), y x in px of the rotated image.
    shape_yx
        Shape of the image before, px.
    angle_deg, grow
        As in `rotation_matrix`.

    Returns
    -------
    Shape (n, 2), y x in px of the image before. Not rounded, and not confined to the image.
    """
    matrix = rotation_matrix(shape_yx, angle_deg, grow)
    raw_yx: NDArray[np.float64] = np.asarray(points_yx, float) @ matrix[:2, :2].T + matrix[:2, 2]
    return raw_yx


def to_clean_yx(
    points_yx: NDArray[np.floating], shape_yx: Sequence[int], angle_deg: float, grow: bool = True
) -> NDArray[np.float64]:
    """Take points of the image before to the rotated image: the way back of `to_raw_yx`.

    Parameters
    ----------
    points_yx
        Shape (n, 2), y x in px of the image before.
    shape_yx, angle_deg, grow
        As in `to_raw_yx`.
    """
    matrix = rotation_matrix(shape_yx, angle_deg, grow)
    # A rotation's inverse is its transpose.
    clean_yx: NDArray[np.float64] = (np.asarray(points_yx, float) - matrix[:2, 2]) @ matrix[:2, :2]
    return clean_yx


def valid_region(
    shape_yx: Sequence[int],
    angle_deg: float,
    *,
    grow: bool = True,
    region: tuple[slice, slice] | None = None,
) -> NDArray[np.bool_]:
    """Tell the pixels of the rotated image that stem from the image, without any part from outside.

    Parameters
    ----------
    shape_yx
        Shape of the image before, px.
    angle_deg
        Degrees, counter-clockwise.
    grow
        Whether the rotated image was enlarged to hold every pixel.
    region
        Slices (y, x) of the rotated image, with start and stop; None for all of it.

    Returns
    -------
    Boolean mask, axes y x, of the region's shape.
    """
    height, width = rotated_shape(shape_yx, angle_deg) if grow else shape_yx
    rows, columns = region or (slice(0, height), slice(0, width))
    inside = np.empty((rows.stop - rows.start, columns.stop - columns.start), np.bool_)
    matrix = rotation_matrix(shape_yx, angle_deg, grow)
    _mark_inside(inside, matrix, rows.start, columns.start, shape_yx[0] - 1 + 1e-6, shape_yx[1] - 1 + 1e-6)
    return inside


@compiled
def _mark_inside(inside: Any, matrix: Any, top: int, left: int, last_y: float, last_x: float) -> None:
    for row in range(inside.shape[0]):
        y = float(top + row)
        for column in range(inside.shape[1]):
            x = float(left + column)
            source_y = matrix[0, 0] * y + matrix[0, 1] * x + matrix[0, 2]
            source_x = matrix[1, 0] * y + matrix[1, 1] * x + matrix[1, 2]
            inside[row, column] = -1e-6 < source_y < last_y and -1e-6 < source_x < last_x


def _turn(angle_deg: float) -> NDArray[np.float64]:
    """Rotation of (y, x) offsets from the rotated image back to the image before, rows counting downwards."""
    quarter, rest = divmod(angle_deg, 90.0)
    if rest == 0:  # exact for quarter turns, where cos would leave 6e-17
        cos, sin = [(1.0, 0.0), (0.0, 1.0), (-1.0, 0.0), (0.0, -1.0)][int(quarter) % 4]
    else:
        cos, sin = math.cos(math.radians(angle_deg)), math.sin(math.radians(angle_deg))
    return np.array([[cos, sin], [-sin, cos]])


def _centre(shape_yx: Sequence[int]) -> NDArray[np.float64]:
    return (np.asarray(shape_yx, float) - 1) / 2


def _rotated_corners(shape_yx: Sequence[int], angle_deg: float) -> NDArray[np.float64]:
    """Corners (y, x) of the image after the rotation about its centre."""
    bottom, right = shape_yx[0] - 1, shape_yx[1] - 1
    corners_yx = np.array([[0, 0], [0, right], [bottom, 0], [bottom, right]], float)
    centre_yx = _centre(shape_yx)
    return (corners_yx - centre_yx) @ _turn(angle_deg) + centre_yx
