"""From the settings of preprocess, and what was seen of a recording, to what is done to its frames."""

from tasks.kernels.density import Density
from tasks.kernels.recipe import Denoising, Equalisation, Grooves, Recipe, TopHat
from tasks.preprocess_settings import (
    ByProfile,
    Clahe,
    Estimated,
    Limits,
    Off,
    Percentiles,
    PreprocessSettings,
    Profile,
    Rotation,
    Sigmoid,
    TotalVariation,
)

ORDERS = {"nearest": 0, "linear": 1, "cubic": 3}


def recipe_of(
    settings: PreprocessSettings, angle_deg: float | None, profile: Profile, density: Density
) -> Recipe:
    """Return the recipe of a recording.

    Parameters
    ----------
    angle_deg
        By which it is turned; None: not.
    profile
        Of its density, for the steps that are set so.
    density
        As estimated, for clipping.
    """
    rotation, grooves, background = settings.rotation, settings.grooves, settings.background
    return Recipe(
        angle_deg=angle_deg,
        order=ORDERS[rotation.interpolation] if isinstance(rotation, Rotation) else 1,
        grow=rotation.grow if isinstance(rotation, Rotation) else True,
        grooves=None if isinstance(grooves, Off) else Grooves(grooves.threshold, grooves.radius_px),
        background=None if isinstance(background, Off) else TopHat(background.shape, background.radius_px),
        equalisation=_equalisation(settings.contrast, profile),
        percentiles=_percentiles(settings.clip, density),
        limits=(settings.clip.low, settings.clip.high) if isinstance(settings.clip, Limits) else None,
        denoising=_denoising(settings.denoise, profile),
        sigmoid=_sigmoid(settings.sigmoid),
    )


def _equalisation(contrast: ByProfile | Clahe | Off, profile: Profile) -> Equalisation | None:
    if isinstance(contrast, ByProfile):
        return Equalisation(profile.kernel_px, profile.clip_limit)
    if isinstance(contrast, Clahe):
        return Equalisation(contrast.kernel_px, contrast.clip_limit, contrast.nbins)
    return None


def _percentiles(
    clip: Estimated | Percentiles | Limits | Off, density: Density
) -> tuple[float, float] | None:
    if isinstance(clip, Estimated):
        return clip.low, max(clip.high, 100 * (1 - clip.share * density.covered))
    return (clip.low, clip.high) if isinstance(clip, Percentiles) else None


def _denoising(denoise: ByProfile | TotalVariation | Off, profile: Profile) -> Denoising | None:
    if isinstance(denoise, ByProfile):
        return Denoising(profile.tv_weight)
    if isinstance(denoise, TotalVariation):
        return Denoising(denoise.weight, denoise.eps, denoise.max_num_iter)
    return None


def _sigmoid(sigmoid: Sigmoid | Off) -> tuple[float, float] | None:
    return (sigmoid.cutoff, sigmoid.gain) if isinstance(sigmoid, Sigmoid) else None
