import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from skimage.filters import threshold_otsu

from tasks.kernels.histograms import BINS, add_histograms, histogram_percentiles, otsu, plane_histogram

planes = hnp.arrays(
    np.float32, st.tuples(st.integers(2, 20), st.integers(1, 20)), elements=st.floats(0, 1, width=32)
)


@given(planes, st.integers(1, 19))
def test_parts_add_up_to_the_whole(yx, cut):
    cut = min(cut, yx.shape[0] - 1)
    parts = [plane_histogram(yx[:cut]), plane_histogram(yx[cut:])]
    np.testing.assert_array_equal(add_histograms(parts), plane_histogram(yx))


@given(planes)
def test_each_pixel_above_zero_is_counted_once(yx):
    assert plane_histogram(yx).sum() == np.count_nonzero(yx)


def test_values_fall_into_their_bins():
    counts = plane_histogram(np.array([[0.0, 0.001, 0.25, 0.999, 1.0]]), bins=4)
    np.testing.assert_array_equal(counts, [1, 1, 0, 2])


@pytest.mark.parametrize("value", [-0.1, 1.1])
def test_values_outside_are_refused(value):
    with pytest.raises(ValueError, match=r"in \[0, 1\]"):
        plane_histogram(np.array([[0.5, value]]))


@pytest.mark.parametrize("histograms", [[], [np.zeros(3, int), np.zeros(4, int)]])
def test_adding_wants_equal_bins(histograms):
    with pytest.raises(ValueError, match="same bins"):
        add_histograms(histograms)


def test_otsu_is_that_of_the_pixels():
    rng = np.random.default_rng(0)
    yx = np.clip(np.concatenate([rng.normal(0.2, 0.05, 4000), rng.normal(0.7, 0.1, 1000)]), 0.01, 1)[None]
    assert otsu(plane_histogram(yx)) == pytest.approx(threshold_otsu(yx, nbins=BINS), abs=2 / BINS)


def test_otsu_of_nothing_and_of_one_value():
    assert otsu(np.zeros(8, np.int64)) == 1.0
    assert otsu(plane_histogram(np.full((3, 3), 0.5), bins=4)) == 0.625


@given(hnp.arrays(np.float32, (9, 9), elements=st.floats(0.125, 1, width=32)), st.floats(0, 100))
def test_percentiles_are_right_within_a_bin(yx, percentile):
    (found,) = histogram_percentiles(plane_histogram(yx), [percentile])
    low = np.percentile(yx, percentile, method="lower")
    high = np.percentile(yx, percentile, method="higher")
    assert low - 1.5 / BINS <= found <= high + 1.5 / BINS


def test_percentiles_of_nothing_are_refused():
    with pytest.raises(ValueError, match="counted pixel"):
        histogram_percentiles(np.zeros(4, np.int64), [50])
