import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tasks.kernels.pyramid import downsample_labels, downsample_mean

shapes = st.tuples(st.integers(1, 9), st.integers(1, 9))
halvings = pytest.mark.parametrize("halve", [downsample_mean, downsample_labels])


def by_hand(yx, choose):
    height, width = yx.shape
    return np.array(
        [
            [choose(yx[y : y + 2, x : x + 2].ravel().tolist()) for x in range(0, width, 2)]
            for y in range(0, height, 2)
        ]
    )


def most_frequent(values):
    return max(set(values), key=lambda value: (values.count(value), value))


@settings(deadline=None)  # the first call compiles
@given(hnp.arrays(np.uint16, shapes))
def test_the_mean_is_that_of_the_pixels_there(yx):
    np.testing.assert_array_equal(
        downsample_mean(yx), by_hand(yx, lambda values: round(sum(values) / len(values)))
    )


@given(hnp.arrays(np.uint32, shapes, elements=st.integers(0, 3)))
def test_the_most_frequent_label_wins(yx):
    np.testing.assert_array_equal(downsample_labels(yx), by_hand(yx, most_frequent))


@halvings
@settings(deadline=None)  # the first call compiles
@given(st.integers(2, 20), st.integers(2, 20), st.integers(1, 9), st.integers(1, 9))
def test_even_regions_equal_the_whole(halve, height, width, y, x):
    yx = np.random.default_rng(0).integers(0, 5, (height, width)).astype(np.uint32)
    y, x = 2 * min(y, (height - 1) // 2), 2 * min(x, (width - 1) // 2)
    np.testing.assert_array_equal(halve(yx[y:, x:]), halve(yx)[y // 2 :, x // 2 :])
    if y and x:
        np.testing.assert_array_equal(halve(yx[:y, :x]), halve(yx)[: y // 2, : x // 2])


@halvings
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.uint32])
def test_dtype_and_leading_axes_are_kept(halve, dtype):
    tczyx = np.random.default_rng(1).integers(0, 100, (2, 1, 3, 5, 8)).astype(dtype)
    out = halve(tczyx)
    assert out.dtype == dtype
    assert out.shape == (2, 1, 3, 3, 4)
    np.testing.assert_array_equal(out[1, 0, 2], halve(tczyx[1, 0, 2]))


def test_floats_keep_their_mean():
    yx = np.random.default_rng(2).random((16, 16)).astype(np.float32)
    out = downsample_mean(yx)
    assert out.dtype == np.float32
    assert out.mean() == pytest.approx(yx.mean(), rel=1e-6)


def test_large_labels_survive():
    assert (downsample_labels(np.full((4, 4), 2**32 - 1, np.uint32)) == 2**32 - 1).all()


@halvings
def test_a_line_is_refused(halve):
    with pytest.raises(ValueError, match="y x"):
        halve(np.zeros(5))


@pytest.mark.parametrize("dtype", [np.int16, np.uint16, np.uint32])
def test_the_ends_of_a_type_do_not_run_over(dtype):
    """Each sum of four, with its two bits beyond the quarter, at both ends; the mean is half to even."""
    ends = np.iinfo(dtype)
    squares = [
        [end] * 3 + [end + step]
        for end, sign in ((ends.min, 1), (ends.max, -1))
        for step in sign * np.arange(5)
    ]
    yx = np.array(squares, dtype).reshape(-1, 2, 2).transpose(1, 0, 2).reshape(2, -1)
    np.testing.assert_array_equal(
        downsample_mean(yx)[0], [round(sum(map(int, square)) / 4) for square in squares]
    )


def test_a_view_that_cannot_be_written_is_halved_like_its_copy():
    yx = np.random.default_rng(4).integers(0, 60000, (20, 30)).astype(np.uint16)[::-2, 3:20]
    yx.flags.writeable = False
    np.testing.assert_array_equal(downsample_mean(yx), downsample_mean(yx.copy()))


@pytest.mark.parametrize("dtype", [np.uint64, np.float16, np.bool_])
def test_a_type_that_no_image_has_is_refused(dtype):
    with pytest.raises(TypeError, match="expected integers of up to 32 bits, float32 or float64, found"):
        downsample_mean(np.zeros((4, 4), dtype))
