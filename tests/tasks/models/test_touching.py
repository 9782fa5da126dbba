import numpy as np
import pytest
from scipy import ndimage

from tasks.models.touching import split_hills


def hills_of(heights, **options):
    row = np.asarray(heights, float)[None]
    return split_hills(row, row > 0, **options)[0]


def count(labels):
    return np.unique(labels[labels > 0]).size


def test_every_summit_gets_its_pixels():
    labels = hills_of([0, 3, 5, 3, 1, 4, 6, 4, 0, 2, 0], least_rise=0.5)
    assert count(labels) == 3
    assert labels[0] == labels[8] == labels[10] == 0
    assert len({labels[2], labels[6], labels[9]}) == 3
    assert labels[1] == labels[2] == labels[3]


@pytest.mark.parametrize(("least_rise", "expected"), [(0.5, 2), (1.5, 1)])
def test_a_low_rise_is_no_hill(least_rise, expected):
    assert count(hills_of([5, 4, 5.9], least_rise=least_rise)) == expected


@pytest.mark.parametrize(("neck", "expected"), [(1.0, 2), (0.85, 2), (0.75, 1)])
def test_a_wide_neck_joins(neck, expected):
    assert count(hills_of([10, 8, 20], least_rise=0.1, neck=neck)) == expected


def test_a_small_hill_does_not_bridge_two_large_ones():
    labels = hills_of([10, 3.9, 4, 3.8, 10], least_rise=0.3)
    assert count(labels) == 2
    assert labels[0] != labels[4]


def test_nothing_outside_the_mask():
    height = np.random.default_rng(0).random((30, 30))
    mask = ndimage.gaussian_filter(height, 2) > 0.5
    labels = split_hills(height, mask, least_rise=0.2)
    np.testing.assert_array_equal(labels > 0, mask)


def test_an_empty_mask_has_no_hills():
    assert not split_hills(np.ones((4, 4)), np.zeros((4, 4), bool), least_rise=0.1).any()
