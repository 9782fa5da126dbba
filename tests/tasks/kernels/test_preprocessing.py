import numpy as np
import pytest
from scipy import ndimage

from tasks.kernels.geometry import rotated_shape, valid_region
from tasks.kernels.preprocessing import DARKEST_INSIDE, preprocess_frame
from tasks.kernels.recipe import Recipe
from tasks.kernels.simulation.scene import simulate_field

OFF = {"equalisation": None, "percentiles": None, "denoising": None}


@pytest.fixture(scope="module")
def raw():
    field = simulate_field(seed=1, proportions=(0.25, 0.25, 0.25, 0.25), angle_deg=21.0)
    return field.tyx[0]


def test_outside_is_zero_and_inside_is_not(raw):
    clean = preprocess_frame(raw, Recipe(angle_deg=21.0))
    inside = valid_region(raw.shape, 21.0)
    assert clean.shape == rotated_shape(raw.shape, 21.0)
    assert clean.dtype == np.float32
    np.testing.assert_array_equal(clean > 0, inside)
    assert clean[inside].min() >= np.float32(DARKEST_INSIDE)
    assert clean.max() <= 1


def test_the_border_of_the_frame_is_as_dark_as_the_background(raw):
    clean = preprocess_frame(raw, Recipe(angle_deg=21.0))
    inside = valid_region(raw.shape, 21.0)
    deep = ndimage.binary_erosion(inside, iterations=12)
    rim = inside & ~ndimage.binary_erosion(inside, iterations=6)
    assert np.median(clean[rim]) == pytest.approx(np.median(clean[deep]), abs=0.06)


def test_all_off_is_normalising_alone(raw):
    clean = preprocess_frame(raw, Recipe(**OFF))
    span = float(raw.max()) - float(raw.min())
    expected = np.maximum((raw.astype(float) - raw.min()) / span, DARKEST_INSIDE)
    np.testing.assert_allclose(clean, expected, atol=1e-6)


@pytest.mark.parametrize("step", list(OFF))
def test_every_step_does_something(raw, step):
    assert np.abs(preprocess_frame(raw) - preprocess_frame(raw, Recipe(**{step: None}))).max() > 1e-3


def test_each_pixel_is_interpolated_once(raw):
    whole_turn = preprocess_frame(raw, Recipe(angle_deg=180.0, **OFF))
    np.testing.assert_array_equal(whole_turn[::-1, ::-1], preprocess_frame(raw, Recipe(**OFF)))


def test_gain_and_offset_of_the_camera_vanish(raw):
    one, other = preprocess_frame(raw), preprocess_frame(raw.astype(np.float32) * 3 + 200)
    assert np.abs(one - other).mean() < 1e-3


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.float32])
def test_every_dtype_works(raw, dtype):
    scaled = (raw / raw.max() * 250).astype(dtype)
    clean = preprocess_frame(scaled, Recipe(angle_deg=5.0))
    assert np.ptp(clean) > 0.5


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (40, 1), (3, 2)])
@pytest.mark.parametrize("angle_deg", [None, 0.0, 30.0, 90.0])
def test_tiny_frames_work(shape, angle_deg):
    clean = preprocess_frame(
        np.arange(np.prod(shape), dtype=np.uint16).reshape(shape), Recipe(angle_deg=angle_deg)
    )
    assert clean.shape == (shape if angle_deg is None else rotated_shape(shape, angle_deg))
    assert np.isfinite(clean).all()


def test_a_constant_frame_is_dark_inside():
    clean = preprocess_frame(np.full((30, 30), 77, np.uint8), Recipe(angle_deg=10.0))
    assert set(np.unique(clean)) == {np.float32(0), np.float32(DARKEST_INSIDE)}


def test_nan_is_refused():
    with pytest.raises(ValueError, match="finite"):
        preprocess_frame(np.full((10, 10), np.nan))


def test_a_stack_is_refused():
    with pytest.raises(ValueError, match="axes y x"):
        preprocess_frame(np.zeros((2, 10, 10)))
