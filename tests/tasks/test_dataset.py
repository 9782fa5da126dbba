import dataclasses
import pickle

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage.errors import InputError
from tasks.dataset import (
    StoredPatches,
    data_digest,
    held_out,
    judging,
    patch_source,
    read_cells,
    split,
    summary,
    uses_of,
)
from tasks.models.batches import Loader, PatchSet
from tasks.settings import Resources, TrainSettings
from tests.support import SERIAL, cells_of, patches_of

cells_of_chips = st.lists(st.tuples(st.integers(0, 5), st.integers(1, 30)), min_size=1, max_size=12)


def a_table(parts):
    """One acquisition for each (chip, number of cells)."""
    rows = [(part, f"chip {chip}") for part, (chip, count) in enumerate(parts) for _ in range(count)]
    return pd.DataFrame(rows, columns=["part", "chip"])


def holding(cells, share, seed):
    return held_out(cells, TrainSettings(validation_share=share, seed=seed))


@settings(deadline=None)
@given(parts=cells_of_chips, share=st.floats(0, 0.99), seed=st.integers(0, 5))
def test_a_chip_or_an_acquisition_is_never_split_and_someone_learns(parts, share, seed):
    cells = a_table(parts)
    hold = holding(cells, share, seed)
    assert not hold.all()
    groups = cells["chip"] if cells["chip"].nunique() >= 3 else cells["part"]
    assert set(groups[hold]).isdisjoint(groups[~hold])
    assert (hold == holding(cells, share, seed)).all()
    if share == 0 or groups.nunique() == 1:
        assert not hold.any()
    elif share > 0:
        assert hold.any()


def test_about_the_share_is_held_out_and_the_seed_chooses_who():
    cells = a_table([(chip, 10) for chip in range(20)])
    holds = [holding(cells, 0.2, seed) for seed in range(4)]
    assert [hold.sum() for hold in holds] == [40] * 4
    assert len({tuple(hold) for hold in holds}) == 4


def test_rows_of_the_table_and_the_patches_go_together(carried):
    objects, acquisitions = carried
    handles = [one.patches for one in acquisitions]
    cells, ncyx = read_cells(objects, handles), patch_source(objects, handles, SERIAL)
    assert (ncyx.dtype, len(ncyx)) == (np.float16, len(cells))
    for part, one in enumerate(handles):
        here = (cells["part"] == part).to_numpy()
        np.testing.assert_array_equal(ncyx[here], patches_of(objects, one))
        assert cells.index[here].tolist() == cells_of(objects, one).index.tolist()
    assert cells.index.is_unique
    found = summary(cells, split(cells, validation_share=0.2, seed=0))
    assert found["cells"] == found["train_cells"] + found["validation_cells"] == len(cells)
    assert (found["acquisitions"], found["chips"]) == (4, 4)


@settings(deadline=None)
@given(parts=cells_of_chips, seed=st.integers(0, 5))
def test_no_chip_is_shared_by_train_validation_and_test(parts, seed):
    cells = a_table(parts)
    uses = split(cells, validation_share=0.2, test_share=0.2, seed=seed)
    groups = cells["chip"] if cells["chip"].nunique() >= 3 else cells["part"]
    assert pd.Series(uses).groupby(groups).nunique().max() == 1
    assert "train" in uses


def test_validation_and_test_get_their_shares():
    uses = split(a_table([(chip, 10) for chip in range(20)]), validation_share=0.2, test_share=0.1, seed=0)
    assert [(uses == use).sum() for use in ("train", "validation", "test")] == [140, 40, 20]


def test_test_cells_judge_alone_where_there_are_any():
    cells = a_table([(chip, 10) for chip in range(20)])
    with_test = TrainSettings(validation_share=0.2, test_share=0.1)
    assert (judging(cells, with_test) == (uses_of(cells, with_test) == "test")).all()
    assert judging(cells, with_test).sum() == 20
    without = TrainSettings(validation_share=0.2)
    assert (judging(cells, without) == held_out(cells, without)).all()


def test_patches_stay_on_disk_where_memory_is_small_and_are_read_shard_by_shard(carried, monkeypatch):
    objects, acquisitions = carried
    handles = [one.patches for one in acquisitions]
    whole = patch_source(objects, handles, SERIAL)
    few = Resources(compute="serial", workers=1, memory_bytes=2**28)
    monkeypatch.setattr(StoredPatches, "nbytes", 2**27)
    stored = pickle.loads(pickle.dumps(patch_source(objects, handles, few)))
    assert isinstance(stored, StoredPatches)
    assert (stored.shape, stored.dtype) == (whole.shape, whole.dtype)
    assert stored.shard_edges == (*np.cumsum([0, *(one.counts["patches"] for one in handles)]),)
    for rows in (slice(None), slice(3, 9), slice(5, 5), np.array([0, 7, len(whole) - 1]), np.array([], int)):
        np.testing.assert_array_equal(stored[rows], whole[rows])
    batches = Loader(PatchSet(stored), 7, pool_patches=1).ordered()
    np.testing.assert_array_equal(np.concatenate([one.ncyx for one in batches]), whole)


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
        patch_source(copy, [acquisitions[1].patches, other], SERIAL)


def test_the_digest_hangs_on_the_keys_and_their_order(carried):
    _, acquisitions = carried
    first, second, *_ = [one.patches for one in acquisitions]
    assert data_digest([first, second]) != data_digest([second, first])
    assert data_digest([first]) == data_digest([dataclasses.replace(first, name="another")])
