import numpy as np
import pytest

from tasks.kernels.annotation_checks import check_masks

SHAPE = (30, 40)


def masks(**boxes):
    yx = np.zeros(SHAPE, np.uint16)
    for name, (y, x, height, width) in boxes.items():
        yx[y : y + height, x : x + width] = int(name.lstrip("n").split("_")[0])
    return yx


def test_any_numbers_become_dense_in_the_order_of_first_pixels():
    found = check_masks(masks(n900=(0, 10, 6, 6), n7=(10, 0, 6, 6), n30=(0, 0, 6, 6)), SHAPE)
    assert (found.specks, found.parted) == (0, 0)
    assert found.labels_yx.dtype == np.uint32
    assert [found.labels_yx[at] for at in ((0, 0), (0, 10), (10, 0), (29, 39))] == [1, 2, 3, 0]


@pytest.mark.parametrize("dtype", ["uint8", "int32", "int64", "float32", "float64"])
def test_types(dtype):
    yx = masks(n1=(0, 0, 6, 6), n2=(0, 6, 6, 6))
    np.testing.assert_array_equal(check_masks(yx.astype(dtype), SHAPE).labels_yx, yx)


def test_no_cell_and_no_background():
    assert not check_masks(np.zeros(SHAPE, np.uint8), SHAPE).labels_yx.any()
    assert (check_masks(np.full(SHAPE, 9), SHAPE).labels_yx == 1).all()


def test_diagonal_neighbours_hang_together():
    yx = np.zeros(SHAPE, np.uint8)
    np.fill_diagonal(yx, 3)
    assert check_masks(yx, SHAPE).labels_yx.max() == 1


def test_crumbs_are_left_out():
    yx = masks(n1=(0, 0, 20, 20), n1_a=(25, 30, 3, 3), n2=(0, 30, 6, 6))
    yx[29, 0] = 2
    found = check_masks(yx, SHAPE)
    assert found.specks == 2
    assert found.labels_yx[26, 31] == found.labels_yx[29, 0] == 0
    assert found.labels_yx.max() == 2


def test_a_tiny_cell_is_no_crumb():
    assert check_masks(masks(n5=(3, 3, 2, 2)), SHAPE).labels_yx.max() == 1


def test_two_cells_with_one_number():
    yx = masks(n4=(0, 0, 6, 6), n4_b=(20, 20, 6, 6), n5=(0, 20, 6, 6))
    with pytest.raises(ValueError, match="4 in 2 pieces"):
        check_masks(yx, SHAPE)
    parted = check_masks(yx, SHAPE, part=True)
    assert parted.parted == 1
    assert parted.labels_yx.max() == 3
    assert len({parted.labels_yx[at] for at in ((0, 0), (20, 20), (0, 20))}) == 3


def test_a_cell_drawn_over_another():
    yx = masks(n1=(5, 0, 10, 30))
    yx[0:30, 10:16] = 2
    with pytest.raises(ValueError, match="a cell drawn over another"):
        check_masks(yx, SHAPE)


def test_a_binary_mask():
    yx = masks(n255=(0, 0, 6, 6), n255_b=(20, 20, 6, 6), n255_c=(0, 20, 6, 6)).astype(np.uint8)
    with pytest.raises(ValueError, match="one number, 255, for 3 pieces"):
        check_masks(yx, SHAPE)
    assert check_masks(yx > 0, SHAPE, part=True).labels_yx.max() == 3


@pytest.mark.parametrize(
    ("yx", "text"),
    [
        (np.zeros((30, 41), int), "shape"),
        (np.zeros((2, 30, 40), int), "shape"),
        (np.full(SHAPE, 0.5), "fractions"),
        (np.full(SHAPE, np.nan), "fractions"),
        (np.full(SHAPE, -1), "from 0"),
        (np.full(SHAPE, "a"), "integers"),
        (np.full(SHAPE, 1j), "integers"),
    ],
)
def test_what_cannot_be_learned_from(yx, text):
    with pytest.raises(ValueError, match=text):
        check_masks(yx, SHAPE)
