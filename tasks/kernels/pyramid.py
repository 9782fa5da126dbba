"""Halving an image or its labels for the next level of a pyramid."""

from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from tasks.kernels.compiling import compiled

Number = TypeVar("Number", bound=np.generic)


def downsample_mean(image: NDArray[Number]) -> NDArray[Number]:
    """Halve the last two axes by the mean of 2 x 2 pixels.

    Parameters
    ----------
    image
        Axes ... y x, integers of up to 32 bits, float32 or float64.

    Returns
    -------
    Same dtype, sides halved and rounded up; at an odd border the mean of the pixels that are there. Integers
    are rounded half to even. A region that starts at even y and x gives the same pixels as the whole.

    Raises
    ------
    ValueError
        If there are less than two axes.
    TypeError
        If it is of another type.
    """
    _check_axes(image)
    whole = image.dtype.kind in "iu"
    if image.dtype.itemsize > 4 if whole else image.dtype.name not in ("float32", "float64"):
        raise TypeError(
            f"expected integers of up to 32 bits, float32 or float64, found {image.dtype}; convert the image"
        )
    height, width = image.shape[-2:]
    planes = image.reshape(-1, height, width)
    halved = np.empty((len(planes), -(-height // 2), -(-width // 2)), image.dtype)
    average = _mean_of_integers if whole else _mean_of_floats
    for yx, half in zip(planes, halved, strict=True):
        average(yx, half)
    return halved.reshape(*image.shape[:-2], *halved.shape[-2:])


@compiled
def _mean_of_integers(yx: NDArray[Any], half: NDArray[Any]) -> None:
    height, width = yx.shape
    for y in range(half.shape[0]):
        upper, lower = yx[2 * y], yx[min(2 * y + 1, height - 1)]
        for x in range(width // 2):
            total = (
                np.int64(upper[2 * x])
                + np.int64(upper[2 * x + 1])
                + np.int64(lower[2 * x])
                + np.int64(lower[2 * x + 1])
            )
            half[y, x] = (total + 1 + ((total >> 2) & 1)) >> 2  # a quarter, half to even
        if width % 2:
            total = 2 * (np.int64(upper[width - 1]) + np.int64(lower[width - 1]))
            half[y, width // 2] = (total + 1 + ((total >> 2) & 1)) >> 2


@compiled
def _mean_of_floats(yx: NDArray[Any], half: NDArray[Any]) -> None:
    height, width = yx.shape
    for y in range(half.shape[0]):
        upper, lower = yx[2 * y], yx[min(2 * y + 1, height - 1)]
        for x in range(half.shape[1]):
            left, right = 2 * x, min(2 * x + 1, width - 1)
            total = (
                np.float64(upper[left])
                + np.float64(upper[right])
                + np.float64(lower[left])
                + np.float64(lower[right])
            )
            half[y, x] = total / 4


def downsample_labels(labels: NDArray[Number]) -> NDArray[Number]:
    """Halve the last two axes of a label image by the most frequent label of 2 x 2 pixels.

    Parameters
    ----------
    labels
        Axes ... y x, integers, 0 is background.

    Returns
    -------
    Same dtype, sides halved and rounded up. Of equally frequent labels the largest wins, so thin cells
    outlive background. A region that starts at even y and x gives the same pixels as the whole.

    Raises
    ------
    ValueError
        If there are less than two axes.
    """
    stack = np.sort(_quarters(labels), axis=0)
    counts = (stack[:, None] == stack[None]).sum(axis=1)
    winner = 3 - counts[::-1].argmax(axis=0)
    chosen: NDArray[Number] = np.take_along_axis(stack, winner[None], axis=0)[0]
    return chosen


def _quarters(image: NDArray[Number]) -> NDArray[Number]:
    """The four pixels of each square, along a new first axis."""
    _check_axes(image)
    # An odd border is doubled, which does not change who is most frequent.
    odd = [(0, 0)] * (image.ndim - 2) + [(0, side % 2) for side in image.shape[-2:]]
    even = np.pad(image, odd, mode="edge")
    return np.stack([even[..., row::2, column::2] for row in (0, 1) for column in (0, 1)])


def _check_axes(image: NDArray[Any]) -> None:
    if image.ndim < 2:
        raise ValueError(
            f"expected axes ... y x, found shape {image.shape}; a pyramid halves the last two axes"
        )
