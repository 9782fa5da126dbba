import tracemalloc

import anndata.io
import numpy as np
import pandas as pd
import pytest

from storage import long_tables, tables
from storage.arrays import Digests, digest
from storage.errors import MissingInputError
from storage.long_tables import GrowingTable, read_rows
from storage.objects import Objects, open_store
from tests.support import contents

PATH = "artifacts/labels/aa/cells.zarr"
KINDS = pd.CategoricalDtype(["", "round", "long"])


@pytest.fixture(autouse=True)
def short_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(long_tables, "ROWS", 8)


def cells(start: int, stop: int) -> pd.DataFrame:
    number = np.arange(start, stop)
    columns = {
        "t": number // 3,
        "area_um2": np.where(number % 5 == 0, np.nan, number * 1.5),
        "touches_edge": number % 2 == 0,
        "chip": "wt-1",
        "kind": pd.Categorical.from_codes(number % 3, dtype=KINDS),
    }
    return pd.DataFrame(columns, index=[f"t{n // 3}-{n}" for n in number])


def write(objects: Objects, lengths: list[int]) -> Digests:
    written: Digests = {}
    with GrowingTable(objects, PATH, written) as table:
        for stop, length in zip(np.cumsum(lengths), lengths, strict=True):
            table.append(cells(stop - length, stop))
    return written


@pytest.mark.parametrize("lengths", [[5], [8], [3, 3, 3], [30], [0, 20, 0, 1], [8, 8], [1] * 25])
def test_a_table_that_grew_is_one_table(local: Objects, lengths: list[int]) -> None:
    written = write(local, lengths)
    expected = cells(0, sum(lengths))
    found = tables.read_table(local, PATH).obs
    outside = anndata.io.read_zarr(f"{local.url}/{PATH}").obs
    for table in (found, outside):
        pd.testing.assert_frame_equal(
            table.astype({"chip": str, "kind": str}),
            expected.astype({"chip": str, "kind": str}),
            check_index_type=False,
        )
    assert written == {name: digest(local.get(name)) for name in local.names(PATH)}


def test_how_rows_come_does_not_change_the_bytes(tmp_path) -> None:
    whole, parts = (open_store(str(tmp_path / name), create=True) for name in ("whole", "parts"))
    write(whole, [27])
    write(parts, [1, 9, 0, 17])
    assert contents(whole) == contents(parts)


def test_a_short_one_is_what_is_written_at_once(tmp_path) -> None:
    grown, once = (open_store(str(tmp_path / name), create=True) for name in ("grown", "once"))
    write(grown, [2, 5])
    rows = cells(0, 7)
    tables.write_table(once, PATH, names=list(rows.index), columns=dict(rows), written={})
    assert contents(grown) == contents(once)


def test_rows_and_columns_are_read_by_themselves(store: Objects) -> None:
    write(store, [20])
    found = read_rows(store, PATH, 6, 17)
    pd.testing.assert_frame_equal(
        found.astype({"chip": str, "kind": str}), cells(6, 17).astype({"chip": str, "kind": str})
    )
    assert list(read_rows(store, PATH, 0, 3, ["kind", "t"]).columns) == ["kind", "t"]
    assert len(read_rows(store, PATH, 18, 40)) == 2
    with pytest.raises(MissingInputError, match="expected a table"):
        read_rows(store, "artifacts/labels/bb/cells.zarr", 0, 1)


def test_what_fails_in_the_middle_leaves_no_table(store: Objects) -> None:
    def fail() -> None:
        with GrowingTable(store, PATH, {}) as table:
            table.append(cells(0, 20))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    with pytest.raises(MissingInputError):
        tables.read_table(store, PATH)
    write(store, [3])
    assert len(tables.read_table(store, PATH)) == 3


def test_memory_does_not_grow_with_the_table(local: Objects, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(long_tables, "ROWS", 4096)
    write(local, [4096])  # what is imported and cached at the first time is not counted
    peaks = []
    for parts in (8, 32):  # of fewer, not all that is held at once is there
        tracemalloc.start()
        write(local, [2048] * parts)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.3 * peaks[0]
