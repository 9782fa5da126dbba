import shutil
from datetime import timedelta

import pytest

from flows import maintaining
from flows.maintaining import maintain
from storage import layout, records
from storage.errors import DamagedStoreError
from storage.objects import Objects, open_store
from storage.progress import Done, Ledger


@pytest.fixture
def copied(carried, tmp_path, monkeypatch) -> Objects:
    monkeypatch.setattr(maintaining, "SPARED", timedelta(0))
    shutil.copytree(carried[0].url, tmp_path / "store")
    return open_store(str(tmp_path / "store"))


def test_a_whole_store_stays_as_it_is(copied):
    before = list(copied.names(""))
    done = maintain.fn(store=copied.url)
    assert (done.repaired, done.removed) == (0, 0)
    assert done.objects > 100
    assert list(copied.names("")) == before


def test_leftovers_go_by_themselves(copied):
    copied.put(f"{layout.progress_folder('labels', 'aa11')}/tiles/1.json", b"{}")
    assert maintain.fn(store=copied.url).repaired == 1
    assert maintain.fn(store=copied.url).repaired == 0


def test_the_marker_of_a_unit_that_came_after_the_end_goes_by_itself(copied):
    before = list(copied.names(""))
    (clean, *_) = records.listing(copied, "clean")
    Ledger(copied, "clean", clean.key, "looks").mark("000000", Done({}, {}))
    assert maintain.fn(store=copied.url).repaired == 1
    assert list(copied.names("")) == before


def test_damage_is_named_and_left(copied):
    (first, *_) = records.listing(copied, "patches")
    path = f"{first.path}/zarr.json"
    copied.put(path, b"{}")
    with pytest.raises(DamagedStoreError, match="chipcyte check"):
        maintain.fn(store=copied.url)
    assert copied.get(path) == b"{}"


def test_old_artifacts_go_on_request_and_recordings_stay(copied):
    done = maintain.fn(store=copied.url, remove_older_than_days=0)
    assert done.removed > 0
    assert done.removed_bytes > 0
    assert records.listing(copied, "patches") == []
    assert len(records.listing(copied, "raw")) == 4
