import multiprocessing
import time
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.models.batches import Loader, PatchSet, epoch_rng, unit_range


class Sharded:
    """A source whose patches name their own row; it counts what is read."""

    def __init__(self, n: int, shard: int, side_px: int = 8) -> None:
        self.shape = (n, 1, side_px, side_px)
        self.shard_edges = (*range(0, n, shard), n)
        self.reads: list[Any] = []

    def __getitem__(self, rows: Any) -> Any:
        self.reads.append(rows)
        numbers = np.arange(rows.start, rows.stop) if isinstance(rows, slice) else rows
        return np.broadcast_to(
            (numbers % 65536).astype(np.uint16)[:, None, None, None], (len(numbers), *self.shape[1:])
        )


def rows_of(ncyx: np.ndarray) -> np.ndarray:
    return np.rint(ncyx[:, 0, 0, 0] * 65535).astype(int)


@settings(deadline=None, max_examples=40)
@given(
    n=st.integers(1, 60), shard=st.integers(1, 25), batch_size=st.integers(1, 70), pool=st.integers(1, 70),
    seed=st.integers(0, 5), kept=st.integers(1, 3),
)  # fmt: skip
def test_every_row_comes_once_with_its_condition(
    n: int, shard: int, batch_size: int, pool: int, seed: int, kept: int
) -> None:
    rows = np.arange(0, n, kept)
    loader = Loader(PatchSet(Sharded(n, shard), rows, codes=np.arange(n) + 100), batch_size, pool)
    for batches in (list(loader.shuffled(epoch_rng(seed, 1))), list(loader.ordered())):
        found = np.concatenate([rows_of(batch.ncyx) for batch in batches])
        assert np.array_equal(np.concatenate([batch.codes for batch in batches]), found + 100)
        assert all(len(batch.ncyx) <= batch_size for batch in batches)
        assert sorted(found) == rows.tolist()
    assert found.tolist() == rows.tolist()


def test_order_depends_on_seed_and_epoch_alone() -> None:
    def order(seed: int, epoch: int, slow: float = 0.0) -> list[int]:
        source = Sharded(50, 7)
        loader, found = Loader(PatchSet(source), 7, pool_patches=14), list[int]()
        for batch in loader.shuffled(epoch_rng(seed, epoch)):
            time.sleep(slow)
            found += rows_of(batch.ncyx).tolist()
        return found

    assert order(1, 2) == order(1, 2, slow=0.002)
    assert len({tuple(order(seed, epoch)) for seed in range(3) for epoch in range(3)}) == 9


def test_an_array_in_memory_is_one_shard_and_mixes_fully() -> None:
    ncyx = Sharded(4000, 4000)[slice(0, 4000)]
    first = next(iter(Loader(PatchSet(ncyx), 100).shuffled(epoch_rng(0, 1))))
    assert np.ptp(rows_of(first.ncyx)) > 3000


def test_a_million_patches_pass_through_two_pools_each_shard_read_once() -> None:
    source = Sharded(1_000_000, 4096)
    held, most, counted = 0, 0, 0
    for batch in Loader(PatchSet(source), 4096).shuffled(epoch_rng(0, 1)):
        read = sum(rows.stop - rows.start for rows in source.reads)
        counted += len(batch.ncyx)
        held = read - counted
        most = max(most, held)
    assert counted == 1_000_000
    assert sorted(rows.start for rows in source.reads) == list(source.shard_edges[:-1])
    assert most <= 2 * (16384 + 4096)


def test_reading_goes_on_while_the_trainer_works() -> None:
    """Reading takes two thirds of the time of learning: it is hidden behind it but for the first pool."""

    class Slow(Sharded):
        def __getitem__(self, rows: Any) -> Any:
            time.sleep(0.02)
            return super().__getitem__(rows)

    loader, began = Loader(PatchSet(Slow(400, 10)), 10, pool_patches=10), time.perf_counter()
    for _ in loader.shuffled(epoch_rng(0, 1)):
        time.sleep(0.03)
    assert loader.waited_s < 0.05 * (time.perf_counter() - began)


def test_a_failing_read_is_raised_and_leaves_no_thread_behind() -> None:
    class Broken(Sharded):
        def __getitem__(self, rows: Any) -> Any:
            if len(self.reads) == 2:
                raise OSError("the bucket is gone")
            return super().__getitem__(rows)

    with pytest.raises(OSError, match="the bucket is gone"):
        list(Loader(PatchSet(Broken(40, 10)), 10, pool_patches=10).ordered())


def _first_of(loader: Loader) -> list[int]:
    return rows_of(next(iter(loader.shuffled(epoch_rng(3, 1)))).ncyx).tolist()


@pytest.mark.slow
def test_a_spawned_process_deals_out_the_same_batches() -> None:
    loader = Loader(PatchSet(Sharded(100, 9)), 10)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(_first_of, (loader,)) == _first_of(loader)


@pytest.mark.parametrize("bad", [-0.01, 1.01, np.nan, np.inf])
def test_values_outside_the_unit_range_are_refused(bad: float) -> None:
    ncyx = np.full((3, 1, 8, 8), 0.5)
    ncyx[2, 0, 4, 4] = bad
    assert unit_range(ncyx[:2]).dtype == np.float32
    with pytest.raises(ValueError, match=r"expected patches with values in \[0, 1\]"):
        unit_range(ncyx)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_unsigned_integers_are_shares_of_their_largest_value(dtype: Any) -> None:
    top = np.iinfo(dtype).max
    found = unit_range(np.array([0, 1, top], dtype).reshape(3, 1, 1, 1))
    np.testing.assert_allclose(found.ravel(), [0, 1 / top, 1], rtol=1e-6)
