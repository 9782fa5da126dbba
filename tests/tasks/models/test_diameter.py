import numpy as np
import pytest

from tasks.models.diameter import _Seen

PX = 270 * 270


def seen(expected_px, *diameters_px):
    return _Seen(expected_px, np.array(diameters_px, float), PX)


def test_a_scale_whose_nuclei_have_its_diameter_fits_better_the_more_they_cover():
    few, many, other = seen(24, 23, 25), seen(24, *[24] * 10), seen(48, *[24] * 10)
    assert many.fit > few.fit > other.fit == 0


def test_a_patch_of_ground_does_not_outweigh_nuclei():
    """As found in a cleaned picture of nuclei of 25 px."""
    right = seen(34, 18.5, 23.7, 24, 24.2, 24.2, 24.9, 25.2, 25.3, 25.4, 25.5, 26.1)
    coarse = seen(68, 22.6, 27.8, 29.9, 29.9, 30.6, 30.6, 30.6, 31.6, 51.5, 94.7)
    assert right.fit > 2 * coarse.fit


def test_a_part_without_nuclei_fits_nothing():
    assert seen(17).fit == 0
    assert seen(17).fit == pytest.approx(seen(17, 90).fit)
