import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from tasks.kernels.stitching import merge_ids, overlapping_pairs, provisional_labels, relabel

SQUARE = np.ones((3, 3), bool)


def label_window(mask_yx):
    """A segmenter whose every object is a patch of touching pixels, so what it sees is all it knows."""
    return ndimage.label(mask_yx, SQUARE)[0].astype(np.uint32)


def windows(shape, tile, halo_px):
    for y in range(0, shape[0], tile[0]):
        for x in range(0, shape[1], tile[1]):
            core = slice(y, min(y + tile[0], shape[0])), slice(x, min(x + tile[1], shape[1]))
            window = tuple(
                slice(max(part.start - halo_px, 0), min(part.stop + halo_px, side))
                for part, side in zip(core, shape, strict=True)
            )
            yield core, window


def place_in(window, part):
    return tuple(slice(p.start - w.start, p.stop - w.start) for p, w in zip(part, window, strict=True))


def common(window, core):
    part = tuple(slice(max(w.start, c.start), min(w.stop, c.stop)) for w, c in zip(window, core, strict=True))
    return part if all(side.start < side.stop for side in part) else None


def stitch(mask_yx, tile, halo_px, order):
    """The whole way of a stage: cores are written, halos are kept, and compared with the cores later."""
    shape = mask_yx.shape
    tiles = list(windows(shape, tile, halo_px))
    plane = np.zeros(shape, np.uint32)
    seen = []
    for i in sorted(range(len(tiles)), key=lambda i: order[i % len(order)]):
        core, window = tiles[i]
        labels = provisional_labels(label_window(mask_yx[window]), [part.start for part in window], shape)
        plane[core] = labels[place_in(window, core)]
        seen.append((window, labels))
    pairs = np.concatenate(
        [
            overlapping_pairs(labels[place_in(window, part)], plane[part])
            for window, labels in seen
            for core, _ in tiles
            if (part := common(window, core)) is not None
        ]
    )
    ids = np.unique(plane[plane > 0])
    return relabel(plane, ids, merge_ids(pairs, ids))


def whole(mask_yx):
    labels = provisional_labels(label_window(mask_yx), (0, 0), mask_yx.shape)
    ids = np.unique(labels[labels > 0])
    return relabel(labels, ids, merge_ids(np.empty((0, 2), np.uint64), ids))


@st.composite
def small_blobs(draw):
    """Boxes and bars up to 6 px, in the cells of a grid of 7 px, so that they never join."""
    shape = draw(st.tuples(st.integers(1, 40), st.integers(1, 40)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    mask = np.zeros(shape, bool)
    for y in range(0, shape[0], 7):
        for x in range(0, shape[1], 7):
            y0, y1 = sorted(rng.integers(0, 7, 2))
            x0, x1 = sorted(rng.integers(0, 7, 2))
            mask[y + y0 : y + y1, x + x0 : x + x1] = rng.random() < 0.7
    return mask


tile_sizes = st.tuples(st.integers(1, 45), st.integers(1, 45))
orders = st.lists(st.integers(0, 100), min_size=1, max_size=30)


@settings(max_examples=100, deadline=None)
@given(small_blobs(), tile_sizes, orders)
def test_any_tiling_gives_the_labels_of_the_whole_plane(mask, tile, order):
    tile = tuple(max(side, whole_side // 6) for side, whole_side in zip(tile, mask.shape, strict=True))
    np.testing.assert_array_equal(stitch(mask, tile, 7, order), whole(mask))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.tuples(st.integers(6, 45), st.integers(6, 45)), orders)
def test_objects_larger_than_the_halo_come_out_as_one(seed, tile, order):
    rng = np.random.default_rng(seed)
    mask = np.zeros((40, 44), bool)
    mask[5:8, 2:42] = True  # along the seams
    mask[12:38, 4:9] = True  # across them
    mask[12:37, 20:40] = rng.random((25, 20)) < 0.9  # large both ways, with holes
    np.testing.assert_array_equal(stitch(mask, tile, 3, order), whole(mask))


def test_whole_labels_are_dense_in_the_order_of_first_pixels():
    mask = np.zeros((10, 10), bool)
    mask[0, 5:7], mask[1, 0], mask[5:9, 2:9] = True, True, True
    labels = whole(mask)
    assert (labels[0, 5], labels[1, 0], labels[7, 4]) == (1, 2, 3)
    assert labels.max() == 3


def test_the_number_is_the_place_of_the_first_pixel():
    labels = np.array([[0, 2], [1, 2]], np.uint32)
    found = provisional_labels(labels, (10, 20), (100, 1000))
    np.testing.assert_array_equal(found, [[0, 10022], [11021, 10022]])
    assert found.dtype == np.uint32


def test_planes_beyond_32_bits_get_64():
    found = provisional_labels(np.array([[1]]), (99_999, 99_999), (100_000, 100_000))
    assert found.dtype == np.uint64
    assert found[0, 0] == 10**10


@pytest.mark.parametrize(
    ("labels", "origin", "shape"),
    [
        (np.ones((4, 4), int), (0, 0), (3, 9)),
        (np.ones((4, 4), int), (-1, 0), (9, 9)),
        (np.full((2, 2), 5), (0, 0), (9, 9)),
        (np.full((2, 2), -1), (0, 0), (9, 9)),
        (np.ones((2, 2)), (0, 0), (9, 9)),
        (np.ones(4, int), (0, 0), (9, 9)),
    ],
)
def test_strange_windows_are_refused(labels, origin, shape):
    with pytest.raises(ValueError, match="expected"):
        provisional_labels(labels, origin, shape)


def test_neighbours_that_graze_are_no_pair():
    mine = np.zeros((10, 10), np.uint32)
    theirs = mine.copy()
    mine[:, :6], theirs[:, 5:] = 1, 2
    assert overlapping_pairs(mine, theirs).size == 0
    theirs[:, 2:] = 2
    assert overlapping_pairs(mine, theirs).tolist() == [[1, 2]]


@pytest.mark.parametrize("min_iou", [0.0, 1.5])
def test_a_strange_share_is_refused(min_iou):
    with pytest.raises(ValueError, match="min_iou"):
        overlapping_pairs(np.ones((2, 2), np.uint32), np.ones((2, 2), np.uint32), min_iou=min_iou)


def test_views_of_different_pixels_are_refused():
    with pytest.raises(ValueError, match="same pixels"):
        overlapping_pairs(np.ones((2, 2), np.uint32), np.ones((2, 3), np.uint32))


def test_chains_of_pairs_become_one_and_strangers_are_left_out():
    ids = np.array([3, 10, 20, 30, 40], np.uint32)
    pairs = np.array([[10, 40], [20, 40], [3, 99]], np.uint64)
    assert merge_ids(pairs, ids).tolist() == [1, 2, 2, 3, 2]


@given(st.lists(st.tuples(st.integers(1, 30), st.integers(1, 30)), max_size=20), st.randoms())
def test_the_order_of_pairs_does_not_matter(pairs, random):
    ids = np.arange(1, 31, dtype=np.uint32)
    shuffled = random.sample(pairs, len(pairs))
    one, other = (np.array(some, np.uint64).reshape(-1, 2) for some in (pairs, shuffled))
    np.testing.assert_array_equal(merge_ids(one, ids), merge_ids(other, ids))


def test_an_empty_plane_has_no_labels():
    ids = np.empty(0, np.uint32)
    dense = merge_ids(np.empty((0, 2), np.uint64), ids)
    assert dense.size == 0
    assert not relabel(np.zeros((3, 3), np.uint32), ids, dense).any()


def test_an_unknown_number_is_refused():
    with pytest.raises(ValueError, match="found \\[8\\]"):
        relabel(np.array([[0, 4, 8]], np.uint32), np.array([4], np.uint32), np.array([1], np.uint32))


@pytest.mark.parametrize("ids", [[0, 1], [2, 1], [1, 1]])
def test_unsorted_numbers_are_refused(ids):
    with pytest.raises(ValueError, match="sorted"):
        merge_ids(np.empty((0, 2), np.uint64), np.array(ids, np.uint32))


def test_each_number_needs_a_final_one():
    with pytest.raises(ValueError, match="final number"):
        relabel(np.zeros((1, 1), np.uint32), np.array([4], np.uint32), np.array([1, 2], np.uint32))
