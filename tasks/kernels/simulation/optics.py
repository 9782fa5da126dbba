"""Grooves, light, blur and camera: from photons to the counts of an image.

Noise follows the EMVA 1288 model of a linear camera: Poisson photons, Gaussian read noise, gain and offset.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Array = NDArray[np.float64]

GROOVE_WIDTH_UM = 5.0
GROOVE_PERIOD_UM = 10.0
_EDGE_UM = 0.35
_READ_NOISE_PHOTONS = 2.0
_BLEACHING_PER_FRAME = 0.01


@dataclass(frozen=True)
class Optics:
    """How one position is lit and recorded.

    Attributes
    ----------
    background_photons, lamp : float
        Photons of the empty chip in a pixel; factor on all light.
    groove_contrast : float
        By how much a groove is darker than a ridge, as a share of the background.
    falloff, bright_y, bright_x : float
        Loss of light half a field away from the brightest point; where that is, -1 to 1 across the field.
    blur_um : float
        Standard deviation of the point spread function.
    counts_per_photon, offset_counts : float
        Gain and offset of the camera.
    """

    background_photons: float
    lamp: float
    groove_contrast: float
    falloff: float
    bright_y: float
    bright_x: float
    blur_um: float
    counts_per_photon: float
    offset_counts: float


def draw_optics(groove_contrast: float, rng: np.random.Generator) -> Optics:
    """Draw a position's optics: nuclei stand 8 to 20 noise deviations above the background."""
    return Optics(
        background_photons=rng.uniform(250.0, 400.0),
        lamp=rng.uniform(0.85, 1.2),
        groove_contrast=groove_contrast,
        falloff=rng.uniform(0.05, 0.2),
        bright_y=rng.uniform(-0.4, 0.4),
        bright_x=rng.uniform(-0.4, 0.4),
        blur_um=rng.uniform(0.4, 0.65),
        counts_per_photon=rng.uniform(1.5, 3.0),
        offset_counts=rng.uniform(100.0, 400.0),
    )


def groove_profile(u_um: Array) -> Array:
    """1 in a groove, 0 on a ridge; grooves lie between u = 0 and 5 um, 10 and 15 ...; walls 0.35 um soft."""
    from_middle_um = np.abs(
        (u_um - GROOVE_WIDTH_UM / 2 + GROOVE_PERIOD_UM / 2) % GROOVE_PERIOD_UM - GROOVE_PERIOD_UM / 2
    )
    return np.asarray(0.5 + 0.5 * np.tanh((GROOVE_WIDTH_UM / 2 - from_middle_um) / _EDGE_UM))


def illumination(shape_yx: tuple[int, ...], optics: Optics) -> Array:
    """Relative light in each pixel, (y, x): a paraboloid around the position's brightest point."""
    y = np.linspace(-1.0, 1.0, shape_yx[0])[:, None] - optics.bright_y
    x = np.linspace(-1.0, 1.0, shape_yx[1])[None, :] - optics.bright_x
    return np.asarray(1.0 - optics.falloff * (y**2 + x**2))


def record_frame(
    nuclei_yx: Array,
    groove_yx: Array,
    *,
    optics: Optics,
    pixel_size_um: float,
    frame: int,
    rng: np.random.Generator,
) -> NDArray[np.uint16]:
    """Turn light into the counts of one image.

    Parameters
    ----------
    nuclei_yx, groove_yx : (y, x) float64
        Photons of the nuclei above the background; the groove profile, 0 to 1.
    optics : Optics
        The position's optics.
    pixel_size_um : float
        Edge of a pixel.
    frame : int
        Time point; the nuclei bleach by one percent a frame.
    rng : numpy.random.Generator
        Where the noise comes from.

    Returns
    -------
    (y, x) uint16
        counts = offset + gain (Poisson(lamp illumination blur(light)) + read noise)
    """
    background_yx = optics.background_photons * (1.0 - optics.groove_contrast * groove_yx)
    light_yx = background_yx + nuclei_yx * (1.0 - _BLEACHING_PER_FRAME) ** frame
    sharp_yx = ndimage.gaussian_filter(light_yx, optics.blur_um / pixel_size_um, mode="nearest")
    photons_yx = rng.poisson(optics.lamp * illumination(nuclei_yx.shape, optics) * sharp_yx)
    electrons_yx = photons_yx + rng.normal(0.0, _READ_NOISE_PHOTONS, nuclei_yx.shape)
    counts_yx = optics.offset_counts + optics.counts_per_photon * electrons_yx
    return np.clip(np.rint(counts_yx), 0, np.iinfo(np.uint16).max).astype(np.uint16)
