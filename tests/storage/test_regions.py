import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.errors import ChipcyteError, MisalignedRegionError
from storage.regions import Region, check_aligned, grid_regions

grids = st.integers(1, 3).flatmap(
    lambda axes: st.tuples(
        st.lists(st.integers(1, 20), min_size=axes, max_size=axes),
        st.lists(st.integers(2, 17), min_size=axes, max_size=axes),
    )
)


@given(grids)
def test_grid_covers_every_element_exactly_once(grid: tuple[list[int], list[int]]) -> None:
    shape, steps = grid
    visits = np.zeros(shape, int)
    for region in grid_regions(shape, steps):
        visits[region.slices] += 1
    assert (visits == 1).all()


@given(grids)
def test_grid_regions_are_aligned_and_in_row_major_order(grid: tuple[list[int], list[int]]) -> None:
    shape, steps = grid
    regions = grid_regions(shape, steps)
    assert [region.start for region in regions] == sorted(region.start for region in regions)
    assert len({region.name for region in regions}) == len(regions)
    assert [region.name for region in regions] == sorted(region.name for region in regions)
    for region in regions:
        check_aligned(region, shape, steps)


@given(grids, st.integers(0, 9))
def test_expanded_region_holds_the_region_where_within_says(
    grid: tuple[list[int], list[int]], halo: int
) -> None:
    shape, steps = grid
    whole = np.arange(math.prod(shape)).reshape(shape)
    for region in grid_regions(shape, steps):
        wide = region.expanded([halo] * len(shape), shape)
        assert np.array_equal(whole[wide.slices][region.within(wide)], whole[region.slices])
        for axis, size in enumerate(shape):
            assert wide.start[axis] == max(0, region.start[axis] - halo)
            assert wide.stop[axis] == min(size, region.stop[axis] + halo)


@given(
    st.tuples(st.integers(1, 300), st.integers(1, 300)),
    st.sampled_from([32, 64, 128]),
    st.integers(0, 4),
)
def test_halved_grid_is_the_grid_of_the_halved_level(shape: tuple[int, int], edge: int, times: int) -> None:
    level_shape = shape
    for _ in range(times):
        level_shape = (math.ceil(level_shape[0] / 2), math.ceil(level_shape[1] / 2))
    halved = [region.halved(times) for region in grid_regions(shape, (edge, edge))]
    assert halved == grid_regions(level_shape, (edge >> times, edge >> times))


def test_halving_leaves_leading_axes_alone() -> None:
    assert Region((3, 1, 64, 0), (4, 2, 97, 33)).halved(1) == Region((3, 1, 32, 0), (4, 2, 49, 17))


@pytest.mark.parametrize(
    ("start", "stop"),
    [
        ((1, 0), (8, 8)),
        ((0, 0), (7, 8)),
        ((0, 0), (8, 21)),
        ((8, 8), (8, 16)),
        ((0, 16), (8, 24)),
        ((-8, 0), (8, 8)),
    ],
)
def test_misaligned_region_is_refused_with_the_numbers(start: tuple[int, int], stop: tuple[int, int]) -> None:
    with pytest.raises(MisalignedRegionError) as caught:
        check_aligned(Region(start, stop), (20, 20), (8, 8))
    for number in (start, stop, (8, 8), (20, 20)):
        assert str(number) in str(caught.value)
    assert isinstance(caught.value, ValueError)
    assert isinstance(caught.value, ChipcyteError)


def test_the_last_region_may_end_at_the_border() -> None:
    check_aligned(Region((16, 8), (20, 16)), (20, 20), (8, 8))
