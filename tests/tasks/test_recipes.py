import pytest

from tasks.kernels.density import Density
from tasks.kernels.recipe import Denoising, Equalisation
from tasks.preprocess_settings import (
    Clahe,
    Estimated,
    Limits,
    Off,
    Percentiles,
    PreprocessSettings,
    RotationEstimated,
    TotalVariation,
)
from tasks.recipes import recipe_of

SPARSE = Density(cells=5, covered_px=100, area_px=10_000, pixel_size_um=0.5)
DENSE = Density(cells=500, covered_px=6000, area_px=10_000, pixel_size_um=0.5)


def recipe(density=SPARSE, angle_deg=None, **changed):
    settings = PreprocessSettings(**changed)
    return recipe_of(settings, angle_deg, settings.profiles.dense, density)


@pytest.mark.parametrize(("interpolation", "order"), [("nearest", 0), ("linear", 1), ("cubic", 3)])
@pytest.mark.parametrize("grow", [True, False])
def test_how_frames_are_turned(interpolation, order, grow):
    made = recipe(angle_deg=7.0, rotation=RotationEstimated(interpolation=interpolation, grow=grow))
    assert (made.angle_deg, made.order, made.grow) == (7.0, order, grow)


def test_the_profile_fills_in_what_is_not_set():
    profile = PreprocessSettings().profiles.dense
    assert recipe().equalisation == Equalisation(profile.kernel_px, profile.clip_limit)
    assert recipe().denoising == Denoising(profile.tv_weight)
    set_ = recipe(contrast=Clahe(kernel_px=20, clip_limit=0.3, nbins=64), denoise=TotalVariation(weight=0.3))
    assert set_.equalisation == Equalisation(20, 0.3, 64)
    assert set_.denoising == Denoising(0.3)


def test_few_cells_are_not_cut_away():
    assert recipe(DENSE).percentiles == (0, 98.5)
    assert recipe(SPARSE).percentiles == (0, pytest.approx(99.95)), "at most 5 % of the 1 % they cover"
    assert recipe(SPARSE, clip=Estimated(low=2, high=99, share=1)).percentiles == (2, 99)


def test_limits_are_given_as_percentiles_or_as_values():
    assert recipe(clip=Percentiles(low=1, high=97)).percentiles == (1, 97)
    values = recipe(clip=Limits(low=0.2, high=0.5))
    assert (values.percentiles, values.limits) == (None, (0.2, 0.5))
    with pytest.raises(ValueError, match="expected more than low"):
        Limits(low=0.5, high=0.5)


def test_every_step_can_be_off():
    off = recipe(rotation=Off(), contrast=Off(), clip=Off(), denoise=Off())
    steps = (off.angle_deg, off.grooves, off.background, off.equalisation, off.percentiles, off.limits)
    assert steps == (None,) * 6
    assert (off.denoising, off.sigmoid) == (None, None)
