import numpy as np
import pytest

from tasks.kernels import pictures
from tasks.kernels.pictures import style
from tests.tasks.kernels.pictures.png import holds_colour, pixels

LABELS = np.zeros((64, 64), np.uint32)
LABELS[5:25, 5:25], LABELS[35:60, 30:60], LABELS[5:20, 40:60] = 1, 2, 3
GREY = np.random.default_rng(0).random((64, 64)).astype(np.float32)


def spread(values, acquisitions, conditions):
    return pictures.spread_by_acquisition(
        np.asarray(values, float),
        np.asarray(acquisitions),
        np.asarray(conditions),
        "Area in px",
        names=["one", "two", "three"],
        condition_names=["wild type", "BRAF"],
    )


def test_a_box_has_the_colour_of_its_condition():
    png = spread([1, 2, 3, 4], [0, 0, 1, 1], [1, 1, 1, 1])
    assert holds_colour(png, style.rgb(style.CONDITIONS[1]))
    assert not holds_colour(png, style.rgb(style.CONDITIONS[0]))
    both = spread([1, 2, 3, 4, np.nan], [0, 0, 1, 1, 2], [0, 0, 1, 1, 1])
    assert holds_colour(both, style.rgb(style.CONDITIONS[0]))


def test_a_spread_of_nothing_is_refused():
    with pytest.raises(ValueError, match="none of 2"):
        spread([np.nan, np.nan], [0, 0], [0, 0])
    with pytest.raises(ValueError, match="each of 2 cells, found 1"):
        spread([1, 2], [0], [0, 0])


def test_cells_are_coloured_by_their_number_and_others_stay_grey():
    png = pictures.heat_over_image(GREY, LABELS, {1: 0.0, 2: 10.0, 3: np.nan}, "Area")
    coloured = np.ptp(pixels(png).astype(int), axis=-1) > 25
    assert coloured.mean() > 0.1
    other = pictures.heat_over_image(GREY, LABELS, {1: 10.0, 2: 0.0, 3: np.nan}, "Area")
    assert png != other
    with pytest.raises(ValueError, match="found none"):
        pictures.heat_over_image(GREY, LABELS, {9: 1.0}, "Area")
    with pytest.raises(ValueError, match="shape of the picture"):
        pictures.heat_over_image(GREY, LABELS[1:], {1: 1.0}, "Area")
