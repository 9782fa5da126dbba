import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage import exposure, morphology

from tasks.kernels.cleanup import remove_background, remove_grooves, sigmoid_contrast

shapes = st.tuples(st.integers(1, 60), st.integers(1, 60))


def noise(shape, seed=0):
    return np.random.default_rng(seed).integers(0, 60000, shape, dtype=np.uint16)


@pytest.mark.parametrize("shape", [(70, 91), (1, 40), (40, 1), (1, 1), (8, 200)])
@pytest.mark.parametrize("radius_px", [1, 2, 5, 15])
def test_the_top_hats_are_those_of_scikit_image(shape, radius_px):
    yx, disc = noise(shape), morphology.disk(radius_px)
    white = morphology.white_tophat(yx, disc)
    black = np.clip(yx.astype(int) - morphology.black_tophat(yx, disc), 0, None)
    np.testing.assert_array_equal(remove_background(yx, radius_px, kind="white"), white)
    np.testing.assert_array_equal(remove_background(yx, radius_px), black)


def test_white_leaves_small_bright_spots_on_the_ground():
    y, x = np.indices((120, 120))
    spot = (y - 60) ** 2 + (x - 60) ** 2 <= 6**2
    clean = remove_background(500 + 3 * x + 100 * spot, 15, kind="white")
    assert clean[60, 60] > 90
    assert np.median(clean[~spot]) == 0


def test_black_sinks_narrow_dark_lines_and_keeps_the_rest():
    yx = np.full((80, 80), 100.0)
    yx[:, 40:44] = 80
    clean = remove_background(yx, 15)
    assert (clean[:, 40:44] == 60).all()
    assert (np.delete(clean, np.s_[40:44], axis=1) == 100).all()


def test_grooves_go_and_nuclei_stay():
    y, x = np.indices((200, 200))
    stripes = 100 - 8.0 * ((x // 10) % 2)
    nucleus = (y - 100) ** 2 + (x - 90) ** 2 <= 12**2
    clean = remove_grooves(np.where(nucleus, 300, stripes), threshold=150)
    np.testing.assert_array_equal(clean[nucleus], 300)
    assert clean[~nucleus].std() < stripes.std() / 8
    assert clean[~nucleus].mean() == pytest.approx(96, abs=0.2)


def test_without_grooves_nothing_changes():
    yx = noise((40, 50)).astype(np.float32)
    np.testing.assert_array_equal(remove_grooves(yx, threshold=-1), yx)
    flat = np.full((40, 50), 7, np.uint8)
    np.testing.assert_array_equal(remove_grooves(flat, threshold=9), flat)


@pytest.mark.parametrize(("cutoff", "gain"), [(0.5, 10), (0.3, 4), (0.9, 25)])
def test_the_sigmoid_is_that_of_scikit_image(cutoff, gain):
    yx = np.random.default_rng(0).random((50, 60)).astype(np.float32)
    expected = exposure.adjust_sigmoid(yx, cutoff, gain)
    found = sigmoid_contrast(yx, cutoff, gain)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-6)


STEPS = {
    "black": (lambda yx: remove_background(yx, 4), 8),
    "white": (lambda yx: remove_background(yx, 4, kind="white"), 8),
    "grooves": (lambda yx: remove_grooves(yx / np.float32(7), 5000, 6), 6),
    "sigmoid": (lambda yx: sigmoid_contrast(yx / np.float32(60000)), 0),
}


@settings(deadline=None)  # compiling takes seconds the first time
@given(st.data(), shapes, st.sampled_from(sorted(STEPS)), st.integers(0, 9))
def test_a_block_with_its_halo_gives_that_part_of_the_whole(data, shape, name, seed):
    step, halo_px = STEPS[name]
    yx = noise(shape, seed)
    region, padded, inner = [], [], []
    for side in shape:
        start = data.draw(st.integers(0, side - 1))
        stop = data.draw(st.integers(start + 1, side))
        first = max(start - halo_px, 0)
        region.append(slice(start, stop))
        padded.append(slice(first, min(stop + halo_px, side)))
        inner.append(slice(start - first, stop - first))
    np.testing.assert_array_equal(step(yx[tuple(padded)])[tuple(inner)], step(yx)[tuple(region)])


def test_what_cannot_be_is_an_error():
    plane = np.zeros((5, 5))
    with pytest.raises(ValueError, match="radius_px"):
        remove_background(plane, 0)
    with pytest.raises(ValueError, match="kind"):
        remove_background(plane, 3, kind="grey")
    with pytest.raises(ValueError, match="threshold"):
        remove_grooves(plane, np.nan)
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        sigmoid_contrast(plane + 2)
    with pytest.raises(ValueError, match="NaN"):
        remove_background(plane + np.nan)
