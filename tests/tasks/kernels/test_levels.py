import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from skimage import exposure, util

from tasks.kernels.levels import grey_levels, level_counts, limits_from_counts, stretch, value_range

some_levels = hnp.arrays(
    np.uint16, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.integers(0, 16383)
)
unit_floats = st.floats(0, 1, width=32)


@given(
    hnp.arrays(np.uint8, (4, 5))
    | hnp.arrays(np.uint16, (4, 5))
    | hnp.arrays(np.float32, (4, 5), elements=unit_floats)
    | hnp.arrays(np.float64, (4, 5), elements=unit_floats)
)
@settings(deadline=None)
def test_levels_are_scikit_images(yx):
    rescaled = exposure.rescale_intensity(util.img_as_uint(yx), out_range=(0, 16383))
    ours = grey_levels(yx, *value_range(yx))
    if value_range(yx)[0] < value_range(yx)[1]:
        np.testing.assert_array_equal(ours, np.round(rescaled))
    else:
        assert np.ptp(ours) == 0


@pytest.mark.parametrize("dtype", [bool, np.int8, np.int16, np.uint32, np.int64, np.float16])
def test_any_real_type_uses_all_levels(dtype):
    levels = grey_levels(np.array([[0, 1]], dtype), 0, 1)
    np.testing.assert_array_equal(levels, [[0, 16383]])


def test_values_beyond_the_range_become_its_ends():
    for dtype in (np.uint16, np.float32):
        np.testing.assert_array_equal(grey_levels(np.array([[0, 50]], dtype), 10, 20), [[0, 16383]])
    np.testing.assert_array_equal(grey_levels(np.array([[0.0, 0.9]]), 0.2, 0.4), [[0, 16383]])


def test_ranges_are_checked():
    with pytest.raises(ValueError, match="low <= high"):
        grey_levels(np.zeros((2, 2)), 1, 0)
    with pytest.raises(ValueError, match="finite"):
        value_range(np.array([[0, np.nan]]))
    with pytest.raises(ValueError, match="axes y x"):
        value_range(np.zeros(5))


@given(some_levels, st.floats(0, 99), st.floats(0.01, 100))
@settings(deadline=None)
def test_limits_are_numpys_percentiles(levels, low, span):
    high = min(low + span, 100.0)
    found = limits_from_counts(level_counts(levels), low, high)
    np.testing.assert_allclose(found, np.percentile(levels, (low, high)), rtol=0, atol=1e-9)


@given(some_levels)
@settings(deadline=None)
def test_counts_are_exact_and_give_the_range(levels):
    counts = level_counts(levels)
    np.testing.assert_array_equal(counts, np.bincount(levels.ravel(), minlength=16384))
    assert limits_from_counts(counts, 0, 100) == (levels.min(), levels.max())


def test_counting_refuses_what_is_no_level():
    with pytest.raises(ValueError, match="0 to 16383"):
        level_counts(np.array([16384], np.uint16))
    with pytest.raises(TypeError, match="uint16"):
        level_counts(np.array([3]))
    with pytest.raises(ValueError, match="at least one pixel"):
        limits_from_counts(np.zeros(16384, np.int64), 1, 99)


@given(some_levels, st.tuples(st.floats(0, 8000), st.floats(8000, 16383)))
@settings(deadline=None)
def test_stretching_is_rescaling_and_clipping(levels, limits):
    low, high = int(levels.min()), int(levels.max())
    unit = exposure.rescale_intensity(levels.astype(np.float64))
    np.testing.assert_allclose(stretch(levels, low, high), unit, rtol=0, atol=1e-7)
    if low < high:
        clipped = np.clip(unit, *((limit - low) / (high - low) for limit in limits))
        np.testing.assert_allclose(
            stretch(levels, low, high, limits), np.clip(clipped, 0, 1), rtol=0, atol=1e-7
        )
