import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.kernels.composition import composition

CELLS = st.lists(st.tuples(st.integers(0, 4), st.sampled_from(["wild type", "BRAF", "other"])), min_size=1)


def test_a_small_table_by_hand() -> None:
    table = composition([0, 0, 2, 0, 2], ["wild type", "wild type", "wild type", "BRAF", "wild type"])
    assert table.clusters == (0, 2)
    assert table.conditions == ("BRAF", "wild type")
    assert table.counts.tolist() == [[1, 2], [0, 2]]
    assert table.percent.tolist() == [[100.0, 50.0], [0.0, 50.0]]
    assert table.rows() == [
        {"cluster": 0, "condition": "BRAF", "cells": 1, "percent": 100.0},
        {"cluster": 0, "condition": "wild type", "cells": 2, "percent": 50.0},
        {"cluster": 2, "condition": "BRAF", "cells": 0, "percent": 0.0},
        {"cluster": 2, "condition": "wild type", "cells": 2, "percent": 50.0},
    ]


@settings(deadline=None)
@given(CELLS)
def test_no_cell_is_lost_and_columns_sum_to_100(cells: list[tuple[int, str]]) -> None:
    table = composition([cluster for cluster, _ in cells], [condition for _, condition in cells])
    assert table.counts.sum() == len(cells)
    np.testing.assert_allclose(table.percent.sum(axis=0), 100.0)
    for row in table.rows():
        assert row["cells"] == cells.count((row["cluster"], row["condition"]))


@settings(deadline=None)
@given(CELLS, st.randoms())
def test_order_of_cells_does_not_matter_and_copies_keep_the_percentages(
    cells: list[tuple[int, str]], random: object
) -> None:
    plain = composition(*map(list, zip(*cells, strict=True)))
    random.shuffle(cells)  # type: ignore[attr-defined]
    tripled = composition(*map(list, zip(*(cells * 3), strict=True)))
    assert (tripled.clusters, tripled.conditions) == (plain.clusters, plain.conditions)
    assert np.array_equal(tripled.counts, 3 * plain.counts)
    np.testing.assert_allclose(tripled.percent, plain.percent)


def test_no_cells_give_an_empty_table() -> None:
    table = composition([], [])
    assert table.counts.shape == table.percent.shape == (0, 0)
    assert table.rows() == []


def test_lengths_that_differ_are_refused() -> None:
    with pytest.raises(ValueError, match="each of 2 cells, found 1"):
        composition([0, 1], ["BRAF"])
