import pytest

from tasks.kernels.pictures.sweeps import sweep_chart

SCORES = {"accuracy": [0.1, 0.9, float("nan")], "silhouette": [0.0, 0.5, 0.4]}


def test_a_sweep_is_a_picture_and_the_same_one_each_time():
    made = sweep_chart([1e-10, 1.0, 1e3], SCORES, setting="beta")
    assert made.startswith(b"\x89PNG")
    assert made == sweep_chart([1e-10, 1.0, 1e3], SCORES, setting="beta")
    assert made != sweep_chart([1e-10, 1.0, 1e4], SCORES, setting="beta")


@pytest.mark.parametrize("values", [[], [1.0, 2.0], [0.0, 1.0, 2.0]])
def test_values_and_scores_go_together(values):
    with pytest.raises(ValueError, match="a score for each"):
        sweep_chart(values, SCORES, setting="beta")
