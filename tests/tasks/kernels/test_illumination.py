from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from tasks.kernels.illumination import (
    LEAST_FRAMES,
    NODES,
    Illumination,
    background_grid,
    correct,
    correct_region,
    estimate_flat,
)
from tasks.kernels.simulation.field import make_field
from tasks.kernels.simulation.optics import Optics, groove_profile, illumination, record_frame

SHAPE = (256, 256)
DARK = 120.0
NUCLEUS_PX = 8


def optics(*, falloff=0.12, lamp=1.0, grooves=0.15):
    """Light that falls to 56 % in the darkest corner, off the middle."""
    return Optics(
        background_photons=300,
        lamp=lamp,
        groove_contrast=grooves,
        falloff=falloff,
        bright_y=0.3,
        bright_x=-0.4,
        blur_um=0.5,
        counts_per_photon=2,
        offset_counts=DARK,
    )


@cache
def positions(count, nuclei, *, falloff=0.12, grooves=0.15, part=1.0, seed=0):
    """Frames of one chip, all nuclei alike, and the labels; `part` of the field's edges holds nuclei."""
    rng = np.random.default_rng(seed)
    frames, labels = [], []
    for _ in range(count):
        centres_yx = np.zeros(SHAPE, int)
        centres_yx[tuple(rng.integers(0, int(256 * part), (2, nuclei)))] = np.arange(1, nuclei + 1)
        away_px, nearest = ndimage.distance_transform_edt(centres_yx == 0, return_indices=True)
        label_yx = np.where(away_px < NUCLEUS_PX, centres_yx[tuple(nearest)], 0)
        field = make_field(*SHAPE, pixel_size_um=0.5, angle_deg=20, phase_um=rng.uniform(0, 10))
        light = optics(falloff=falloff, grooves=grooves, lamp=rng.uniform(0.85, 1.2))
        frames.append(
            record_frame(
                700.0 * (label_yx > 0),
                groove_profile(field.u_yx),
                optics=light,
                pixel_size_um=0.5,
                frame=0,
                rng=rng,
            )
        )
        labels.append(label_yx)
    return frames, labels


def estimated(frames, dark=DARK):
    return estimate_flat([background_grid(yx, dark) for yx in frames], dark)


def rms_error(flat, falloff=0.12):
    """Of a flat-field against the light that was simulated, over all pixels."""
    true_yx = illumination(SHAPE, optics(falloff=falloff))
    lit = np.float32(1) / correct(np.full(SHAPE, flat.dark_counts + 1), flat)
    return np.sqrt(np.mean((lit / lit.mean() * true_yx.mean() / true_yx - 1) ** 2))


@pytest.mark.parametrize(
    ("nuclei", "covered", "bound"),
    [(4, 0.02, 0.01), (200, 0.45, 0.015), (400, 0.68, 0.02)],
    ids=["sparse", "dense", "nearly confluent"],
)
def test_the_light_is_recovered_within_2_percent(nuclei, covered, bound):
    frames, labels = positions(6, nuclei)
    assert np.mean(np.stack(labels) > 0) == pytest.approx(covered, abs=0.05)
    found = estimated(frames)
    assert rms_error(found.flat) < bound
    assert rms_error(Illumination(np.ones((NODES, NODES), np.float32))) > 0.1
    assert found.frames == 6
    assert found.disagreement < bound


@pytest.mark.parametrize(
    "hard",
    [{"grooves": 0.4}, {"part": 0.6}, {"falloff": 0.2}],
    ids=["deep grooves", "nuclei in one corner of all frames", "a corner at a quarter of the light"],
)
def test_grooves_crowding_and_steep_light_do_not_bend_it_by_more_than_2_percent(hard):
    frames, _ = positions(6, 60, **hard)
    assert rms_error(estimated(frames).flat, hard.get("falloff", 0.12)) < 0.02


@pytest.mark.parametrize("nuclei", [10, 200])
def test_identical_nuclei_differ_a_quarter_as_much_after_correction(nuclei):
    frames, labels = positions(8, nuclei)
    flat = estimated(frames).flat

    def spread(images):
        """Of the means of nuclei inside a position, relative: the lamp differs between positions."""
        parts = []
        for yx, label_yx in zip(images, labels, strict=True):
            inner_yx = ndimage.grey_erosion(label_yx, size=5)
            each = ndimage.mean(yx, inner_yx, np.unique(inner_yx)[1:])
            parts.append(each / each.mean())
        return np.concatenate(parts).std()

    before = spread([yx - DARK for yx in frames])
    after = spread([correct(yx, flat) for yx in frames])
    assert before > 0.08
    assert after < before / 4


@pytest.mark.parametrize(("nuclei", "worst"), [(4, 0.02), (200, 0.05)])
def test_even_light_gives_1_within_1_percent_rms_and_keeps_the_counts(nuclei, worst):
    frames, _ = positions(6, nuclei, falloff=0)
    flat = estimated(frames).flat
    lit = 1 / correct(np.full(SHAPE, DARK + 1), flat)
    assert abs(lit - 1).max() < worst
    assert np.sqrt(np.mean((lit - 1) ** 2)) < 0.01
    assert correct(frames[0], flat).mean() == pytest.approx(frames[0].mean() - DARK, rel=0.01)


def test_a_frame_that_is_only_light_becomes_even():
    y, x = np.meshgrid(np.linspace(-1, 1, 128), np.linspace(-1, 1, 128), indexing="ij")
    light_yx = np.exp(-0.3 * x**2 - 0.2 * y + 0.1 * x * y)
    flat = estimated([k * light_yx for k in (100, 180, 90, 130)], dark=0).flat
    even = correct(light_yx, flat)
    assert even.std() / even.mean() < 0.01
    assert light_yx.std() / light_yx.mean() > 0.1
    assert flat.yx.mean() == pytest.approx(1, abs=1e-5)


def test_brightness_and_order_of_frames_do_not_matter():
    frames, _ = positions(4, 30)
    grids = [background_grid(yx, DARK) for yx in frames]
    first = estimate_flat(grids).flat.yx
    other = estimate_flat([grid * k for grid, k in zip(grids[::-1], (1, 30, 0.2, 7), strict=True)]).flat.yx
    np.testing.assert_allclose(other, first, rtol=1e-5)


def test_without_the_dark_counts_too_little_is_corrected_never_the_wrong_way():
    frames, _ = positions(6, 30)
    known, unknown = estimated(frames).flat.yx, estimated(frames, dark=0).flat.yx
    assert known.min() < unknown.min() < 1 < unknown.max() < known.max()


class TestRefusals:
    def test_too_few_frames(self):
        frames, _ = positions(LEAST_FRAMES, 4)
        estimated(frames)
        with pytest.raises(ValueError, match=r"expected at least 4 frames with light .* found 3 of 3"):
            estimated(frames[:-1])

    def test_frames_without_light_do_not_count(self):
        frames, _ = positions(5, 4)
        with_a_dark_one = estimated([*frames, np.full(SHAPE, DARK)])
        assert with_a_dark_one.frames == 5
        np.testing.assert_array_equal(with_a_dark_one.flat.yx, estimated(frames).flat.yx)
        with pytest.raises(ValueError, match=r"above 60000 counts .* found 0 of 5; .* lower the dark counts"):
            estimated(frames, dark=60000)

    def test_no_background_between_the_nuclei(self):
        rng = np.random.default_rng(1)
        blobs = [np.exp(8 * ndimage.gaussian_filter(rng.normal(size=SHAPE), 25)) ** 3 for _ in range(4)]
        with pytest.raises(ValueError, match=r"two halves of 4 frames .* 5% of their mean, found \d+\.\d%"):
            estimated(blobs, dark=0)

    def test_a_frame_too_small_to_see(self):
        with pytest.raises(ValueError, match=r"at least 64 px an edge .* found \(256, 63\)"):
            background_grid(np.ones((256, 63)))

    @pytest.mark.parametrize("origin_yx", [(-1, 0), (0, -1), (7, 0), (0, 6)])
    def test_a_part_that_is_not_in_the_frame(self, origin_yx):
        flat = Illumination(np.ones((NODES, NODES), np.float32))
        with pytest.raises(ValueError, match=r"expected a part of a frame of \(10, 10\)"):
            correct_region(np.ones((4, 5)), flat, origin_yx=origin_yx, shape_yx=(10, 10))


@given(
    data=st.data(),
    height=st.integers(1, 90),
    width=st.integers(1, 90),
    dtype=st.sampled_from(["uint8", "uint16", "int16", "float32"]),
)
def test_any_part_is_corrected_exactly_as_the_whole(data, height, width, dtype):
    rng = np.random.default_rng(height * 100 + width)
    flat = Illumination(rng.uniform(0.5, 1.5, (NODES, NODES)).astype(np.float32), 7.5)
    yx = rng.integers(0, 100, (height, width)).astype(dtype)
    top, left = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
    part = yx[top : data.draw(st.integers(top + 1, height)), left : data.draw(st.integers(left + 1, width))]
    whole = correct(yx, flat)
    assert whole.dtype == np.float32
    found = correct_region(part, flat, origin_yx=(top, left), shape_yx=(height, width))
    np.testing.assert_array_equal(found, whole[top : top + part.shape[0], left : left + part.shape[1]])
