import pytest

from tasks.flow_maps import AT_ONCE, UNITS_A_WORKER, patch_units, patches_at_once
from tasks.kernels.patchwork import patchwork
from tasks.tiles import PlaneFacts

PATCHES = patchwork((900, 900), 1.0, longest_px=256, overlap_px=64, multiple_px=8)
LIT, EVEN = PlaneFacts(None, (0.1, 0.9)), PlaneFacts(None, None)


@pytest.mark.parametrize(
    ("patches", "workers", "at_once"),
    [(1, 2, 1), (25, 2, 1), (50, 2, 3), (128, 2, 8), (10**6, 2, AT_ONCE), (10**6, 64, AT_ONCE)],
)
def test_few_patches_are_spread_over_the_workers_and_many_fill_a_gpu(patches, workers, at_once):
    assert patches_at_once(patches, workers) == at_once
    assert at_once == 1 or patches // at_once >= workers * UNITS_A_WORKER


@pytest.mark.parametrize("workers", [1, 2, 7])
def test_every_patch_of_a_plane_that_is_not_even_is_in_one_unit(workers):
    planes = [(0, 0), (0, 1), (1, 0)]
    units = patch_units(PATCHES, planes, [LIT, EVEN, LIT], workers)
    found = [(unit.plane, place) for unit in units for place in unit.places]
    assert sorted(found) == [(plane, place) for plane in [(0, 0), (1, 0)] for place in PATCHES.places]
    assert len({unit.name for unit in units}) == len(units)


def test_a_unit_of_more_patches_is_not_taken_for_done():
    """A rerun with another number of workers forms others, from the same first patch on."""
    one, many = (patch_units(PATCHES, [(0, 0)], [LIT], workers)[0] for workers in (64, 1))
    assert one.places[0] == many.places[0]
    assert len(one.places) < len(many.places)
    assert one.name != many.name
