import anndata
import anndata.io
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage import tables
from storage.arrays import Digests, digest
from storage.errors import MissingInputError, StoreError
from storage.objects import Objects, open_store

PATH = "artifacts/labels/aa/cells.zarr"
NAMES = ["t0-1", "t0-2", "t1-1"]
COLUMNS = {
    "t": np.array([0, 0, 1]),
    "area_um2": np.array([10.5, np.nan, 3.25]),
    "touches_edge": np.array([True, False, False]),
    "condition": ["wild type", "BRAF", "wild type"],
    "note": ["", 'µm, "quoted"', "日本"],
}


def write(objects: Objects, written: Digests | None = None) -> None:
    tables.write_table(
        objects,
        PATH,
        names=NAMES,
        columns=COLUMNS,
        written={} if written is None else written,
        values=np.arange(6).reshape(3, 2),
        value_names=["m1", "m2"],
        matrices={"latent": np.arange(9, dtype=np.float32).reshape(3, 3)},
    )


def test_a_table_comes_back(store: Objects) -> None:
    write(store)
    table = tables.read_table(store, PATH)
    assert list(table.obs_names) == NAMES
    assert list(table.obs.columns) == list(COLUMNS)
    for name, column in COLUMNS.items():
        assert np.array_equal(np.asarray(table.obs[name]), np.asarray(column), equal_nan=name == "area_um2")
    assert table.obs["t"].dtype == np.int64
    assert table.obs["touches_edge"].dtype == bool
    assert table.obs["condition"].dtype == "category"
    assert table.X.dtype == np.float32
    assert np.array_equal(table.X, [[0, 1], [2, 3], [4, 5]])
    assert list(table.var_names) == ["m1", "m2"]
    assert np.array_equal(table.obsm["latent"], np.arange(9).reshape(3, 3))


def test_anndata_reads_it_without_chipcyte(local: Objects) -> None:
    write(local)
    table = anndata.io.read_zarr(f"{local.url}/{PATH}")
    assert list(table.obs["condition"]) == COLUMNS["condition"]
    assert list(table.obs["note"]) == COLUMNS["note"]
    assert table.obs.groupby("condition", observed=True)["t"].count().to_dict() == {"BRAF": 1, "wild type": 2}


def test_an_empty_table_keeps_its_columns(store: Objects) -> None:
    columns = {"t": np.zeros(0, np.int64), "area_um2": np.zeros(0), "condition": np.zeros(0, str)}
    tables.write_table(
        store, PATH, names=[], columns=columns, written={}, matrices={"latent": np.zeros((0, 4), np.float32)}
    )
    table = tables.read_table(store, PATH)
    assert table.shape == (0, 0)
    assert list(table.obs.columns) == ["t", "area_um2", "condition"]
    assert table.obs["t"].dtype == np.int64
    assert table.obsm["latent"].shape == (0, 4)


def test_noted_digests_are_those_of_the_objects(store: Objects) -> None:
    written: Digests = {}
    write(store, written)
    assert written == {name: digest(store.get(name)) for name in store.names(PATH)}


def test_writing_again_leaves_nothing_of_the_first(store: Objects) -> None:
    write(store)
    written: Digests = {}
    tables.write_table(store, PATH, names=["a"], columns={"t": np.array([7])}, written=written)
    assert list(tables.read_table(store, PATH).obs["t"]) == [7]
    assert set(store.names(PATH)) == set(written)


def test_the_same_table_is_the_same_bytes(local: Objects, tmp_path_factory: pytest.TempPathFactory) -> None:
    first: Digests = {}
    second: Digests = {}
    write(local, first)
    write(open_store(str(tmp_path_factory.mktemp("other")), create=True), second)
    assert first == second


def test_a_missing_table_is_named(store: Objects) -> None:
    with pytest.raises(MissingInputError, match=r"expected a table at .*/artifacts/labels/aa"):
        tables.read_table(store, PATH)


@pytest.mark.parametrize("content", [b"", b"{}", b"x" * 100])
def test_a_damaged_table_is_a_clear_error(local: Objects, content: bytes) -> None:
    write(local)
    for name in list(local.names(f"{PATH}/obs")):
        local.put(name, content)
    with pytest.raises(StoreError, match=f"could not read {PATH}"):
        tables.read_table(local, PATH)


@settings(max_examples=15)
@given(
    st.lists(st.text(alphabet=st.characters(exclude_categories=["Cs"], exclude_characters="\0")), max_size=8)
)
def test_any_text_comes_back(tmp_path_factory: pytest.TempPathFactory, texts: list[str]) -> None:
    objects = open_store(str(tmp_path_factory.mktemp("text")), create=True)
    names = [str(number) for number in range(len(texts))]
    tables.write_table(
        objects, PATH, names=names, columns={"note": np.asarray(texts, dtype=object)}, written={}
    )
    assert list(tables.read_table(objects, PATH).obs["note"]) == texts
