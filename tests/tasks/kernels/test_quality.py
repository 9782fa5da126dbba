from dataclasses import fields, replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from skimage import filters, metrics

from tasks.kernels.preprocessing import preprocess_frame
from tasks.kernels.quality import (
    IDENTICAL_DB,
    Quality,
    flag_frames,
    is_full_scale,
    quality_numbers,
)
from tasks.kernels.quality_sums import HALO_PX, frame_sums, similarity_sums
from tasks.kernels.recipe import Recipe
from tasks.kernels.simulation.scene import simulate_field

FRAMES = 20
BLURRED, EMPTY, SATURATED = 4, 11, 17


def raw_quality(yx):
    low, high = float(yx.min()), float(yx.max())
    sums = frame_sums(yx, low=low, high=high, zero_is_outside=False)
    return quality_numbers(sums, top_is_saturated=is_full_scale(high))


def clean_quality(clean_yx, reference_yx):
    sums = frame_sums(clean_yx, low=0, high=1, zero_is_outside=True)
    return quality_numbers(sums, similarity_sums(clean_yx, reference_yx))


def stack(nuclei_per_mm2=800, seed=3, frames=1, edge_px=200):
    made = simulate_field(
        seed=seed,
        proportions=(0.25, 0.25, 0.25, 0.25),
        nuclei_per_mm2=nuclei_per_mm2,
        height_px=edge_px,
        width_px=edge_px,
        time_points=frames,
        angle_deg=12.0,
    )
    return made.tyx


@pytest.fixture(scope="module")
def raw_yx():
    return stack()[0]


@pytest.fixture(scope="module")
def pair(raw_yx):
    """A clean frame with an outside, and what it is compared with."""
    clean_yx = preprocess_frame(raw_yx, Recipe(angle_deg=20.0))
    return clean_yx, preprocess_frame(
        raw_yx, Recipe(angle_deg=20.0, equalisation=None, percentiles=None, denoising=None)
    )


def steps(noise=0.0):
    """A bright square on a dark ground with a given noise, in a range of 1000."""
    yx = np.full((240, 240), 200.0)
    yx[60:180, 60:180] = 800
    return yx + np.random.default_rng(0).normal(0, noise, yx.shape) if noise else yx


def test_signal_and_contrast_are_those_of_the_known_noise():
    found = raw_quality(steps(noise=30).astype(np.float32))
    assert found.snr == pytest.approx(600 / 30, rel=0.02)
    assert found.cnr == pytest.approx(600 / 30, rel=0.02)
    assert found.empty_share == pytest.approx(1 - 0.25, abs=0.002)


def test_signal_and_contrast_follow_their_formulas(raw_yx):
    threshold = filters.threshold_otsu(raw_yx)
    dark, bright = raw_yx[raw_yx <= threshold].astype(float), raw_yx[raw_yx > threshold].astype(float)
    contrast = bright.mean() - dark.mean()
    found = raw_quality(raw_yx)
    assert found.snr == pytest.approx(contrast / dark.std(), rel=0.01)
    assert found.cnr == pytest.approx(contrast / np.sqrt((dark.var() + bright.var()) / 2), rel=0.01)


def test_gradient_and_focus_follow_their_formulas(raw_yx):
    unit = (raw_yx - float(raw_yx.min())) / float(np.ptp(raw_yx))

    def squared(yx):
        return (ndimage.sobel(yx, 0) ** 2 + ndimage.sobel(yx, 1) ** 2)[1:-1, 1:-1] / 64

    halved = unit.reshape(100, 2, 100, 2).mean((1, 3))
    found = raw_quality(raw_yx)
    assert found.gradient_norm == pytest.approx(np.sqrt(squared(unit)).mean(), rel=1e-4)
    assert found.focus == pytest.approx(squared(halved).mean() / halved.var(), rel=1e-3)


@pytest.mark.parametrize("shape", [(40, 61), (7, 7), (64, 9)])
def test_similarity_is_that_of_scikit_image(shape):
    rng = np.random.default_rng(1)
    one = rng.uniform(0.01, 1, shape).astype(np.float32)
    two = np.clip(one + rng.normal(0, 0.1, shape), 0.01, 1).astype(np.float32)
    found = clean_quality(one, two)
    assert found.ssim == pytest.approx(metrics.structural_similarity(one, two, data_range=1.0), abs=1e-6)
    assert found.psnr_db == pytest.approx(metrics.peak_signal_noise_ratio(two, one, data_range=1.0), abs=1e-4)


def test_similarity_of_real_contrast_is_that_of_scikit_image(raw_yx):
    clean_yx, reference_yx = preprocess_frame(raw_yx), (raw_yx - raw_yx.min()) / np.ptp(raw_yx)
    found = clean_quality(clean_yx, reference_yx)
    one, two = clean_yx.astype(float), reference_yx.astype(float)
    assert found.ssim == pytest.approx(metrics.structural_similarity(one, two, data_range=1.0), abs=1e-6)
    assert found.psnr_db == pytest.approx(metrics.peak_signal_noise_ratio(two, one, data_range=1.0), abs=1e-4)


def test_a_frame_is_identical_to_itself(raw_yx):
    clean_yx = preprocess_frame(raw_yx)
    found = clean_quality(clean_yx, clean_yx)
    assert found.psnr_db == IDENTICAL_DB
    assert found.ssim == pytest.approx(1)


def test_frames_smaller_than_a_window_have_no_ssim():
    assert clean_quality(np.ones((6, 40)), np.ones((6, 40))).ssim is None


def test_what_lies_outside_counts_nowhere(pair):
    clean_yx, reference_yx = pair
    assert (clean_yx == 0).any()
    elsewhere = np.where(clean_yx == 0, 0.7, reference_yx).astype(np.float32)
    found = clean_quality(clean_yx, reference_yx)
    assert clean_quality(clean_yx, elsewhere).ssim == pytest.approx(found.ssim, rel=1e-9)
    assert clean_quality(clean_yx, elsewhere).psnr_db == found.psnr_db
    _, local = metrics.structural_similarity(
        clean_yx.astype(float), reference_yx.astype(float), data_range=1.0, full=True
    )
    whole = ndimage.minimum_filter(clean_yx > 0, 7, mode="constant")
    assert found.ssim == pytest.approx(local[whole].mean(), abs=1e-6)
    inside = clean_yx[clean_yx > 0].astype(float) - reference_yx[clean_yx > 0]
    assert found.psnr_db == pytest.approx(-10 * np.log10(np.mean(inside**2)), abs=1e-4)


def test_a_border_of_nothing_changes_no_number(raw_yx):
    clean_yx = preprocess_frame(raw_yx)
    framed, alone = (
        clean_quality(np.pad(clean_yx, 20), np.pad(clean_yx, 20)),
        clean_quality(clean_yx, clean_yx),
    )
    for field in fields(Quality):
        assert getattr(framed, field.name) == pytest.approx(getattr(alone, field.name), rel=1e-6)


@pytest.mark.parametrize(("gain", "offset"), [(3, 0), (1, 500), (0.01, -4)])
def test_gain_and_offset_change_no_number(raw_yx, gain, offset):
    found, known = raw_quality(raw_yx * np.float32(gain) + np.float32(offset)), raw_quality(raw_yx)
    for name in ("snr", "cnr", "gradient_norm", "focus", "empty_share"):
        assert getattr(found, name) == pytest.approx(getattr(known, name), rel=2e-3)


def test_turning_by_a_right_angle_changes_no_number(raw_yx):
    found, known = raw_quality(np.rot90(raw_yx)), raw_quality(raw_yx)
    for field in fields(Quality)[:6]:
        assert getattr(found, field.name) == pytest.approx(getattr(known, field.name), rel=1e-6)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 99), max_size=3), st.lists(st.integers(1, 120), max_size=3))
def test_parts_add_up_to_the_whole(pair, rows, columns):
    clean_yx, reference_yx = (yx[:201, :243] for yx in pair)
    sums, similar = [], []
    row_edges = sorted({0, 201, *(2 * n for n in rows)})
    column_edges = sorted({0, 243, *(2 * n for n in columns)})
    for top, bottom in pairwise(row_edges):
        for left, right in pairwise(column_edges):
            place = (
                slice(max(top - HALO_PX, 0), bottom + HALO_PX),
                slice(max(left - HALO_PX, 0), right + HALO_PX),
            )
            core = (
                slice(top - place[0].start, bottom - place[0].start),
                slice(left - place[1].start, right - place[1].start),
            )
            sums.append(frame_sums(clean_yx[place], low=0, high=1, zero_is_outside=True, core=core))
            similar.append(similarity_sums(clean_yx[place], reference_yx[place], core=core))
    parts = quality_numbers(sum(sums[1:], sums[0]), sum(similar[1:], similar[0]))
    whole = clean_quality(clean_yx, reference_yx)
    for field in fields(Quality):
        assert getattr(parts, field.name) == pytest.approx(getattr(whole, field.name), rel=1e-6)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.float32])
@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (33, 20)])
def test_a_frame_of_one_value_shows_nothing(dtype, shape):
    assert raw_quality(np.full(shape, 7, dtype)) == Quality(0, 0, 0, 0, 0, 1)


def test_saturation_is_counted_at_full_scale():
    yx = np.arange(100, dtype=np.uint16).reshape(10, 10)
    assert raw_quality(yx).saturated_share == 0, "the brightest pixel alone says nothing"
    yx[0, :5] = 4095
    assert raw_quality(yx).saturated_share == 0.05
    assert [value for value in range(256) if is_full_scale(value)] == [255]
    clean_yx = np.linspace(0.1, 1, 50, dtype=np.float32).reshape(5, 10)
    assert clean_quality(clean_yx, clean_yx).saturated_share == 0.02


@pytest.mark.parametrize("yx", [np.zeros((3, 3, 3)), np.full((3, 3), np.nan)])
def test_planes_must_be_finite_planes(yx):
    with pytest.raises(ValueError, match="expected"):
        raw_quality(yx)


def test_blocks_need_the_frames_range_and_even_starts():
    yx = np.arange(64.0).reshape(8, 8)
    with pytest.raises(ValueError, match="give the whole frame's range"):
        frame_sums(yx, low=0, high=50, zero_is_outside=False)
    with pytest.raises(ValueError, match="even starts"):
        frame_sums(yx, low=0, high=63, zero_is_outside=False, core=(slice(1, 5), slice(0, 5)))
    with pytest.raises(ValueError, match="turn the raw frame"):
        similarity_sums(yx, yx[:4])


def spoilt(frames, seed):
    """A recording with one blurred, one empty and one saturated frame."""
    rng, made = np.random.default_rng(seed), frames.astype(float)
    made[BLURRED] = ndimage.gaussian_filter(made[BLURRED], 2.0)
    made[EMPTY] = rng.poisson(np.full(made[EMPTY].shape, np.median(made[EMPTY])))
    made[SATURATED] *= 65535 / np.quantile(made[SATURATED], 0.95)
    return np.clip(made, 0, 65535).astype(np.uint16)


@pytest.mark.parametrize(("nuclei_per_mm2", "seed"), [(150, 5), (700, 6), (1300, 7)])
def test_the_spoilt_frames_are_flagged_and_no_other(nuclei_per_mm2, seed):
    good = stack(nuclei_per_mm2, seed, FRAMES)
    assert flag_frames([raw_quality(yx) for yx in good]) == [()] * FRAMES
    flags = flag_frames([raw_quality(yx) for yx in spoilt(good, seed)])
    found = {t: [flag.reason for flag in some] for t, some in enumerate(flags) if some}
    assert found == {BLURRED: ["blurred"], EMPTY: ["empty"], SATURATED: ["saturated"]}


def test_optical_blur_is_found_below_the_noise():
    """The lens blurs before the camera adds its noise, so the frame stays rough at the finest scale."""
    frames = stack(700, 8, FRAMES).astype(float)
    noise = np.random.default_rng(0).normal(0, 40, frames[BLURRED].shape)
    frames[BLURRED] = ndimage.gaussian_filter(frames[BLURRED], 3.0) + noise
    flags = flag_frames([raw_quality(yx) for yx in frames])
    assert [t for t, some in enumerate(flags) if some] == [BLURRED]


PLAIN = Quality(8, 6, 0.1, 0.2, 0, 0.9)


def test_sentences_hold_the_numbers():
    odd = [replace(PLAIN, focus=0.1), replace(PLAIN, empty_share=1.0), replace(PLAIN, saturated_share=0.125)]
    (blurred,), (empty,), (saturated,) = flag_frames([*odd, *[PLAIN] * 6])[:3]
    assert blurred.sentence == "The focus score 0.1 is below 0.17; the recording's median is 0.2."
    assert empty.sentence == "0% of the frame stands out of the background, less than 0.005%."
    assert saturated.sentence == "12.5% of the pixels are at full scale, more than 0.5%."


def test_few_frames_are_not_judged_by_their_focus():
    assert flag_frames([PLAIN, PLAIN, PLAIN, replace(PLAIN, focus=0.01)]) == [()] * 4
    assert flag_frames([]) == []


def test_a_steady_recording_bears_small_changes_and_a_restless_one_large_ones():
    steady = [PLAIN] * 10 + [replace(PLAIN, focus=0.18)]
    assert flag_frames(steady) == [()] * 11
    restless = [replace(PLAIN, focus=0.2 + 0.05 * (-1) ** t) for t in range(10)] + [replace(PLAIN, focus=0.1)]
    assert flag_frames(restless) == [()] * 11
