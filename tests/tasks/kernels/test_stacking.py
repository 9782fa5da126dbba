import numpy as np
import pytest

from tasks.kernels.stacking import stack_numbers


def rows(*pairs):
    return np.array(pairs, np.int64).reshape(-1, 3)


def areas(*px):
    return np.array(px, np.int64)


def numbers(planes, overlaps, min_iou=0.5):
    return [one.tolist() for one in stack_numbers(planes, overlaps, min_iou=min_iou)]


def test_nuclei_over_each_other_share_a_number_and_new_ones_follow_on():
    found = numbers([areas(10, 20), areas(20, 5, 10)], [rows((2, 1, 18), (1, 3, 9))])
    assert found == [[1, 2], [2, 3, 1]]


def test_parts_of_an_overlap_add_up():
    assert numbers([areas(10), areas(10)], [rows((1, 1, 4), (1, 1, 4))]) == [[1], [1]]
    assert numbers([areas(10), areas(10)], [rows((1, 1, 4))]) == [[1], [2]]


def test_of_two_over_one_the_better_gets_its_number():
    assert numbers([areas(20), areas(8, 14)], [rows((1, 1, 8), (1, 2, 12))], 0.3) == [[1], [2, 1]]


def test_a_gap_ends_a_nucleus():
    assert numbers([areas(5), areas(), areas(5)], [rows(), rows()]) == [[1], [], [2]]


def test_every_plane_but_the_last_has_overlaps():
    with pytest.raises(ValueError, match="expected overlaps of 1 pairs"):
        stack_numbers([areas(1), areas(1)], [], min_iou=0.5)
    assert stack_numbers([], [], min_iou=0.5) == []
