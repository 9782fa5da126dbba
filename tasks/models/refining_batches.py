"""What a segmentation network learns from: labelled pictures brought to its scale, and batches of views."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from tasks.kernels.augmentation import Jitter, View, random_view
from tasks.kernels.checks import finite_float32
from tasks.kernels.flow_targets import flows_from_labels

FLOW_SCALE = 5.0
"""Networks of Cellpose's kind are trained on this many times the unit flows."""
MARGIN_PX = 24
"""Views are drawn this much larger, so that a nucleus cut by a crop still has its own middle."""
HIGH_PERCENTILES = (99.0, 99.5, 99.9)
"""What counts as 1 in a picture, drawn at random: how much of it nuclei cover is not known beforehand."""
LOW_PERCENTILE = 1.0


@dataclass(frozen=True)
class LabelledPlane:
    """A picture and its nuclei.

    Attributes
    ----------
    yx, labels_yx
        Image, any numeric dtype, and labels, any integer type (0 is background), of one shape, axes y x.
    group
        Chip or field of view; what is held out is held out by group.
    name
        What messages call it.
    """

    yx: NDArray[np.generic]
    labels_yx: NDArray[np.integer]
    group: str = ""
    name: str = ""

    def __post_init__(self) -> None:
        if self.yx.ndim != 2 or self.yx.shape != self.labels_yx.shape:
            raise ValueError(
                f"{self.name}: expected an image and labels of one shape, axes y x, found {self.yx.shape} "
                f"and {self.labels_yx.shape}"
            )


@dataclass(frozen=True)
class ScaledPlane:
    """A picture whose nuclei have the network's diameter.

    Attributes
    ----------
    image_yx
        Float32, 0 at its low percentile and 1 at the least of the high ones.
    labels_yx
        Int32.
    highs
        What the other high percentiles are in units of the first.
    nuclei
        How many there are.
    """

    image_yx: NDArray[np.float32]
    labels_yx: NDArray[np.int32]
    highs: tuple[float, ...]
    nuclei: int


def median_diameter_px(labels_yx: NDArray[np.integer]) -> float:
    """Median over the nuclei of the diameter of a disc of their area, px; 0 where there is none."""
    areas = np.unique(labels_yx[labels_yx > 0], return_counts=True)[1]
    return float(np.median(np.sqrt(areas * 4 / np.pi))) if areas.size else 0.0


def scaled_shape(plane: LabelledPlane, diameter_px: float) -> tuple[int, int]:
    """Shape of a picture whose nuclei were brought to a diameter; its own where there are none."""
    own_px = median_diameter_px(plane.labels_yx)
    factor = diameter_px / own_px if own_px else 1.0
    height, width = (max(1, round(side * factor)) for side in plane.labels_yx.shape)
    return height, width


def scaled(plane: LabelledPlane, diameter_px: float) -> ScaledPlane:
    """Bring a picture's intensities to [0, 1] or so and its nuclei to a diameter.

    Raises
    ------
    ValueError
        A value is not finite.
    """
    image = finite_float32(plane.yx, plane.name or "yx")
    ids, dense = np.unique(plane.labels_yx, return_inverse=True)
    labels = (dense.reshape(image.shape) + (ids[0] > 0)).astype(np.int32)
    low, *highs = np.percentile(image, (LOW_PERCENTILE, *HIGH_PERCENTILES))
    spans = np.maximum(np.array(highs) - low, 1e-6 * max(abs(low), 1.0))
    image = (image - np.float32(low)) / np.float32(spans[0])
    height, width = scaled_shape(plane, diameter_px)
    size = (width, height)
    smooth = cv2.INTER_AREA if image.size > height * width else cv2.INTER_LINEAR
    return ScaledPlane(
        np.asarray(cv2.resize(image, size, interpolation=smooth), np.float32),
        np.asarray(
            cv2.resize(labels.astype(np.float32), size, interpolation=cv2.INTER_NEAREST), np.float32
        ).astype(np.int32),
        tuple(float(span / spans[0]) for span in spans),
        int(labels.max()),
    )


@dataclass(frozen=True)
class Batch:
    """Views for one step.

    Attributes
    ----------
    images
        Float32, (n, channels, y, x); channels beyond the first are 0.
    targets
        Float32, (n, 4, y, x): flow along y and x times `FLOW_SCALE`, 1 in nuclei, 1 in the picture.
    """

    images: torch.Tensor
    targets: torch.Tensor


def draw_batch(
    planes: Sequence[ScaledPlane],
    *,
    batch_size: int,
    crop_px: int,
    channels: int,
    jitter: Jitter,
    rng: np.random.Generator,
) -> Batch:
    """Draw views of pictures; one with four times the nuclei comes twice as often."""
    chances = np.sqrt([1.0 + plane.nuclei for plane in planes])
    chosen = rng.choice(len(planes), size=batch_size, p=chances / chances.sum())
    images = np.zeros((batch_size, channels, crop_px, crop_px), np.float32)
    targets = np.zeros((batch_size, 4, crop_px, crop_px), np.float32)
    for k, index in enumerate(chosen):
        plane = planes[index]
        image = plane.image_yx / np.float32(rng.choice(plane.highs))
        view = random_view(image, plane.labels_yx, crop_px + 2 * MARGIN_PX, jitter, rng)
        core = (slice(MARGIN_PX, MARGIN_PX + crop_px),) * 2
        images[k, 0] = view.image_yx[core]
        targets[k] = _targets(view)[:, *core]
    return Batch(torch.from_numpy(images), torch.from_numpy(targets))


def _targets(view: View) -> NDArray[np.float32]:
    flows = FLOW_SCALE * flows_from_labels(view.labels_yx)
    return np.stack([*flows, view.labels_yx > 0, view.inside_yx]).astype(np.float32)
