"""What is done to a frame on its way from raw to clean, and what parts of one must know of the whole."""

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from tasks.kernels.levels import LEVELS


@dataclass(frozen=True)
class Equalisation:
    """CLAHE: side of its squares in px (None: a tenth of the frame's height), limit of its contrast, bins."""

    kernel_px: int | None = None
    clip_limit: float = 0.01
    nbins: int = 256


@dataclass(frozen=True)
class Denoising:
    """Total variation: its strength, and when it stops."""

    weight: float = 0.02
    eps: float = 2e-4
    max_num_iter: int = 200


@dataclass(frozen=True)
class Grooves:
    """Removal of groove lines: what is below this value is replaced by the mean of such pixels around, px."""

    threshold: float
    radius_px: int = 30


@dataclass(frozen=True)
class TopHat:
    """Removal of the background: which top-hat, and the radius of its disc in px."""

    shape: Literal["black", "white"] = "black"
    radius_px: int = 15


@dataclass(frozen=True)
class Recipe:
    """What is done to a frame, in this order. None leaves a step out.

    Attributes
    ----------
    angle_deg
        Counter-clockwise rotation that makes the grooves vertical, degrees.
    order
        Interpolation of the rotation: 0 nearest, 1 linear, 3 cubic.
    grow
        Whether the frame grows to hold every pixel, or keeps its shape.
    grooves
        Removal of what is darker than nuclei.
    background
        Removal of the background by a top-hat.
    equalisation
        CLAHE.
    percentiles
        Low and high percentile, of the normalised values, to which values are clipped.
    limits
        Low and high value in [0, 1] to which they are clipped, in place of percentiles.
    denoising
        Total variation.
    sigmoid
        Cutoff and gain of a last change of contrast.
    """

    angle_deg: float | None = None
    order: int = 1
    grow: bool = True
    grooves: Grooves | None = None
    background: TopHat | None = None
    equalisation: Equalisation | None = field(default_factory=Equalisation)
    percentiles: tuple[float, float] | None = (0.0, 98.5)
    limits: tuple[float, float] | None = None
    denoising: Denoising | None = field(default_factory=Denoising)
    sigmoid: tuple[float, float] | None = None


@dataclass(frozen=True)
class Facts:
    """What a part must know of the whole frame.

    Attributes
    ----------
    low, high
        Range of the values once turned.
    maps
        Of every tile of the equalisation, axes tile y, tile x, bin.
    level_range
        Lowest and highest level once evened.
    limits
        Levels to which those beyond are set.
    iterations
        Of the denoising.
    """

    low: float
    high: float
    maps: NDArray[np.uint16] | None = None
    level_range: tuple[float, float] = (0.0, LEVELS - 1.0)
    limits: tuple[float, float] | None = None
    iterations: int = 1
