import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from zarr.codecs import BloscCodec

from storage import arrays
from storage.shards import shard_format

SHUFFLES = ("noshuffle", "shuffle", "bitshuffle")


def by_zarr(values, shards, chunks, **blosc):
    """A whole array of one shard, written by zarr: its metadata and the shard's bytes."""
    held = {}
    codec = BloscCodec(typesize=values.dtype.itemsize, **blosc)
    array = zarr.create_array(
        zarr.storage.MemoryStore(held),
        shape=values.shape,
        dtype=values.dtype,
        chunks=chunks,
        shards=shards,
        compressors=codec,
        config={"write_empty_chunks": True},
    )
    array[...] = values
    return array.metadata.to_dict()["codecs"], held["c/" + "/".join("0" * values.ndim)].to_bytes()


@given(
    counts=st.lists(st.integers(1, 5), min_size=1, max_size=3),
    chunk=st.integers(1, 6),
    dtype=st.sampled_from(["uint8", "int16", "uint16", "float16", "float32", "uint64"]),
    shuffle=st.sampled_from(SHUFFLES),
    data=st.data(),
)
def test_a_shard_is_byte_for_byte_what_zarr_writes(counts, chunk, dtype, shuffle, data):
    chunks = (chunk,) * len(counts)
    shards = tuple(chunk * count for count in counts)
    shape = data.draw(st.tuples(*(st.integers(1, edge) for edge in shards)))
    values = data.draw(hnp.arrays(np.uint8, (*shape, np.dtype(dtype).itemsize))).view(dtype)[..., 0]
    codecs, expected = by_zarr(values, shards, chunks, cname="zstd", clevel=3, shuffle=shuffle)
    assert shard_format(dtype, shards, codecs).encode(values) == expected


@pytest.mark.parametrize(("cname", "clevel"), [("zstd", 1), ("lz4", 5), ("zlib", 9)])
def test_the_compression_is_that_of_the_metadata(cname, clevel):
    values = np.random.default_rng(0).poisson(300, (64, 96)).astype(np.uint16)
    codecs, expected = by_zarr(values, (64, 96), (32, 32), cname=cname, clevel=clevel, shuffle="bitshuffle")
    assert shard_format("uint16", (64, 96), codecs).encode(values) == expected


def test_values_in_any_order_in_memory_are_the_same_shard():
    values = np.random.default_rng(1).integers(0, 9, (64, 64)).astype(np.uint16)
    codecs, expected = by_zarr(values, (64, 64), (32, 32), cname="zstd", clevel=3, shuffle="bitshuffle")
    form = shard_format("uint16", (64, 64), codecs)
    assert form.encode(np.asfortranarray(values)) == expected
    assert form.encode(values.astype(">u2")) == expected


@pytest.mark.parametrize(
    "spoil",
    [
        lambda codecs: codecs[0]["configuration"]["codecs"],
        lambda codecs: [*codecs, {"name": "crc32c"}],
        lambda codecs: [spoiled(codecs, index_location="start")],
        lambda codecs: [spoiled(codecs, codecs=[{"name": "bytes"}, {"name": "zstd"}])],
        lambda codecs: [spoiled(codecs, index_codecs=[{"name": "bytes"}])],
    ],
)
def test_another_format_is_refused(spoil):
    codecs, _ = by_zarr(np.zeros((8, 8), np.uint8), (8, 8), (4, 4), cname="zstd")
    with pytest.raises(ValueError, match=r"expected the codecs .* it is no array of chipcyte's"):
        shard_format("uint8", (8, 8), spoil(codecs))


def spoiled(made, **changes):
    return {"name": made[0]["name"], "configuration": dict(made[0]["configuration"]) | changes}


def test_an_array_of_another_format_is_not_written(local):
    zarr.create_array(f"{local.url}/foreign", shape=(8, 8), dtype="uint8", chunks=(4, 4))
    with pytest.raises(arrays.DamagedStoreError, match=r"could not open foreign: .*expected the codecs"):
        arrays.open_array(local, "foreign")
