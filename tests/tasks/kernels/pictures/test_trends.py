import numpy as np
import pytest

from tasks.kernels import pictures
from tasks.kernels.pictures import style
from tasks.kernels.pictures.trends import FLAG, MARKS, MOST_NAMED
from tests.tasks.kernels.pictures.png import holds_colour, pixels


def trend(flagged=None, frames=12):
    t = np.arange(frames, dtype=np.float64)
    return pictures.Trend(0.1 + 0.001 * t, 7 - 0.1 * t, 0 * t, flagged or {})


def red(png):
    return int((np.abs(pixels(png).astype(int) - style.rgb(FLAG)).max(axis=-1) <= 3).sum())


def test_only_flagged_frames_are_marked():
    plain = pictures.trend_picture({"a": trend()})
    one = pictures.trend_picture({"a": trend({3: "blurred"})})
    two = pictures.trend_picture({"a": trend({3: "blurred", 9: "blurred"})})
    assert red(plain) == 0
    assert red(two) - red(one) == pytest.approx(3 / 4 * red(one), rel=0.1), "three panels, one in the legend"
    assert holds_colour(plain, style.rgb(style.CATEGORIES[0]))


def test_reasons_have_marks_of_their_own():
    drawn = {pictures.trend_picture({"a": trend({3: why})}) for why in MARKS}
    assert len(drawn) == len(MARKS)


def test_with_many_acquisitions_those_with_flags_have_the_colours():
    values = np.linspace(0.05, 0.2, MOST_NAMED + 3)
    many = {f"p{n}": pictures.Trend(*np.full((3, 12), value)) for n, value in enumerate(values)}
    grey = pictures.trend_picture(many)
    assert holds_colour(grey, style.rgb(style.UNKNOWN), at_least=500)
    assert not holds_colour(pictures.trend_picture({"a": trend()}), style.rgb(style.UNKNOWN), at_least=500)
    last = pictures.Trend(*(np.full(12, value) for value in (0.3, 9.0, 0.5)), {2: "empty"})
    assert holds_colour(
        pictures.trend_picture({**many, "last": last}), style.rgb(style.CATEGORIES[0]), at_least=2000
    )


def test_one_frame_gaps_and_hostile_names_are_drawn():
    gap = pictures.Trend(np.array([0.1, np.nan, 0.1]), np.array([5.0, np.nan, 5]), np.array([0, np.nan, 0]))
    names = {"$\\frac{": gap, "a\nb\x07": trend(frames=1), "_x": trend({0: "empty"}, frames=1)}
    assert pictures.trend_picture(names) == pictures.trend_picture(names)


@pytest.mark.parametrize(
    ("trends", "message"),
    [
        ({}, "expected at least one acquisition"),
        ({"a": trend(frames=0)}, "a: expected as many numbers"),
        ({"a": trend({12: "empty"})}, "a: expected as many numbers"),
        ({"a": trend({1: "odd"})}, "a: expected flags among blurred, empty, saturated"),
        ({"a": pictures.Trend(np.ones(2), np.ones(3), np.ones(2))}, "a: expected as many numbers"),
    ],
)
def test_what_does_not_fit_is_refused(trends, message):
    with pytest.raises(ValueError, match=message):
        pictures.trend_picture(trends)
