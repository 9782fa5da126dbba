import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tasks.kernels.contrast import clip_percentile, normalise

DTYPES = [np.uint8, np.uint16, np.int16, np.float32]
shapes = st.tuples(st.integers(1, 12), st.integers(1, 12))


def frame(dtype=np.uint16, shape=(64, 80)):
    y, x = np.mgrid[: shape[0], : shape[1]]
    return (40 + 20 * np.sin(y / 5) + 30 * np.exp(-((x - 30) ** 2 + (y - 30) ** 2) / 60)).astype(dtype)


@given(hnp.arrays(np.int16, shapes))
def test_normalise_is_min_to_zero_max_to_one(yx):
    out = normalise(yx)
    assert out.dtype == np.float32
    low, high = int(yx.min()), int(yx.max())
    expected = np.zeros(yx.shape) if low == high else (yx.astype(float) - low) / (high - low)
    np.testing.assert_allclose(out, expected, atol=1e-6)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("step", [normalise, lambda yx: clip_percentile(normalise(yx), 1, 99)])
def test_every_dtype_gives_float32_in_range(step, dtype):
    out = step(frame(dtype))
    assert out.dtype == np.float32
    assert 0 <= out.min() < out.max() <= 1


def test_a_constant_plane_becomes_zero():
    assert not normalise(np.full((20, 20), 900, np.uint16)).any()


def test_clipping_stops_at_the_percentiles():
    yx = np.arange(101, dtype=np.float32).reshape(1, -1)
    np.testing.assert_array_equal(clip_percentile(yx, 10, 90), np.clip(yx, 10, 90))


def test_clipping_looks_inside_only():
    yx = np.array([[0, 1, 2, 3, 1000]], np.float32)
    inside = np.array([[True, True, True, True, False]])
    assert clip_percentile(yx, 0, 100, inside=inside).max() == 3


@pytest.mark.parametrize(("low", "high"), [(5, 5), (90, 10), (-1, 50), (0, 101)])
def test_clipping_refuses_strange_percentiles(low, high):
    with pytest.raises(ValueError, match="percentiles"):
        clip_percentile(frame(), low, high)


def test_clipping_needs_a_pixel():
    with pytest.raises(ValueError, match="at least one pixel"):
        clip_percentile(frame(), 1, 99, inside=np.zeros((64, 80), bool))


@pytest.mark.parametrize("step", [normalise, lambda yx: clip_percentile(yx, 1, 99)])
def test_nan_is_refused(step):
    yx = frame(np.float32)
    yx[3, 4] = np.nan
    with pytest.raises(ValueError, match="finite"):
        step(yx)
