"""From the settings of preprocess, and what was seen of a recording, to what is done to its frames."""

from tasks.kernels.density import Density
from tasks.kernels.preprocessing import cleanup_halo_px
from tasks.kernels.recipe import Denoising, Equalisation, Grooves, Recipe, TopHat
from tasks.kernels.tv import tv_halo_px
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
    rotation = settings.rotation
    return Recipe(
        angle_deg=angle_deg,
        order=ORDERS[rotation.interpolation] if isinstance(rotation, Rotation) else 1,
        grow=rotation.grow if isinstance(rotation, Rotation) else True,
        grooves=_grooves(settings),
        background=_background(settings),
        equalisation=_equalisation(settings.contrast, profile),
        percentiles=_percentiles(settings.clip, density),
        limits=(settings.clip.low, settings.clip.high) if isinstance(settings.clip, Limits) else None,
        denoising=_denoising(settings.denoise, profile),
        sigmoid=_sigmoid(settings.sigmoid),
    )


def largest_halo_px(settings: PreprocessSettings) -> int:
    """Return how many pixels around a part its cleaning may need, whatever profile is chosen."""
    denoise = settings.denoise
    iterations = 0 if isinstance(denoise, Off) else getattr(denoise, "max_num_iter", Denoising().max_num_iter)
    steps = Recipe(grooves=_grooves(settings), background=_background(settings))
    return cleanup_halo_px(steps) + (tv_halo_px(iterations) if iterations else 0)


def _grooves(settings: PreprocessSettings) -> Grooves | None:
    chosen = settings.grooves
    return None if isinstance(chosen, Off) else Grooves(chosen.threshold, chosen.radius_px)


def _background(settings: PreprocessSettings) -> TopHat | None:
    chosen = settings.background
    return None if isinstance(chosen, Off) else TopHat(chosen.shape, chosen.radius_px)


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
