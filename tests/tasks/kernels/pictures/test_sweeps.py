import pytest

from tasks.kernels.pictures.sweeps import short_number, sweep_chart

SCORES = {"accuracy": [0.1, 0.9, float("nan")], "silhouette": [0.0, 0.5, 0.4]}


def test_a_sweep_is_a_picture_and_the_same_one_each_time():
    made = sweep_chart([1e-10, 1.0, 1e3], SCORES, setting="beta")
    assert made.startswith(b"\x89PNG")
    assert made == sweep_chart([1e-10, 1.0, 1e3], SCORES, setting="beta")
    assert made != sweep_chart([1e-10, 1.0, 1e4], SCORES, setting="beta")


def test_ticks_are_short_and_no_formulas():
    """Formulas are not typeset in pictures: log axes would show their dollar signs."""
    numbers = [1e-10, 1e-7, 2.5e-4, 1e-2, 1.0, 1e3, 1e4]
    assert [short_number(one) for one in numbers] == ["1e-10", "1e-7", "2.5e-4", "0.01", "1", "1000", "1e+4"]


@pytest.mark.parametrize("values", [[], [1.0, 2.0], [0.0, 1.0, 2.0]])
def test_values_and_scores_go_together(values):
    with pytest.raises(ValueError, match="a score for each"):
        sweep_chart(values, SCORES, setting="beta")
