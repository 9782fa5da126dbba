from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.models.batches import epoch_rng, ordered_rows, random_flips, read_patches, shuffled_rows


@settings(deadline=None)
@given(n=st.integers(1, 60), batch_size=st.integers(1, 70), seed=st.integers(0, 5))
def test_every_row_comes_once_in_ascending_batches(n: int, batch_size: int, seed: int) -> None:
    batches = list(shuffled_rows(n, batch_size, epoch_rng(seed, 1)))
    assert sorted(np.concatenate(batches)) == list(range(n))
    assert all((np.diff(rows) > 0).all() for rows in batches)
    assert all(len(rows) == batch_size for rows in batches[:-1])
    whole = np.arange(n)
    assert np.array_equal(np.concatenate([whole[rows] for rows in ordered_rows(n, batch_size)]), whole)


def test_order_depends_on_seed_and_epoch_alone() -> None:
    def order(seed: int, epoch: int) -> list[int]:
        return np.concatenate(list(shuffled_rows(50, 7, epoch_rng(seed, epoch)))).tolist()

    assert order(1, 2) == order(1, 2)
    assert len({tuple(order(seed, epoch)) for seed in range(3) for epoch in range(3)}) == 9


def test_flips_give_the_four_symmetries_equally_often() -> None:
    patch_cyx = np.arange(6, dtype=np.float32).reshape(1, 2, 3)
    symmetries = [patch_cyx, patch_cyx[:, ::-1], patch_cyx[:, :, ::-1], np.rot90(patch_cyx, 2, (1, 2))]
    flipped = random_flips(np.repeat(patch_cyx[None], 4000, axis=0), epoch_rng(0, 1))
    counts = [sum(np.array_equal(found, wanted) for found in flipped) for wanted in symmetries]
    assert sum(counts) == 4000
    assert all(900 < count < 1100 for count in counts)  # 1000 +- 3.6 standard deviations


@pytest.mark.parametrize("bad", [-0.01, 1.01, np.nan, np.inf])
def test_values_outside_the_unit_range_are_refused(bad: float) -> None:
    ncyx = np.full((3, 1, 8, 8), 0.5)
    ncyx[2, 0, 4, 4] = bad
    assert read_patches(ncyx, slice(0, 2)).dtype == np.float32
    with pytest.raises(ValueError, match=r"expected patches with values in \[0, 1\]"):
        read_patches(ncyx, slice(1, 3))


def test_any_indexable_will_do() -> None:
    class Reader:
        shape = (4, 1, 8, 8)

        def __getitem__(self, rows: Any) -> Any:
            return np.full((len(np.arange(4)[rows]), 1, 8, 8), 0.25).tolist()

    assert read_patches(Reader(), np.array([0, 3])).shape == (2, 1, 8, 8)
