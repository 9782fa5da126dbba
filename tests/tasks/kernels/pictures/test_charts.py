import numpy as np
import pytest

from tasks.kernels import pictures
from tasks.kernels.pictures import style
from tests.tasks.kernels.pictures.png import holds_colour, pixels

TWO = {"clusters": ["0", "1"], "conditions": ["wild type", "BRAF"]}


def bar_lengths(png, condition):
    """Longest row of each stretch of rows that hold the condition's colour."""
    near = np.abs(pixels(png).astype(int) - style.rgb(style.CONDITIONS[condition])).max(axis=-1) <= 3
    lengths = near[: int(len(near) * 0.8)].sum(axis=1)
    stretches = np.split(lengths, np.flatnonzero(np.diff((lengths > 0).astype(int))) + 1)
    return [int(stretch.max()) for stretch in stretches if stretch.max() > 0]


def test_bars_are_shares_of_their_condition():
    png = pictures.composition_bars(np.array([[30, 1], [10, 3]]), **TWO)
    wild, braf = bar_lengths(png, 0), bar_lengths(png, 1)
    assert wild[0] / wild[1] == pytest.approx(3, rel=0.03)
    assert braf[1] / braf[0] == pytest.approx(3, rel=0.03)
    assert wild[0] == pytest.approx(braf[1], abs=2), "75 percent, whatever the number of cells"


def test_a_condition_without_cells_is_drawn_empty():
    assert bar_lengths(pictures.composition_bars(np.array([[5, 0], [5, 0]]), **TWO), 1) == []


def test_compositions_grow_with_their_clusters():
    few = pictures.composition_bars(np.ones((2, 2), int), **TWO)
    many = pictures.composition_bars(
        np.ones((12, 2), int), clusters=[str(k) for k in range(12)], conditions=TWO["conditions"]
    )
    assert pixels(many).shape[0] > 2 * pixels(few).shape[0]
    assert pixels(many).shape[1] == pixels(few).shape[1]


@pytest.mark.parametrize("shape", [(2, 3), (3, 2), (0, 0)])
def test_counts_must_fit_their_names(shape):
    with pytest.raises(ValueError, match="counts: expected clusters x conditions"):
        pictures.composition_bars(np.zeros(shape, int), **TWO)


def test_losses_have_a_panel_each_and_a_colour_a_line():
    total = {"train": [3.0, 2.0, 1.0]}
    one = pictures.loss_curves({"total": total})
    two = pictures.loss_curves({"total": total, "KL": {"validation": [1.0, np.nan, 2.0, 3.0]}})
    assert pixels(two).shape[0] > 1.5 * pixels(one).shape[0]
    assert holds_colour(one, style.rgb(style.CATEGORIES[0]))
    assert not holds_colour(one, style.rgb(style.CATEGORIES[1]))
    assert holds_colour(two, style.rgb(style.CATEGORIES[1]))


def test_one_epoch_is_seen():
    assert holds_colour(pictures.loss_curves({"total": {"train": [1.0]}}), style.rgb(style.CATEGORIES[0]))


def test_no_losses_are_refused():
    with pytest.raises(ValueError, match="history: expected at least one kind"):
        pictures.loss_curves({})


def test_confusions_shade_the_share_of_the_row():
    drawn = pixels(pictures.confusion(np.array([[90, 0], [5, 0]]), ["a", "b"], ["x", "y"])).astype(int)
    dark = np.abs(drawn - (8, 48, 107)).max(axis=-1) <= 3
    rows, columns = np.flatnonzero(dark.sum(axis=1) > 100), np.flatnonzero(dark.sum(axis=0) > 50)
    assert rows[-1] - rows[0] > 0.4 * len(drawn), "90 and 5 are both all of their row, so both are dark"
    assert columns[-1] - columns[0] < 0.55 * drawn.shape[1], "the empty column is light"


def test_an_empty_row_of_a_confusion_is_light():
    assert not holds_colour(pictures.confusion(np.zeros((2, 2), int), ["a", "b"], ["x", "y"]), (8, 48, 107))


def test_a_confusion_must_fit_its_names():
    with pytest.raises(ValueError, match=r"matrix: expected rows x columns \(1, 2\)"):
        pictures.confusion(np.zeros((2, 2), int), ["a"], ["x", "y"])


def test_charts_are_the_same_each_time_and_take_hostile_names():
    names = {"clusters": ["$\\frac{", "<script>"], "conditions": ["a\nb\x07", "\udcff" * 300]}
    first = pictures.composition_bars(np.ones((2, 2), int), title="_$_", **names)
    assert first == pictures.composition_bars(np.ones((2, 2), int), title="_$_", **names)
