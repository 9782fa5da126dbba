import dataclasses

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage.errors import InputError, MemoryBudgetError
from tasks.dataset import data_digest, held_out, read_cells, read_patches, summary
from tasks.settings import Resources
from tests.support import SERIAL, cells_of, patches_of

cells_of_chips = st.lists(st.tuples(st.integers(0, 5), st.integers(1, 30)), min_size=1, max_size=12)


def a_table(parts):
    """One acquisition for each (chip, number of cells)."""
    rows = [(part, f"chip {chip}") for part, (chip, count) in enumerate(parts) for _ in range(count)]
    return pd.DataFrame(rows, columns=["part", "chip"])


@settings(deadline=None)
@given(parts=cells_of_chips, share=st.floats(0, 0.99), seed=st.integers(0, 5))
def test_a_chip_or_an_acquisition_is_never_split_and_someone_learns(parts, share, seed):
    cells = a_table(parts)
    hold = held_out(cells, share, seed)
    assert not hold.all()
    groups = cells["chip"] if cells["chip"].nunique() >= 3 else cells["part"]
    assert set(groups[hold]).isdisjoint(groups[~hold])
    assert (hold == held_out(cells, share, seed)).all()
    if share == 0 or groups.nunique() == 1:
        assert not hold.any()
    elif share > 0:
        assert hold.any()


def test_about_the_share_is_held_out_and_the_seed_chooses_who():
    cells = a_table([(chip, 10) for chip in range(20)])
    holds = [held_out(cells, 0.2, seed) for seed in range(4)]
    assert [hold.sum() for hold in holds] == [40] * 4
    assert len({tuple(hold) for hold in holds}) == 4


def test_rows_of_the_table_and_the_patches_go_together(carried):
    objects, acquisitions = carried
    handles = [one.patches for one in acquisitions]
    cells, ncyx = read_cells(objects, handles), read_patches(objects, handles, SERIAL)
    assert (ncyx.dtype, len(ncyx)) == (np.float32, len(cells))
    for part, one in enumerate(handles):
        here = (cells["part"] == part).to_numpy()
        np.testing.assert_array_equal(ncyx[here], patches_of(objects, one))
        assert cells.index[here].tolist() == cells_of(objects, one).index.tolist()
    assert cells.index.is_unique
    hold = held_out(cells, 0.2, 0)
    found = summary(cells, hold)
    assert found["cells"] == found["train_cells"] + found["validation_cells"] == len(cells)
    assert (found["acquisitions"], found["chips"]) == (4, 4)


def test_patches_that_do_not_fit_into_memory_are_refused(carried):
    objects, acquisitions = carried
    many = dataclasses.replace(acquisitions[0].patches, counts={"patches": 2**20})
    with pytest.raises(MemoryBudgetError, match=r"1048576 patches need 4,096 MiB, half .* is 128 MiB"):
        read_patches(objects, [many], Resources(compute="serial", workers=1, memory_bytes=2**28))


def test_patches_of_two_sizes_are_refused(carried, tmp_path):
    import shutil

    from storage.objects import open_store
    from tasks.settings import CropAndPad
    from tests.tasks.test_extract import extracted

    objects, acquisitions = carried
    shutil.copytree(objects.url, tmp_path / "copy")
    copy = open_store(str(tmp_path / "copy"))
    other = extracted((copy, acquisitions[0]), crop=CropAndPad(size_px=24))
    with pytest.raises(InputError, match=r"patches of one size, found \[\(1, 24, 24\), \(1, 32, 32\)\]"):
        read_patches(copy, [acquisitions[1].patches, other], SERIAL)


def test_the_digest_hangs_on_the_keys_and_their_order(carried):
    _, acquisitions = carried
    first, second, *_ = [one.patches for one in acquisitions]
    assert data_digest([first, second]) != data_digest([second, first])
    assert data_digest([first]) == data_digest([dataclasses.replace(first, name="another")])
