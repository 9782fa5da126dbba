import sys

import numpy as np
import pytest
from numba.core.dispatcher import Dispatcher
from scipy import ndimage
from skimage.exposure import equalize_adapthist
from skimage.restoration import denoise_tv_chambolle

from tasks.kernels.geometry import rotated_shape, valid_region
from tasks.kernels.preprocessing import DARKEST_INSIDE, Cleaner, clean_whole, preprocess_frame
from tasks.kernels.quality import quality_numbers
from tasks.kernels.quality_sums import frame_sums
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


def by_scikit_image(yx):
    """The default recipe, written with scikit-image and numpy."""
    evened = equalize_adapthist(yx, max(yx.shape[0] // 10, 1), 0.01).astype(np.float32)
    unit = (evened - evened.min()) / (evened.max() - evened.min())
    return denoise_tv_chambolle(np.clip(unit, 0, np.percentile(unit, 98.5)), 0.02)


def hot(yx):
    yx = yx.copy()
    yx[40, 70] = 65535
    return yx


@pytest.mark.parametrize(
    "change",
    [lambda yx: yx, hot, lambda yx: yx[:201, 7:180], lambda yx: np.minimum(yx, 900), lambda yx: yx[:, :1]],
    ids=["whole", "hot pixel", "odd", "saturated", "column"],
)
def test_the_chain_is_that_of_scikit_image(raw, change):
    yx = np.ascontiguousarray(change(raw))
    np.testing.assert_allclose(
        preprocess_frame(yx), np.clip(by_scikit_image(yx), DARKEST_INSIDE, 1), atol=1e-5
    )


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


def test_a_second_frame_compiles_nothing(raw):
    """So a process, a Dask worker too, pays once for all frames, whatever their shape, angle and values."""

    def clean(yx, angle_deg):
        cleaner = Cleaner(Recipe(angle_deg=angle_deg), yx.shape)
        made = clean_whole(cleaner, lambda box: yx[box])[2]
        quality_numbers(frame_sums(made, low=0, high=1, zero_is_outside=True))

    def signatures():
        loops = [
            value
            for module in sys.modules.values()
            for value in vars(module).values()
            if isinstance(value, Dispatcher) and value.py_func.__module__.startswith("tasks.kernels")
        ]
        return {loop.py_func.__qualname__: len(loop.signatures) for loop in loops}

    clean(raw, 21.0)
    known = signatures()
    assert known["sweep"] == 1
    clean(raw[:97, 3:], -4.0)
    clean(np.ascontiguousarray(raw[::-1, :50]), 0.0)
    assert signatures() == known


def test_nan_is_refused():
    with pytest.raises(ValueError, match="finite"):
        preprocess_frame(np.full((10, 10), np.nan))


def test_a_stack_is_refused():
    with pytest.raises(ValueError, match="axes y x"):
        preprocess_frame(np.zeros((2, 10, 10)))
