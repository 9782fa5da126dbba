import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from skimage.segmentation import find_boundaries

from tasks.kernels.pictures import raster

SHAPES = hnp.array_shapes(min_dims=2, max_dims=2, max_side=9)
LABELS = hnp.arrays(np.uint32, SHAPES, elements=st.integers(0, 3))


def test_outlines_of_a_known_case():
    labels_yx = np.array(
        [
            [0, 0, 0, 0, 0, 0],
            [0, 1, 1, 1, 2, 2],
            [0, 1, 1, 1, 2, 2],
            [0, 1, 1, 1, 2, 2],
            [0, 0, 0, 0, 0, 0],
        ]
    )
    expected = np.array(
        [
            [0, 0, 0, 0, 0, 0],
            [0, 1, 1, 1, 1, 1],
            [0, 1, 0, 1, 1, 0],  # the edge of the picture is no border
            [0, 1, 1, 1, 1, 1],
            [0, 0, 0, 0, 0, 0],
        ],
        dtype=bool,
    )
    np.testing.assert_array_equal(raster.outlines(labels_yx), expected)


@given(LABELS)
def test_outlines_agree_with_scikit_image(labels_yx):
    oracle = find_boundaries(labels_yx, connectivity=1, mode="inner", background=0)
    np.testing.assert_array_equal(raster.outlines(labels_yx), oracle)


@given(LABELS, st.integers(1, 4))
def test_wider_outlines_hold_the_narrow_ones_and_stay_inside(labels_yx, width_px):
    wide = raster.outlines(labels_yx, width_px=width_px + 1)
    assert (wide >= raster.outlines(labels_yx, width_px=width_px)).all()
    assert not wide[labels_yx == 0].any()


def test_a_wide_outline_leaves_the_middle():
    labels_yx = np.zeros((9, 9), np.uint32)
    labels_yx[1:8, 1:8] = 5
    wide = raster.outlines(labels_yx, width_px=2)
    expected = labels_yx > 0
    expected[3:6, 3:6] = False
    np.testing.assert_array_equal(wide, expected)


def test_the_stretch_reaches_black_and_white_whatever_the_type():
    ramp = np.linspace(0, 1, 1001)
    for array in (ramp, (ramp * 60000).astype(np.uint16), (ramp * 60000 - 30000).astype(np.int16)):
        grey = raster.stretched(array)
        assert (grey[0], grey[-1]) == (0, 255)
        assert (np.diff(grey.astype(int)) >= 0).all()


def test_the_stretch_is_not_moved_by_one_hot_pixel_or_by_gaps():
    array = np.tile(np.linspace(0, 1, 100, dtype=np.float32), (100, 1))
    spoilt = array.copy()
    spoilt[0, :2] = np.nan, np.inf
    spoilt[1, 1] = 1e9
    assert np.abs(raster.stretched(array)[2:].astype(int) - raster.stretched(spoilt)[2:]).max() <= 1
    assert (raster.stretched(spoilt)[0, 0], raster.stretched(spoilt)[0, 1]) == (0, 255)


@pytest.mark.parametrize("array", [np.full((3, 3), 7), np.full((3, 3), np.nan)])
def test_without_contrast_all_is_black(array):
    assert not raster.stretched(array).any()


@pytest.mark.parametrize(
    ("shape", "shown"),
    [
        ((2560, 1280), (1280, 640)),
        ((10_000, 1), (1280, 1)),
        ((1000, 900), (1000, 900)),
        ((256, 200), (768, 600)),
        ((1, 1), (800, 800)),
    ],
)
def test_the_shown_size(shape, shown):
    assert raster.shown_shape(shape) == shown


def test_shrinking_takes_the_mean_and_growing_repeats():
    yx = np.arange(16, dtype=np.uint16).reshape(4, 4)
    np.testing.assert_allclose(raster.resized(yx, (2, 2)), yx.reshape(2, 2, 2, 2).mean(axis=(1, 3)))
    np.testing.assert_array_equal(raster.resized(yx, (8, 8)), np.kron(yx, np.ones((2, 2))))
    np.testing.assert_array_equal(raster.resized(yx, (4, 4)), yx)


@given(LABELS, st.integers(1, 20), st.integers(1, 20))
def test_resized_labels_make_up_no_label(labels_yx, height, width):
    small = raster.resized_labels(labels_yx, (height, width))
    assert small.shape == (height, width)
    assert set(np.unique(small)) <= set(np.unique(labels_yx))


@given(LABELS, st.integers(1, 4))
def test_labels_grown_by_a_factor_are_repeated(labels_yx, factor):
    grown = raster.resized_labels(labels_yx, tuple(side * factor for side in labels_yx.shape))
    np.testing.assert_array_equal(grown, np.kron(labels_yx, np.ones((factor, factor), np.uint32)))


def test_tiles_are_laid_out_in_rows_on_white():
    nyx = np.array([[[1]], [[2]], [[3]]], np.uint8)
    expected = [[1, 255, 2], [255, 255, 255], [3, 255, 255]]
    np.testing.assert_array_equal(raster.tiled(nyx, columns=2, gap_px=1), expected)


@given(st.floats(1e-3, 1e7))
def test_the_scale_bar_is_round_and_at_most_a_quarter(width_um):
    bar = raster.scale_bar_um(width_um)
    assert width_um / 4 / 2.5 * 0.999 <= bar <= width_um / 4 * 1.001
    assert f"{bar:e}"[0] in "125"
    assert f"{bar:.6e}"[1:8] == ".000000"


@pytest.mark.parametrize("shape", [(3,), (1, 4, 4), (0, 4)])
def test_what_is_not_a_plane_is_refused(shape):
    with pytest.raises(ValueError, match=r"raw_yx: expected one plane .* found shape .*; choose"):
        raster.plane(np.zeros(shape), "raw_yx")
