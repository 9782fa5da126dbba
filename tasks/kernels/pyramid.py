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
    mean = _quarters(image).astype(np.float64).mean(axis=0)
    if image.dtype.kind in "iu":
        mean = np.rint(mean)
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
    stack = np.sort(_quarters(labels), axis=0)
    counts = (stack[:, None] == stack[None]).sum(axis=1)
    winner = 3 - counts[::-1].argmax(axis=0)
    chosen: NDArray[Number] = np.take_along_axis(stack, winner[None], axis=0)[0]
    return chosen


def _quarters(image: NDArray[Number]) -> NDArray[Number]:
    """The four pixels of each square, along a new first axis."""
    if image.ndim < 2:
        raise ValueError(
            f"expected axes ... y x, found shape {image.shape}; a pyramid halves the last two axes"
        )
    # An odd border is doubled, which changes neither a mean nor who is most frequent.
    odd = [(0, 0)] * (image.ndim - 2) + [(0, side % 2) for side in image.shape[-2:]]
    even = np.pad(image, odd, mode="edge")
    return np.stack([even[..., row::2, column::2] for row in (0, 1) for column in (0, 1)])
