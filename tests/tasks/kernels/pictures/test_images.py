from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from tasks.kernels import pictures
from tasks.kernels.pictures import images, raster, style
from tests.tasks.kernels.pictures.png import holds_colour, pixels

RNG = np.random.default_rng(5)
PLANE = RNG.normal(1000, 100, (60, 80)).astype(np.float32)


@pytest.fixture
def labels_yx():
    labels = np.zeros((60, 80), np.uint32)
    labels[10:25, 10:30] = 1
    labels[25:40, 10:30] = 2
    labels[10:50, 50:70] = 4_000_000_000
    return labels


def test_outlines_are_coloured_and_nothing_else_is(labels_yx):
    drawn = pixels(pictures.labels_over_image(PLANE, labels_yx)).astype(int)
    factor = drawn.shape[0] // 60
    grown = np.kron(labels_yx, np.ones((factor, factor), np.uint32))
    coloured = (drawn.max(axis=-1) - drawn.min(axis=-1)) > 0
    np.testing.assert_array_equal(coloured, raster.outlines(grown, width_px=2))


def test_touching_labels_differ_in_colour(labels_yx):
    drawn = pixels(pictures.labels_over_image(PLANE, labels_yx))
    factor = drawn.shape[0] // 60
    above, below = drawn[25 * factor - 1, 20 * factor], drawn[25 * factor, 20 * factor]
    assert tuple(above) == style.rgb(images.OUTLINES[1])
    assert tuple(below) == style.rgb(images.OUTLINES[2])


def test_labels_take_the_colour_of_their_cluster(labels_yx):
    png = pictures.labels_over_image(PLANE, labels_yx, colours_by={1: 3, 2: -1, 4_000_000_000: 12})
    assert holds_colour(png, style.rgb(style.CATEGORIES[3]))
    assert holds_colour(png, style.rgb(style.CATEGORIES[0])), "after twelve, the colours come round"
    assert holds_colour(png, style.rgb(style.UNKNOWN))
    assert not holds_colour(png, style.rgb(style.CATEGORIES[1]), at_least=1)


def test_a_large_plane_is_shrunk():
    png = pictures.labels_over_image(np.zeros((3000, 1500), np.uint16), np.zeros((3000, 1500), np.uint32))
    assert pixels(png).shape == (1280, 640, 3)


def test_a_picture_without_labels_is_grey():
    drawn = pixels(pictures.labels_over_image(PLANE, np.zeros(PLANE.shape, np.uint32)))
    assert (drawn == drawn[..., :1]).all()


def test_labels_of_another_shape_are_refused():
    with pytest.raises(ValueError, match=r"labels_yx: expected .*\(60, 80\), found \(60, 79\); give"):
        pictures.labels_over_image(PLANE, np.zeros((60, 79), np.uint32))


def test_before_and_after_lie_side_by_side_in_grey():
    left, right = np.zeros((40, 40)), np.zeros((40, 40))
    left[:, :20], right[:, 20:] = 1, 1
    png = pictures.before_after(left, right, pixel_size_um=None, title="chip 1")
    row = pixels(png)[500, :, 0]
    middle = len(row) // 2
    assert png[25] == 0, "grey, in one channel"
    # white, black, a white gap, black, white
    places = [100, middle - 100, middle, middle + 100, -100]
    assert row[places].tolist() == [255, 0, 255, 0, 255]


def test_the_scale_bar_has_the_length_it_says():
    bare = pixels(pictures.before_after(PLANE * 0, PLANE * 0, pixel_size_um=None, title="x"))
    marked = pixels(pictures.before_after(PLANE * 0, PLANE * 0, pixel_size_um=0.5, title="x"))
    half = bare.shape[1] // 2
    changed = (marked != bare).any(axis=-1)[:, :half]
    panel_px = (images.PAGE_IN - 3 * images.MARGIN_IN) / 2 * style.DPI
    longest_row = int((marked[:, :half, 0] > 250)[changed.any(axis=1)].sum(axis=1).max())
    margin_px = 2 * round(images.MARGIN_IN * style.DPI)
    assert changed.any()
    assert longest_row - margin_px == pytest.approx(10 / 40 * panel_px, abs=20), "10 um of 80 x 0.5 um"


@pytest.mark.parametrize("size", [0, -1, float("nan")])
def test_a_pixel_without_size_is_refused(size):
    with pytest.raises(ValueError, match="pixel_size_um: expected a positive length"):
        pictures.before_after(PLANE, PLANE, pixel_size_um=size, title="x")


def test_planes_may_differ_in_shape_and_be_flat():
    assert pixels(pictures.before_after(PLANE, np.zeros((30, 20)), pixel_size_um=1, title="$x^{$")).ndim == 3


def test_rows_are_spread_over_each_group():
    groups = np.array([0] * 100 + [2] * 3 + [-1] * 5 + [0])
    rows = pictures.spread_rows(groups, per_group=5)
    assert list(rows) == [0, 2]
    assert rows[0].tolist() == [0, 25, 50, 75, 108]
    assert rows[2].tolist() == [100, 101, 102]


def test_patches_are_drawn_in_the_block_of_their_group():
    patches = np.stack([np.full((8, 8), value, np.float32) for value in (0, 0, 1, 1)])
    png = pictures.patch_sheet(patches, np.array([0, 0, 1, 1]), titles={0: "dark", 1: "bright"})
    drawn = pixels(png)
    half = len(drawn) // 2
    dark = (drawn == 0).all(axis=-1).sum(axis=1)
    assert dark[:half].max() > 100
    assert dark[half:].max() == 0, "the second block is white: the stretch is shared"
    assert holds_colour(png, style.rgb(style.CATEGORIES[0]))
    assert holds_colour(png, style.rgb(style.CATEGORIES[1]))


def test_the_same_patches_with_and_without_a_channel_axis():
    nyx = RNG.random((6, 8, 8), np.float32)
    groups = np.array([0, 0, 0, 1, 1, 1])
    ncyx = np.stack([nyx, 1 - nyx], axis=1)
    plain = pictures.patch_sheet(nyx, groups, titles={})
    assert pictures.patch_sheet(ncyx, groups, titles={}) == plain
    assert pictures.patch_sheet(ncyx, groups, titles={}, channel=1) != plain


@pytest.mark.parametrize(
    ("shape", "groups", "channel", "match"),
    [
        ((3, 8, 8), [0, 0], 0, "groups: expected a group for each of 3 patches"),
        ((2, 8, 8), [-1, -1], 0, "groups: expected"),
        ((0, 8, 8), [], 0, "groups: expected"),
        ((2, 1, 8, 8), [0, 0], 1, "patches: expected axes"),
        ((2, 8), [0, 0], 0, "patches: expected axes"),
    ],
)
def test_patches_that_do_not_fit_are_refused(shape, groups, channel, match):
    with pytest.raises(ValueError, match=match):
        pictures.patch_sheet(np.zeros(shape), np.array(groups, int), titles={}, channel=channel)


def test_reconstructions_are_drawn_under_their_originals():
    originals = RNG.random((12, 1, 16, 16), np.float32)
    drawn = pixels(pictures.reconstructions(originals, np.zeros_like(originals)))
    dark = (drawn == 0).all(axis=-1).sum(axis=1)
    assert dark[len(drawn) // 2 :].max() > 0.8 * drawn.shape[1]
    assert dark[: len(drawn) // 2].max() < 0.2 * drawn.shape[1]


@pytest.mark.parametrize("shape", [(2, 16, 15), (0, 16, 16)])
def test_reconstructions_of_another_shape_are_refused(shape):
    with pytest.raises(ValueError, match="rebuilt: expected the shape of the originals"):
        pictures.reconstructions(np.zeros((min(shape[0], 2), 16, 16)), np.zeros(shape))


def test_threads_draw_the_same_bytes(labels_yx):
    def draw(_):
        sheet = pictures.patch_sheet(PLANE[None, :16, :16], np.array([0]), titles={0: "one"})
        return sheet, pictures.labels_over_image(PLANE, labels_yx)

    with ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(draw, range(8)))) == 1
