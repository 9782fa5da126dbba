import numpy as np
import pytest
import tifffile
from hypothesis import example, given, settings
from hypothesis import strategies as st
from skimage.restoration import denoise_tv_chambolle as of_skimage
from skimage.util import img_as_float32

from tasks.kernels import tv
from tasks.kernels.tv import (
    denoise_tv_chambolle,
    stop_iteration,
    tv_energies,
    tv_halo_px,
    tv_iterations,
)
from tests.support import DATA, needs


def noisy_edge(shape=(60, 60), seed=0):
    clean = np.zeros(shape, np.float32)
    clean[:, shape[1] // 2 :] = 1
    return clean + np.random.default_rng(seed).normal(0, 0.1, shape).astype(np.float32)


def ramp(shape):
    return np.linspace(0, 1, np.prod(shape), dtype=np.float32).reshape(shape)


def hot_pixel():
    yx = np.full((33, 41), 0.25, np.float32)
    yx[9, 20] = 1
    return yx


def whole(yx):
    return slice(0, yx.shape[0]), slice(0, yx.shape[1])


@pytest.mark.parametrize("weight", [0.02, 0.1])
@pytest.mark.parametrize(
    "yx",
    [
        hot_pixel(),
        np.full((20, 30), 0.3, np.float32),
        np.zeros((7, 5), np.float32),
        np.minimum(noisy_edge((63, 127)), 0.6),
        ramp((50, 1)) ** 3,
        ramp((1, 50)) ** 3,
        ramp((1, 1)),
        ramp((2, 3)),
        np.asfortranarray(noisy_edge((37, 53))),
        noisy_edge((64, 128))[::2, ::3],
    ],
    ids=["hot", "constant", "zero", "saturated", "column", "row", "pixel", "tiny", "fortran", "strided"],
)
def test_equals_scikit_image(yx, weight):
    smooth = denoise_tv_chambolle(yx, weight)
    assert smooth.dtype == np.float32
    np.testing.assert_allclose(smooth, of_skimage(yx, weight), rtol=0, atol=1e-6)


@pytest.mark.parametrize("max_num_iter", range(1, 9))
def test_equals_scikit_image_at_every_number_of_iterations(max_num_iter):
    yx = noisy_edge((23, 31))
    expected = of_skimage(yx, 0.1, 1e-9, max_num_iter)
    np.testing.assert_allclose(denoise_tv_chambolle(yx, 0.1, 1e-9, max_num_iter), expected, rtol=0, atol=1e-6)
    np.testing.assert_allclose(tv_iterations(yx, 0.1, max_num_iter), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("eps", [1.0, 0.1, 1e-2, 5e-4, 2e-4, 1e-4, 5e-5, 2e-5, 1e-5])
def test_stops_where_scikit_image_stops(eps):
    yx = noisy_edge((40, 50))
    np.testing.assert_allclose(
        denoise_tv_chambolle(yx, 0.1, eps), of_skimage(yx, 0.1, eps), rtol=0, atol=1e-6
    )


@pytest.mark.parametrize("sure", [0.1, 0.7, 3.0])
@pytest.mark.parametrize("eps", [1e-2, 2e-4, 1e-5])
def test_a_wrong_forecast_of_the_end_costs_time_alone(sure, eps, monkeypatch):
    monkeypatch.setattr(tv, "SURE", sure)
    yx = noisy_edge((40, 50))
    stop = stop_iteration(tv_energies(yx, whole(yx), 0.1, 200), eps, 200)
    np.testing.assert_array_equal(denoise_tv_chambolle(yx, 0.1, eps), tv_iterations(yx, 0.1, stop))


REAL = [
    "instruments/imagexpress/9987_Plate_3434/TimePoint_1/ZStep_1/9987_B03_s1_w1.TIF",
    "instruments/imagexpress/9987_Plate_3434/TimePoint_1/ZStep_1/9987_B02_s2_w3.TIF",
    "instruments/fluorescence_2ch/Fluorescence_example.tif",
]


@pytest.mark.parametrize("name", REAL)
@pytest.mark.parametrize("weight", [0.02, 0.1])
@needs("instruments")
def test_equals_scikit_image_on_real_images(name, weight):
    raw = tifffile.imread(DATA / name)
    raw = raw[0] if raw.ndim == 3 else raw
    assert raw.dtype in (np.uint8, np.uint16)
    stretched = np.clip(raw / np.float32(np.percentile(raw, 98.5)), 0, 1).astype(np.float32)
    np.testing.assert_allclose(
        denoise_tv_chambolle(stretched, weight), of_skimage(stretched, weight), rtol=0, atol=1e-6
    )
    np.testing.assert_allclose(denoise_tv_chambolle(raw, weight), of_skimage(raw, weight), atol=1e-5)


@needs("dsb2018")
def test_stops_where_scikit_image_stops_on_real_images():
    with np.load(DATA / "dsb2018" / "train.npz") as pictures:
        names = [name for name in pictures.files if name.startswith("img")][::27]
        small = [yx for yx in (pictures[name] for name in names) if yx.size <= 256 * 320]
    assert len(small) > 5
    for yx in small:
        np.testing.assert_allclose(
            denoise_tv_chambolle(yx), of_skimage(img_as_float32(yx), 0.02), rtol=0, atol=1e-5
        )


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.uint16, np.int16, np.float16, np.float64])
def test_dtypes_mean_what_they_mean_to_scikit_image(dtype):
    scale = np.iinfo(dtype).max if np.issubdtype(dtype, np.integer) else 1
    yx = (np.clip(noisy_edge(), 0, 1) * scale).astype(dtype)
    smooth = denoise_tv_chambolle(yx, 0.1)
    assert smooth.dtype == np.float32
    expected = of_skimage(yx if dtype is not bool else yx.astype(np.float64), 0.1)
    np.testing.assert_allclose(smooth, expected, rtol=0, atol=1e-5)


def test_noise_goes_and_the_edge_stays():
    noisy = noisy_edge()
    clean = (noisy > 0.5).astype(np.float32)
    smooth = denoise_tv_chambolle(noisy, 0.15)
    assert np.abs(smooth - clean).mean() < 0.3 * np.abs(noisy - clean).mean()
    assert smooth[:, 32].mean() - smooth[:, 27].mean() > 0.8


@pytest.mark.parametrize("read_only", [False, True])
def test_the_input_is_left_alone(read_only):
    yx = noisy_edge()
    kept = yx.copy()
    yx.flags.writeable = not read_only
    for smooth in (denoise_tv_chambolle(yx), tv_iterations(yx, 0.02, 1)):
        assert not np.shares_memory(smooth, yx)
    np.testing.assert_array_equal(yx, kept)


@pytest.mark.parametrize(
    "options", [{"weight": 0}, {"weight": np.nan}, {"eps": 0}, {"max_num_iter": 0}, {"weight": -1}]
)
def test_strange_options_are_refused(options):
    with pytest.raises(ValueError, match="TV denoising"):
        denoise_tv_chambolle(noisy_edge(), **options)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_values_that_are_not_finite_are_refused(bad):
    yx = noisy_edge()
    yx[3, 4] = bad
    for call in (
        lambda: denoise_tv_chambolle(yx),
        lambda: tv_iterations(yx, 0.02, 3),
        lambda: tv_energies(yx, whole(yx), 0.02, 3),
    ):
        with pytest.raises(ValueError, match="finite"):
            call()


@pytest.mark.parametrize("core", [(slice(5, 5), slice(0, 9)), (slice(0, 9), slice(90, 99))])
def test_a_core_outside_its_block_is_refused(core):
    with pytest.raises(ValueError, match="core"):
        tv_energies(noisy_edge(), core, 0.02, 2)


def test_energies_are_the_formula():
    yx, weight = noisy_edge((31, 47)).astype(np.float64), 0.1
    energies = tv_energies(yx, whole(yx), weight, 12)
    for iteration in (1, 2, 12):
        u = tv_iterations(yx, weight, iteration).astype(np.float64)
        dy = np.diff(u, axis=0, append=u[-1:])
        dx = np.diff(u, axis=1, append=u[:, -1:])
        expected = np.square(u - yx).sum() + weight * np.hypot(dy, dx).sum()
        assert energies[iteration - 1] == pytest.approx(expected, rel=1e-5)


def test_the_stopping_rule():
    energies = np.array([100.0, 90, 91, 90.5, 90.49])
    assert stop_iteration(energies, 0.02, 200) == 3
    assert stop_iteration(energies, 0.02, 2) == 2
    assert stop_iteration(energies, 0.007, 200) == 4
    assert stop_iteration(energies, 1e-6, 200) is None
    assert stop_iteration(energies, 1e-6, 5) == 5
    assert stop_iteration(np.zeros(1), 1e-6, 200) == 1


def tiles(length, size):
    return [slice(start, min(start + size, length)) for start in range(0, length, size)]


def with_halo(yx, rows, columns, halo_px):
    """A core's block, cut at the plane's borders, and the core within it."""
    starts = [max(0, part.start - halo_px) for part in (rows, columns)]
    block = yx[starts[0] : rows.stop + halo_px, starts[1] : columns.stop + halo_px]
    core = tuple(slice(p.start - s, p.stop - s) for p, s in zip((rows, columns), starts, strict=True))
    return block, core


@settings(max_examples=60, deadline=None)
@given(
    st.tuples(st.integers(1, 60), st.integers(1, 60)),
    st.tuples(st.integers(1, 40), st.integers(1, 40)),
    st.integers(1, 20),
    st.sampled_from([0.02, 0.1, 1.0]),
    st.integers(0, 99),
)
@example((60, 60), (1, 7), 9, 0.1, 0)
def test_blocks_equal_the_whole(shape, tile, iterations, weight, seed):
    yx = noisy_edge(shape, seed)
    energies, smooth = np.zeros(iterations), np.full_like(yx, np.nan)
    for rows in tiles(shape[0], tile[0]):
        for columns in tiles(shape[1], tile[1]):
            block, core = with_halo(yx, rows, columns, tv_halo_px(iterations))
            energies += tv_energies(block, core, weight, iterations)
            smooth[rows, columns] = tv_iterations(block, weight, iterations)[core]
    np.testing.assert_array_equal(smooth, tv_iterations(yx, weight, iterations))
    np.testing.assert_allclose(energies, tv_energies(yx, whole(yx), weight, iterations), rtol=1e-6)
    stop = stop_iteration(energies, 2e-4, iterations)
    np.testing.assert_allclose(
        tv_iterations(yx, weight, stop), denoise_tv_chambolle(yx, weight, 2e-4, iterations), atol=1e-4
    )


@pytest.mark.parametrize("iterations", [2, 3, 11])
def test_the_halo_is_no_wider_than_needed(iterations):
    """One pixel less and the last energy, at least, is another."""
    yx = np.random.default_rng(3).random((80, 90)).astype(np.float32)
    rows, columns = slice(30, 45), slice(40, 50)
    results = []
    for less in (0, 1):
        block, core = with_halo(yx, rows, columns, tv_halo_px(iterations) - less)
        results.append(tv_energies(block, core, 0.5, iterations))
    wide, _ = with_halo(yx, rows, columns, 100)
    assert results[0][-1] == tv_energies(wide, (rows, columns), 0.5, iterations)[-1]
    assert results[1][-1] != results[0][-1]
