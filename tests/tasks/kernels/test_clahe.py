from itertools import pairwise

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage import exposure

from tasks.kernels.clahe import Grid, equalize_adapthist, equalize_region, tile_histograms, tile_maps
from tasks.kernels.levels import grey_levels, level_counts, limits_from_counts, stretch, value_range
from tests.support import DATA, needs

INSTRUMENTS = DATA / "instruments"
ROUNDING = 1e-7  # ours is float32


def noise(shape, dtype=np.uint16, seed=0):
    unit = np.random.default_rng(seed).beta(2, 6, shape)
    return unit.astype(dtype) if np.dtype(dtype).kind == "f" else (unit * np.iinfo(dtype).max).astype(dtype)


def assert_equals_scikit_image(yx, *options):
    ours = equalize_adapthist(yx, *options)
    assert ours.dtype == np.float32
    np.testing.assert_allclose(ours, exposure.equalize_adapthist(yx, *options), rtol=0, atol=ROUNDING)


def hot_pixel():
    yx = np.full((40, 33), 700, np.uint16)
    yx[11, 20] = 65535
    return yx


EDGES = {
    "hot pixel": hot_pixel(),
    "constant": np.full((41, 57), 900, np.uint16),
    "constant, 8 bits": np.full((41, 57), 5, np.uint8),
    "constant floats": np.full((100, 100), 0.1),
    "black": np.zeros((24, 24), np.uint8),
    "white": np.ones((16, 16), np.float32),
    "one pixel": np.full((1, 1), 7, np.uint8),
    "one column": noise((57, 1)),
    "one row": noise((1, 90), np.uint8),
    "saturated": np.where(noise((50, 60)) > 9000, 65535, noise((50, 60))).astype(np.uint16),
    "mostly saturated": np.where(noise((50, 60)) > 3000, 255, 0).astype(np.uint8),
    "two values": (noise((31, 45)) > 12000).astype(np.uint16),
    "dim floats": (noise((30, 30), np.float64) * 1e-4).astype(np.float32),
}


@pytest.mark.parametrize("name", EDGES)
@pytest.mark.parametrize("options", [(), (7,), (100,), ((5, 64), 0.03, 64)])
def test_edge_cases_equal_scikit_image(name, options):
    assert_equals_scikit_image(EDGES[name], *options)


@given(
    shape=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    dtype=st.sampled_from([np.uint8, np.uint16, np.float32, np.float64]),
    kernel_size=st.none() | st.integers(1, 90) | st.tuples(st.integers(1, 90), st.integers(1, 90)),
    clip_limit=st.sampled_from([0.0, 0.001, 0.01, 0.1, 0.5, 1.0]),
    nbins=st.sampled_from([2, 7, 64, 255, 256, 257]),
    seed=st.integers(0, 99),
)
@settings(max_examples=60, deadline=None)
def test_any_options_equal_scikit_image(shape, dtype, kernel_size, clip_limit, nbins, seed):
    assert_equals_scikit_image(noise(shape, dtype, seed), kernel_size, clip_limit, nbins)


@needs("instruments", "metamorph_stk")
@pytest.mark.parametrize(
    "path", ["metamorph_stk", "pims_stack", "fluorescence_2ch", "nuclei_timelapse", "stardist_2d_3d"]
)
def test_real_images_equal_scikit_image(path):
    files = sorted(one for one in (INSTRUMENTS / path).iterdir() if one.suffix.lower() in (".tif", ".stk"))
    yx = tifffile.imread(files[0])
    yx = yx.reshape(-1, *yx.shape[-2:])[0]
    for kernel_size in (None, yx.shape[0] // 10):
        assert_equals_scikit_image(yx, kernel_size)


@st.composite
def cut_planes(draw):
    """A plane's shape, kernel, and cuts along y and x, and an order of the parts."""
    shape = draw(st.tuples(st.integers(1, 50), st.integers(1, 50)))
    kernel = draw(st.integers(1, 60) | st.tuples(st.integers(1, 60), st.integers(1, 60)))
    edges = [
        [0, *sorted(draw(st.sets(st.integers(1, side - 1), max_size=3))), side] if side > 1 else [0, side]
        for side in shape
    ]
    spans_y, spans_x = (list(pairwise(edge)) for edge in edges)
    boxes = [(slice(*y), slice(*x)) for y in spans_y for x in spans_x]
    return shape, kernel, draw(st.permutations(boxes))


@given(cut=cut_planes(), seed=st.integers(0, 9), clip_limit=st.sampled_from([0.0, 0.01, 0.2]))
@settings(max_examples=60, deadline=None)
def test_parts_in_any_order_give_the_whole_plane_exactly(cut, seed, clip_limit):
    shape, kernel, boxes = cut
    yx = noise(shape, seed=seed)
    ranges = [value_range(yx[box]) for box in boxes]
    low, high = min(low for low, _ in ranges), max(high for _, high in ranges)
    grid = Grid.over(shape, kernel, 64)
    totals = np.zeros((*grid.tiles_yx, grid.nbins), np.int64)
    parts = [(box, (box[0].start, box[1].start), grey_levels(yx[box], low, high)) for box in boxes]
    for _, origin, levels in parts:
        totals[grid.counted_tiles(origin, levels.shape)] += tile_histograms(levels, origin, grid)
    np.testing.assert_array_equal(totals.sum(axis=-1), np.prod(grid.kernel_yx))
    maps = np.empty(totals.shape, np.uint16)
    for row in reversed(range(len(totals))):  # maps are made apart too
        maps[row] = tile_maps(totals[row], grid, clip_limit)
    equalised = [
        equalize_region(levels, origin, grid, maps[grid.needed_tiles(origin, levels.shape)])
        for _, origin, levels in parts
    ]
    ends = limits_from_counts(sum(level_counts(one) for one in equalised), 0, 100)
    whole = np.empty(shape, np.float32)
    for (box, _, _), levels in zip(parts, equalised, strict=True):
        whole[box] = stretch(levels, *ends)
    np.testing.assert_array_equal(whole, equalize_adapthist(yx, kernel, clip_limit, 64))


def test_other_numbers_are_stretched_over_their_own_range():
    yx = noise((64, 80))
    expected = equalize_adapthist(yx, 16)
    for other in (yx.astype(np.float32), yx.astype(np.int32) - 70000, yx.astype(np.float64) * 7 + 3):
        np.testing.assert_array_equal(equalize_adapthist(other, 16), expected)


def test_equalisation_lifts_a_weak_corner():
    yx = np.zeros((128, 128), np.float32)
    yx[:64, :64] = np.tile([0.0, 0.05], (64, 32))
    yx[64:, 64:] = np.tile([0.0, 1.0], (64, 32))
    contrasts = [np.ptp(equalize_adapthist(yx, 32, limit)[16:48, 16:48]) for limit in (0.01, 0.1, 0.3)]
    assert contrasts[0] > 0.05
    assert contrasts[2] > 2 * contrasts[1] > 5 * contrasts[0]


def test_views_are_equalised_as_copies_are():
    yx = noise((60, 90))
    for view in (yx.T, yx[::-1, ::2]):
        np.testing.assert_array_equal(equalize_adapthist(view, 9), equalize_adapthist(view.copy(), 9))


@pytest.mark.parametrize(
    "options",
    [
        {"kernel_size": 0},
        {"kernel_size": (3, 70000)},
        {"clip_limit": 1.5},
        {"clip_limit": -0.1},
        {"nbins": 1},
    ],
)
def test_strange_options_are_refused(options):
    with pytest.raises(ValueError, match="CLAHE"):
        equalize_adapthist(noise((20, 20)), **options)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_refused(bad):
    yx = noise((20, 20), np.float32)
    yx[3, 4] = bad
    with pytest.raises(ValueError, match="found 1 NaN or infinite"):
        equalize_adapthist(yx)


def test_regions_and_maps_must_fit_the_grid():
    grid = Grid.over((40, 40), 10)
    levels = grey_levels(noise((20, 20)), 0, 65535)
    maps = np.zeros((4, 4, 256), np.uint16)
    for origin in ((21, 0), (0, -1)):
        with pytest.raises(ValueError, match="within a plane"):
            tile_histograms(levels, origin, grid)
    with pytest.raises(ValueError, match=r"expected shape \(3, 3, 256\)"):
        equalize_region(levels, (0, 0), grid, maps)
    with pytest.raises(ValueError, match="256 bins"):
        tile_maps(maps[..., 1:], grid)
    with pytest.raises(TypeError, match="expected uint16"):
        tile_histograms(levels.astype(np.int32), (0, 0), grid)


def test_levels_out_of_range_count_as_the_last():
    grid = Grid.over((1, 2), 2, 4)
    counts = tile_histograms(np.array([[60000, 16383]], np.uint16), (0, 0), grid)
    np.testing.assert_array_equal(counts, [[[0, 0, 0, 4]]])
