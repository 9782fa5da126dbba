import math

import pytest

from tasks.kernels.pictures.parallel import Axis, parallel_coordinates, parallel_text
from tests.tasks.kernels.pictures.png import pixels

LATENT, MODEL, ARI = (
    Axis("latent", [8, 16, 32]),
    Axis("model", ["vade", "conv", "conv"]),
    Axis("ari", [0.9, 0.5, None]),
)


def test_numbers_lie_between_least_and_most_and_words_in_steps():
    assert Axis("a", [2.0, 4, 3]).places == [0, 1, 0.5]
    assert Axis("a", ["b", "a", "c", None]).places == [0.5, 0, 1, None]
    assert Axis("a", [7, 7]).places == [0, 0]
    assert Axis("a", [math.nan, None, 1.0]).places == [None, None, 0]
    assert (MODEL.ends, LATENT.ends, Axis("a", [None]).ends) == (("conv", "vade"), ("8", "32"), ("", ""))


def test_text_has_each_run_where_its_values_are():
    lines = parallel_text([LATENT, MODEL, ARI], ["one", "two", "three"], rows=5).split("\n")
    assert [line.split() for line in lines[:2]] == [["latent", "model", "ari"], ["32", "vade", "0.9"]]
    assert [line[0] for line in lines[2:7]] == ["3", "|", "|", "2", "1"]
    assert [line[12] for line in lines[2:7]] == ["1", "|", "|", "|", "2"]
    assert [line[24] for line in lines[2:7]] == ["1", "|", "|", "|", "2"]
    assert lines[7].split() == ["8", "conv", "0.5"]
    assert lines[8:] == ["1 one", "2 two", "3 three"]


def test_the_picture_grows_with_the_axes_and_is_the_same_each_time():
    wide = parallel_coordinates([LATENT] * 8, ["a", "b", "c"])
    narrow = parallel_coordinates([LATENT, MODEL, ARI], ["a", "b", "c"], title="t")
    assert pixels(wide).shape[1] > pixels(narrow).shape[1]
    assert narrow == parallel_coordinates([LATENT, MODEL, ARI], ["a", "b", "c"], title="t")


@pytest.mark.parametrize("draw", [parallel_coordinates, parallel_text])
def test_axes_without_runs_are_an_error(draw):
    with pytest.raises(ValueError, match="value or None for each run"):
        draw([LATENT], ["a", "b"])
    with pytest.raises(ValueError, match="found 0 runs"):
        draw([], [])
