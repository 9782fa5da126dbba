import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tasks.kernels.contrast import clip_percentile, denoise_tv_chambolle, equalize_adapthist, normalise

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
@pytest.mark.parametrize(
    "step", [normalise, equalize_adapthist, lambda yx: clip_percentile(normalise(yx), 1, 99)]
)
def test_every_dtype_gives_float32_in_range(step, dtype):
    out = step(frame(dtype))
    assert out.dtype == np.float32
    assert 0 <= out.min() < out.max() <= 1


@pytest.mark.parametrize("shape", [(1, 1), (1, 50), (50, 1), (2, 3)])
@pytest.mark.parametrize("kernel_size", [None, 1, 8, 128])
def test_tiny_planes_are_equalised(shape, kernel_size):
    out = equalize_adapthist(np.arange(np.prod(shape)).reshape(shape), kernel_size)
    assert out.shape == shape
    assert np.isfinite(out).all()


@pytest.mark.parametrize("step", [normalise, equalize_adapthist])
def test_a_constant_plane_becomes_zero(step):
    assert not step(np.full((20, 20), 900, np.uint16)).any()


def test_equalisation_lifts_a_weak_corner():
    yx = np.zeros((128, 128), np.float32)
    yx[:64, :64] = np.tile([0.0, 0.05], (64, 32))
    yx[64:, 64:] = np.tile([0.0, 1.0], (64, 32))
    contrasts = [np.ptp(equalize_adapthist(yx, 32, limit)[16:48, 16:48]) for limit in (0.01, 0.1, 0.3)]
    assert contrasts[0] > 0.05
    assert contrasts[2] > 2 * contrasts[1] > 5 * contrasts[0]


def test_equalisation_ignores_gain_and_offset():
    raw = frame(np.float32)
    np.testing.assert_allclose(equalize_adapthist(raw, 16), equalize_adapthist(raw * 7 + 3, 16), atol=2e-3)


@pytest.mark.parametrize(
    "options", [{"kernel_size": 0}, {"clip_limit": 1.5}, {"clip_limit": -0.1}, {"nbins": 1}]
)
def test_equalisation_refuses_strange_options(options):
    with pytest.raises(ValueError, match="CLAHE"):
        equalize_adapthist(frame(), **options)


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


def test_denoising_takes_noise_and_keeps_the_edge():
    clean = np.zeros((60, 60), np.float32)
    clean[:, 30:] = 1
    noisy = clean + np.random.default_rng(0).normal(0, 0.1, clean.shape).astype(np.float32)
    out = denoise_tv_chambolle(noisy, 0.15)
    assert np.abs(out - clean).mean() < 0.3 * np.abs(noisy - clean).mean()
    assert out[:, 32].mean() - out[:, 27].mean() > 0.8


def test_a_constant_plane_needs_no_denoising():
    np.testing.assert_array_equal(denoise_tv_chambolle(np.full((5, 5), 0.3, np.float32)), np.float32(0.3))


@pytest.mark.parametrize("options", [{"weight": 0}, {"eps": 0}, {"max_num_iter": 0}])
def test_denoising_refuses_strange_options(options):
    with pytest.raises(ValueError, match="TV denoising"):
        denoise_tv_chambolle(frame(), **options)


@pytest.mark.parametrize(
    "step", [normalise, equalize_adapthist, denoise_tv_chambolle, lambda yx: clip_percentile(yx, 1, 99)]
)
def test_nan_is_refused(step):
    yx = frame(np.float32)
    yx[3, 4] = np.nan
    with pytest.raises(ValueError, match="finite"):
        step(yx)
