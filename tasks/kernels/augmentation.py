"""Random views of a labelled picture: turned, stretched, flipped and lit otherwise, the labels with it."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.float32]
Labels = NDArray[np.int32]


@dataclass(frozen=True)
class Jitter:
    """How far views may differ from the picture; all zeros give plain crops.

    Attributes
    ----------
    scale
        Spread of the logarithm of the magnification (normal, cut at twice that).
    stretch
        Largest share by which one axis is magnified more than the other.
    turn_deg
        Largest angle that the picture is turned by.
    flip
        Mirror half of the views.
    light
        Strength of changes of gamma, contrast, offset, unevenness, blur and noise, in [0, 1].
    """

    scale: float = 0.35
    stretch: float = 0.15
    turn_deg: float = 180.0
    flip: bool = True
    light: float = 1.0


@dataclass(frozen=True)
class View:
    """A square view; axes y x. `inside` tells the pixels that lie in the picture."""

    image_yx: Image
    labels_yx: Labels
    inside_yx: NDArray[np.bool_]


def random_view(
    image_yx: Image, labels_yx: Labels, edge_px: int, jitter: Jitter, rng: np.random.Generator
) -> View:
    """Draw a view of a labelled picture.

    Parameters
    ----------
    image_yx, labels_yx
        The picture, float32 with background near 0 and nuclei near 1, and its labels, axes y x.
    edge_px
        Edge of the view.
    jitter
        How views vary.
    rng
        The only source of randomness.

    Returns
    -------
    The view. Beyond the picture the image is mirrored, labels and `inside` are 0.
    """
    matrix = _random_map(image_yx.shape, edge_px, jitter, rng)
    size = (edge_px, edge_px)
    inverse = cv2.WARP_INVERSE_MAP
    image = cv2.warpAffine(
        image_yx, matrix, size, flags=cv2.INTER_LINEAR | inverse, borderMode=cv2.BORDER_REFLECT_101
    )
    # OpenCV warps no 32-bit integers; floats hold labels up to 2^24 exactly.
    moved = cv2.warpAffine(
        (labels_yx + 1).astype(np.float32), matrix, size, flags=cv2.INTER_NEAREST | inverse, borderValue=0
    )
    labels = np.maximum(moved.astype(np.int32) - 1, 0)
    return View(vary_light(np.asarray(image, np.float32), jitter.light, rng), labels, moved > 0)


def vary_light(image_yx: Image, strength: float, rng: np.random.Generator) -> Image:
    """Vary gamma, unevenness, blur, noise, contrast and offset, each by chance and up to `strength`."""
    if strength <= 0:
        return image_yx
    image = image_yx
    if rng.random() < 0.5:
        image = _with_gamma(image, float(np.exp(strength * rng.normal(0, 0.35))))
    if rng.random() < 0.3:
        image = image * _uneven(image.shape, strength, rng)
    if rng.random() < 0.3:
        image = np.asarray(cv2.GaussianBlur(image, (0, 0), strength * rng.uniform(0.3, 1.5)), np.float32)
    if rng.random() < 0.4:
        noise = rng.standard_normal(image.shape, np.float32) * np.sqrt(np.clip(image, 0.1, None))
        image = image + np.float32(strength * rng.uniform(0.01, 0.15)) * noise
    contrast = np.exp(strength * rng.normal(0, 0.3))
    offset = strength * rng.normal(0, 0.07)
    return np.asarray(image * contrast + offset, np.float32)


def _random_map(
    shape: tuple[int, ...], edge_px: int, jitter: Jitter, rng: np.random.Generator
) -> NDArray[np.float64]:
    """2 x 3, (x, y, 1) of the view to (x, y) of the picture, px: its middle goes somewhere inside."""
    angle = np.deg2rad(rng.uniform(-1, 1) * jitter.turn_deg)
    zoom = np.exp(jitter.scale * np.clip(rng.standard_normal(), -2, 2))
    stretch = np.exp(rng.uniform(-1, 1) * jitter.stretch / 2)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    linear = np.diag([1 / (zoom * stretch), stretch / zoom]) @ turn
    if jitter.flip and rng.random() < 0.5:
        linear[:, 0] *= -1
    height, width = shape
    # The middle keeps a quarter of the view from the border where the picture is large enough.
    sides = np.array([width, height], np.float64)
    room = np.maximum(sides - edge_px / (2 * zoom), 0)
    middle = sides / 2 + rng.uniform(-0.5, 0.5, 2) * room
    shift = middle - linear @ np.full(2, (edge_px - 1) / 2)
    return np.column_stack([linear, shift])


def _with_gamma(image: Image, gamma: float) -> Image:
    """Brightness to a power where it is positive; 0 and 1 stay."""
    return np.where(image > 0, np.power(np.maximum(image, 0), gamma), image).astype(np.float32)


def _uneven(shape: tuple[int, ...], strength: float, rng: np.random.Generator) -> Image:
    """A smooth field of light around 1."""
    coarse = 1 + strength * rng.uniform(-0.5, 0.5, (3, 3)).astype(np.float32)
    return np.asarray(cv2.resize(coarse, shape[::-1], interpolation=cv2.INTER_LINEAR), np.float32)
