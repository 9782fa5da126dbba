from pathlib import Path

import numpy as np
import pytest
import zarr
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from storage import arrays
from storage.arrays import ArraySpec, Digests, ZarrArray
from storage.errors import DamagedStoreError, InputError, MisalignedRegionError, MissingInputError, StoreError
from storage.objects import Objects
from storage.regions import Region, grid_regions

SPEC = ArraySpec((3, 70, 50), "uint16", (1, 16, 16), (1, 32, 32), ("t", "y", "x"))
WHOLE = Region((0, 0, 0), SPEC.shape)


@pytest.fixture
def tyx() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 60000, SPEC.shape, dtype=np.uint16)


def fill(array: ZarrArray, values: np.ndarray) -> None:
    for region in grid_regions(array.shape, array.spec.shards):
        array.write(region, values[region.slices])


def test_shards_written_one_by_one_make_the_whole(store: Objects, tyx: np.ndarray) -> None:
    array = arrays.create_array(store, "some/array", SPEC, {})
    fill(array, tyx)
    again = arrays.open_array(store, "some/array")
    assert again.spec == SPEC
    assert np.array_equal(again.read(WHOLE), tyx)
    window = Region((1, 5, 30), (3, 66, 47))
    assert np.array_equal(again.read(window), tyx[window.slices])


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float16", "float32", "uint32", "uint64"])
def test_every_type_comes_back_bit_for_bit(local: Objects, dtype: str) -> None:
    spec = ArraySpec((33, 40), dtype, (16, 16), (64, 64), ("y", "x"))
    raw = np.random.default_rng(2).bytes(33 * 40 * np.dtype(dtype).itemsize)
    yx = np.frombuffer(raw, dtype).reshape(33, 40)
    array = arrays.create_array(local, "a", spec, {})
    array.write(Region((0, 0), (33, 40)), yx)
    assert arrays.open_array(local, "a").read(Region((0, 0), (33, 40))).tobytes() == raw


def test_plain_zarr_reads_what_chipcyte_wrote(local: Objects, tyx: np.ndarray) -> None:
    fill(arrays.create_array(local, "a", SPEC, {}), tyx)
    plain = zarr.open_array(f"{local.url}/a", mode="r")
    assert np.array_equal(plain[:], tyx)
    assert plain.shards == SPEC.shards
    assert plain.chunks == SPEC.chunks


def test_noted_digests_are_those_of_the_files(local: Objects, tyx: np.ndarray) -> None:
    written: Digests = {}
    fill(arrays.create_array(local, "some/array", SPEC, written), tyx)
    root = Path(local.url)
    files = [path for path in root.rglob("*") if path.is_file() and path.name != "chipcyte.json"]
    assert len(files) == 1 + 3 * 3 * 2
    assert written == {
        str(path.relative_to(root)): (path.stat().st_size, blake3(path.read_bytes()).hexdigest())
        for path in files
    }


def test_a_misaligned_write_prints_region_and_grid_and_writes_nothing(
    store: Objects, tyx: np.ndarray
) -> None:
    array = arrays.create_array(store, "a", SPEC, {})
    region = Region((0, 16, 0), (1, 48, 32))
    with pytest.raises(MisalignedRegionError) as caught:
        array.write(region, tyx[region.slices])
    assert str(caught.value) == (
        "expected a region of whole shards of (1, 32, 32) in an array of shape (3, 70, 50), "
        "found (0, 16, 0) to (1, 48, 32); write exactly one shard at a time"
    )
    assert [name for name, _ in store.sizes("a")] == ["a/zarr.json"]


def test_values_of_another_shape_are_refused(local: Objects) -> None:
    array = arrays.create_array(local, "a", SPEC, {})
    with pytest.raises(InputError, match=r"expected values of shape \(1, 32, 32\) for a, found \(32, 32\)"):
        array.write(Region((0, 0, 0), (1, 32, 32)), np.zeros((32, 32), np.uint16))


def test_creating_again_goes_on_with_what_is_there(store: Objects, tyx: np.ndarray) -> None:
    first: Digests = {}
    fill(arrays.create_array(store, "a", SPEC, first), tyx)
    again: Digests = {}
    array = arrays.create_array(store, "a", SPEC, again)
    assert np.array_equal(array.read(WHOLE), tyx)
    assert again == {"a/zarr.json": first["a/zarr.json"]}


def test_a_missing_array_or_group_is_named(store: Objects) -> None:
    with pytest.raises(MissingInputError, match=r"expected an array at .*/nothing, found none"):
        arrays.open_array(store, "nothing")
    with pytest.raises(MissingInputError, match=r"expected a zarr group at .*/nothing, found none"):
        arrays.group_attributes(store, "nothing")


def test_a_missing_shard_is_an_error_and_not_zeros(store: Objects, tyx: np.ndarray) -> None:
    """Plain zarr reads a lost shard as zeros; cells would vanish without a word."""
    array = arrays.create_array(store, "a", SPEC, {})
    fill(array, tyx)
    store.delete(["a/c/1/0/0"])
    with pytest.raises(DamagedStoreError, match="the shard a/c/1/0/0 is missing or empty"):
        array.read(WHOLE)
    assert np.array_equal(array.read(Region((2, 0, 0), (3, 70, 50)))[0], tyx[2])


def test_a_shard_of_zeros_is_written_like_any_other(store: Objects) -> None:
    written: Digests = {}
    array = arrays.create_array(store, "a", SPEC, written)
    array.write(Region((0, 0, 0), (1, 32, 32)), np.zeros((1, 32, 32), np.uint16))
    assert "a/c/0/0/0" in written
    assert not array.read(Region((0, 0, 0), (1, 32, 32))).any()


@pytest.mark.parametrize("kept", [0, 1, 7, 0.5, -1])
def test_a_torn_shard_is_a_clear_error_and_can_be_written_again(
    store: Objects, tyx: np.ndarray, kept: float
) -> None:
    written: Digests = {}
    array = arrays.create_array(store, "a", SPEC, written)
    fill(array, tyx)
    whole = store.get("a/c/0/0/0")
    length = round(kept * len(whole)) if isinstance(kept, float) else kept
    store.put("a/c/0/0/0", whole[:length])
    with pytest.raises(StoreError, match=r"could not read a: |is missing or empty"):
        array.read(WHOLE)
    region = Region((0, 0, 0), (1, 32, 32))
    array.write(region, tyx[region.slices])
    assert store.get("a/c/0/0/0") == whole
    assert np.array_equal(array.read(WHOLE), tyx)


def test_a_changed_byte_is_found(local: Objects, tyx: np.ndarray) -> None:
    """The shard's index has a checksum of its own; a flipped pixel is left to `chipcyte check`."""
    array = arrays.create_array(local, "a", SPEC, {})
    fill(array, tyx)
    whole = bytearray(local.get("a/c/0/0/0"))
    whole[-8] ^= 0xFF
    local.put("a/c/0/0/0", bytes(whole))
    with pytest.raises(DamagedStoreError, match="its bytes are not what was written"):
        array.read(WHOLE)


@pytest.mark.parametrize("content", [b"", b"{", b"{}", b'{"zarr_format":3,"node_type":"array"}'])
def test_damaged_metadata_is_a_clear_error(local: Objects, content: bytes) -> None:
    local.put("a/zarr.json", content)
    with pytest.raises(StoreError, match="could not open a: "):
        arrays.open_array(local, "a")


def test_writing_a_shard_reads_nothing(
    local: Objects, tyx: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    array = arrays.create_array(local, "a", SPEC, {})
    fill(array, tyx)
    reads: list[str] = []

    async def counted(_store: object, key: str, *_: object) -> None:
        reads.append(key)

    monkeypatch.setattr(zarr.storage.ObjectStore, "get", counted)
    fill(array, tyx)
    assert reads == []


@given(st.tuples(st.integers(1, 20000), st.integers(1, 20000)), st.sampled_from([256, 1024, 4096, 1 << 16]))
def test_shards_are_powers_of_two_of_whole_chunks(shape: tuple[int, int], largest: int) -> None:
    chunks, shards = arrays.power_of_two_shards((5, 2, 3, *shape), largest=largest)
    assert chunks[:3] == shards[:3] == (1, 1, 1)
    for size, chunk, shard in zip(shape, chunks[3:], shards[3:], strict=True):
        assert shard & (shard - 1) == 0
        assert shard % chunk == 0
        assert shard <= largest
        assert shard >= min(size, largest)
        assert chunk <= 512
