"""Halving an image or its labels for the next level of a pyramid."""

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Number = TypeVar("Number", bound=np.generic)


def downsample_mean(image: NDArray[Number]) -> NDArray[Number]:
    """Halve the last two axes by the mean of 2 x 2 pixels.

    Parameters
    ----------
    image
        Axes ... y x, integers or floats.

    Returns
    -------
    Same dtype, sides halved and rounded up; at an odd border the mean of the pixels that are there. Integers
    are rounded half to even. A region that starts at even y and x gives the same pixels as the whole.

    Raises
    ------
    ValueError
        If there are less than two axes.
    """
    parts = _quarters(image)
    shape = parts[0].shape
    total = np.zeros(shape, np.float64)
    count = np.zeros(shape[-2:], np.float64)
    for part in parts:
        height, width = part.shape[-2:]
        total[..., :height, :width] += part.astype(np.float64)
        count[:height, :width] += 1
    mean = total / count
    if image.dtype.kind in "iu":
        np.rint(mean, out=mean)
    halved: NDArray[Number] = mean.astype(image.dtype)
    return halved


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
    first, *others = _quarters(labels)
    shape = first.shape
    padded = [first]
    for part in others:
        whole = first.copy()
        whole[..., : part.shape[-2], : part.shape[-1]] = part
        padded.append(whole)
    stack = np.sort(np.stack(padded), axis=0)
    counts = (stack[:, None] == stack[None]).sum(axis=1)
    winner = 3 - counts[::-1].argmax(axis=0)
    chosen: NDArray[Number] = np.take_along_axis(stack, winner[None], axis=0).reshape(shape)
    return chosen


def _quarters(image: NDArray[Number]) -> list[NDArray[Number]]:
    """The four pixels of each square: top left, top right, bottom left, bottom right."""
    if image.ndim < 2:
        raise ValueError(
            f"expected axes ... y x, found shape {image.shape}; a pyramid halves the last two axes"
        )
    return [image[..., row::2, column::2] for row in (0, 1) for column in (0, 1)]
