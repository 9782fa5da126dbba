import numpy as np
import pytest

from tasks.kernels.matching import average_precision, changes, match_counts, overlaps, precision_of


def boxes(*corners, shape=(40, 40)):
    """Labels 1, 2, ...: boxes (y, x, height, width)."""
    labels = np.zeros(shape, np.uint32)
    for number, (y, x, height, width) in enumerate(corners, start=1):
        labels[y : y + height, x : x + width] = number
    return labels


TWO = boxes((0, 0, 10, 10), (20, 20, 10, 10))


def test_overlaps_of_known_boxes():
    found = overlaps(TWO, boxes((0, 5, 10, 10), (20, 20, 10, 10)))
    np.testing.assert_array_equal(np.stack([found.known, found.found]), [[0, 1], [0, 1]])
    np.testing.assert_allclose(found.iou, [50 / 150, 1])


def test_labels_may_be_any_numbers_without_background():
    known = np.array([[7, 7], [900, 900]])
    found = overlaps(known, np.array([[5, 5], [5, 3]]))
    np.testing.assert_array_equal(found.known_ids, [7, 900])
    np.testing.assert_allclose(
        sorted(zip(found.known, found.found, found.iou, strict=True)),
        [(0, 1, 2 / 3), (1, 0, 1 / 2), (1, 1, 1 / 4)],
    )


def test_counts_at_several_thresholds():
    found = boxes((0, 0, 10, 6), (20, 20, 10, 10), (30, 0, 5, 5))  # IoU 0.6, 1, and one too many
    np.testing.assert_array_equal(
        match_counts(TWO, found, (0.5, 0.75, 0.9)), [[2, 0, 1], [1, 1, 2], [1, 1, 2]]
    )
    np.testing.assert_array_equal(match_counts(TWO, np.zeros_like(TWO), (0.5,)), [[0, 2, 0]])
    np.testing.assert_array_equal(match_counts(np.zeros_like(TWO), TWO, (0.5,)), [[0, 0, 2]])


def test_a_mask_is_matched_once():
    """Halves of a cell have IoU 0.5 both, and one of them is too many."""
    whole, halves = boxes((0, 0, 10, 10)), boxes((0, 0, 5, 10), (5, 0, 5, 10))
    np.testing.assert_array_equal(match_counts(whole, halves, (0.5,)), [[1, 0, 1]])


def test_as_cellpose_counts():
    from scipy.ndimage import label

    rng = np.random.default_rng(3)
    dots = rng.random((120, 120)) > 0.7
    known, found = label(dots)[0], label(dots ^ (rng.random(dots.shape) > 0.97))[0]
    counts = match_counts(known, found, (0.3, 0.5, 0.75))
    iou = np.zeros((known.max(), found.max()))
    for one in range(1, known.max() + 1):
        for other in np.unique(found[(known == one) & (found > 0)]):
            a, b = known == one, found == other
            iou[one - 1, other - 1] = (a & b).sum() / (a | b).sum()
    from scipy.optimize import linear_sum_assignment

    for row, threshold in zip(counts, (0.3, 0.5, 0.75), strict=True):
        good = iou >= threshold
        i, j = linear_sum_assignment(-good.astype(float) - iou / (2 * min(iou.shape)))
        assert row[0] == good[i, j].sum()
        assert (row[0] + row[1], row[0] + row[2]) == iou.shape


def test_planes_are_pooled():
    none = np.zeros_like(TWO)
    np.testing.assert_allclose(average_precision([TWO, TWO], [TWO, none], (0.5, 0.9)), [0.5, 0.5])
    assert np.isnan(average_precision([none], [none], (0.5,))).all()
    assert np.isnan(precision_of(np.zeros((1, 3), np.int64)))


def test_other_shapes_are_refused():
    with pytest.raises(ValueError, match="one shape"):
        match_counts(TWO, TWO[:-1])


def test_what_a_person_changed():
    before = boxes((0, 0, 10, 10), (20, 20, 10, 10), (0, 20, 5, 5))
    after = boxes((20, 20, 10, 10), (0, 0, 10, 8), (35, 0, 5, 5))
    found = changes(before, after)
    assert (found.kept, found.reshaped, found.added, found.removed) == (1, 1, 1, 1)
    assert found.mean_iou == pytest.approx(0.9)
    assert np.isnan(changes(before, np.zeros_like(before)).mean_iou)


def test_a_split_cell_is_removed_and_two_are_added():
    found = changes(boxes((0, 0, 10, 10)), boxes((0, 0, 5, 10), (5, 0, 5, 10)))
    assert (found.kept, found.reshaped, found.added, found.removed) == (0, 0, 2, 1)
