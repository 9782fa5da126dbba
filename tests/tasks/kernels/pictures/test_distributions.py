import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.kernels import pictures
from tasks.kernels.pictures import distributions, style
from tests.tasks.kernels.pictures.png import holds_colour, pixels

RNG = np.random.default_rng(2)


def scatter(points, categories, legend, **options):
    points, categories = np.asarray(points, float), np.asarray(categories)
    return pictures.scatter_2d(points, categories, title="t", legend=legend, **options)


def centre_of(png, colour):
    drawn = pixels(png)
    drawn = drawn[: int(len(drawn) * 0.9)]  # above the legend
    near = np.abs(drawn.astype(int) - style.rgb(colour)).max(axis=-1) <= 60
    rows, columns = np.nonzero(near)
    return rows.mean() / len(drawn), columns.mean() / drawn.shape[1]


def test_points_lie_where_their_category_is():
    points = np.concatenate([RNG.normal((-9, -9), 0.2, (200, 2)), RNG.normal((9, 9), 0.2, (200, 2))])
    png = scatter(points, np.repeat([0, 5], 200), [str(k) for k in range(6)])
    low, high = centre_of(png, style.CATEGORIES[0]), centre_of(png, style.CATEGORIES[5])
    assert low[0] > high[0] + 0.5, "y points up"
    assert low[1] < high[1] - 0.5


def test_no_category_hides_another_by_coming_last():
    points = RNG.normal(size=(4000, 2))
    png = scatter(points, np.repeat([0, 1], 2000), ["a", "b"], colours=("#000000", "#FF0000"))
    drawn = pixels(png)[: int(0.8 * 896)].astype(int)
    red = ((drawn[..., 0] - drawn[..., 1]) > 100).sum()
    black = (drawn.max(axis=-1) < 100).sum()
    assert 0.4 < red / (red + black) < 0.75


def test_unknown_points_are_grey_and_conditions_have_their_own_colours():
    png = scatter(RNG.normal(size=(30, 2)), np.arange(30) % 2 - 1, ["wild type"], colours=pictures.CONDITIONS)
    assert holds_colour(png, style.rgb(style.UNKNOWN))
    assert holds_colour(png, style.rgb(style.CONDITIONS[0]))


def test_centres_are_numbered_only_when_asked():
    points, categories = RNG.normal(size=(300, 2)), np.arange(300) % 3
    plain = scatter(points, categories, ["a", "b", "c"])
    assert scatter(points, categories, ["a", "b", "c"]) == plain
    assert scatter(points, categories, ["a", "b", "c"], number_centres=True) != plain


def test_more_categories_than_colours_differ_in_marker():
    points = np.repeat(RNG.normal(size=(1, 2)), 20, axis=0)
    names = [f"{k}" for k in range(13)]
    assert scatter(points, np.full(20, 12), names) != scatter(points, np.full(20, 0), names)


def test_no_points_make_an_empty_chart():
    assert pixels(scatter(np.zeros((0, 2)), np.zeros(0, int), ["a"])).ndim == 3


def test_a_hundred_thousand_points_are_drawn_in_seconds():
    start = time.perf_counter()
    png = scatter(RNG.normal(size=(100_000, 2)), np.arange(100_000) % 15 - 1, [str(k) for k in range(14)])
    assert time.perf_counter() - start < 15
    assert len(png) < 1_500_000


@pytest.mark.parametrize(
    ("points", "categories", "match"),
    [
        (np.zeros((3, 3)), [0, 0, 0], "points: expected finite numbers of shape"),
        (np.full((2, 2), np.nan), [0, 0], "points: expected finite"),
        (np.zeros((2, 2)), [0], "categories: expected 2 numbers"),
        (np.zeros((2, 2)), [0, 1], "categories: expected numbers below 1"),
    ],
)
def test_points_that_do_not_fit_are_refused(points, categories, match):
    with pytest.raises(ValueError, match=match):
        scatter(points, categories, ["only"])


def test_histograms_of_two_conditions():
    values = np.concatenate([RNG.normal(10, 1, 500), RNG.normal(20, 1, 50), [np.nan, 1e9]])
    conditions = np.array([0] * 500 + [1] * 50 + [1, -1])
    names = ["wild type", "BRAF"]
    png = pictures.histogram_by_condition(values, conditions, "Area (µm²)", names=names)
    left, right = centre_of(png, style.CONDITIONS[0]), centre_of(png, style.CONDITIONS[1])
    assert left[1] < right[1] - 0.3
    assert png == pictures.histogram_by_condition(
        values, conditions, "Area (µm²)", names=["wild type", "BRAF"]
    )


@pytest.mark.parametrize("values", [np.array([5.0]), np.full(100, 3.0), np.array([1.0, 2.0])])
def test_few_or_equal_values_are_drawn(values):
    png = pictures.histogram_by_condition(values, np.zeros(len(values), int), "x", names=["one"])
    assert holds_colour(png, style.rgb(style.CONDITIONS[0]))


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=50))
def test_bins_rise_are_few_and_hold_the_middle(values):
    array = np.array(values)
    edges = distributions.bin_edges(array)
    assert 1 <= len(edges) - 1 <= 60
    assert (np.diff(edges) >= 0).all()
    assert edges[0] <= np.median(array) <= edges[-1]


def test_one_giant_does_not_widen_the_bins():
    values = RNG.normal(100, 10, 1000)
    assert distributions.bin_edges(np.append(values, 1e12))[-1] < 200


@pytest.mark.parametrize(
    ("values", "conditions", "match"),
    [
        ([np.nan], [0], "values: expected a finite number"),
        ([1.0], [-1], "values: expected a finite number"),
        ([1.0, 2.0], [0], "conditions: expected 2 numbers"),
        ([1.0], [1], "conditions: expected numbers below 1"),
    ],
)
def test_values_that_do_not_fit_are_refused(values, conditions, match):
    with pytest.raises(ValueError, match=match):
        pictures.histogram_by_condition(np.array(values), np.array(conditions), "x", names=["one"])
