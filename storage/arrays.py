"""Chunked, sharded arrays on disk. This is the only module that knows zarr."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import numpy as np
import zarr
from blake3 import blake3
from numpy.typing import NDArray
from zarr.abc.store import ByteRequest, Store
from zarr.codecs import BloscCodec
from zarr.core.buffer import Buffer, BufferPrototype, default_buffer_prototype
from zarr.core.group import GroupMetadata
from zarr.core.metadata.v3 import ArrayV3Metadata
from zarr.storage import MemoryStore, ObjectStore, StorePath, WrapperStore

from storage import documents
from storage.backends import FAULTS, reason
from storage.errors import ChipcyteError, DamagedStoreError, InputError, MissingInputError, StoreError
from storage.objects import Objects
from storage.regions import Region, check_aligned, grid_regions
from storage.shards import ShardFormat, shard_format

Digests = dict[str, tuple[int, str]]


def digest(content: bytes) -> tuple[int, str]:
    """Return the size in bytes and the BLAKE3 digest of an object."""
    return len(content), blake3(content).hexdigest()


class CheckedStore(WrapperStore[Store]):
    """A zarr store for reading, which misses what is not there.

    A shard that is not there is an error: zarr would read it as zeros.
    """

    def __init__(self, store: Store, objects: Objects, folder: str) -> None:
        super().__init__(store)
        self.objects = objects
        self.folder = folder

    async def get(
        self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        """Read one object or a part of it; DamagedStoreError if it is a shard and missing."""
        found = await super().get(key, prototype, byte_range)
        if found is None:
            self.objects.check_present()
        if not found:  # zarr takes an empty file, too, for zeros
            raise DamagedStoreError(
                f"the shard {self.folder}/{key} is missing or empty in {self.objects.url}; "
                "`chipcyte check` says what is lost"
            )
        return found


@dataclass(frozen=True)
class ArraySpec:
    """What an array is before it holds anything. Axes and names go to the last dimension order given."""

    shape: tuple[int, ...]
    dtype: str
    chunks: tuple[int, ...]
    shards: tuple[int, ...]
    axes: tuple[str, ...]


@dataclass(frozen=True)
class ZarrArray:
    """An array of a store: read any region, write whole shards only.

    The size and digest of each shard that is written are noted in `written`, so that an artifact's digest is
    known without reading its bytes back.
    """

    objects: Objects
    path: str
    document: bytes
    written: Digests

    @property
    def spec(self) -> ArraySpec:
        """What the array is, its values aside."""
        return _understood(self.document).spec

    @property
    def shape(self) -> tuple[int, ...]:
        """The lengths of the axes."""
        return self.spec.shape

    def read(self, region: Region) -> NDArray[Any]:
        """Return the values of a region."""
        with _clear_errors("read", self.path):
            store = CheckedStore(ObjectStore(self.objects.below(self.path)), self.objects, self.path)
            array: Any = zarr.Array(zarr.AsyncArray(_understood(self.document).metadata, StorePath(store)))
            return np.asarray(array[region.slices])

    def write(self, region: Region, values: NDArray[Any]) -> None:
        """Write a region of whole shards; MisalignedRegionError if it would share a shard with another."""
        shards = self.spec.shards
        check_aligned(region, self.shape, shards)
        if values.shape != region.shape:
            raise InputError(f"expected values of shape {region.shape} for {self.path}, found {values.shape}")
        for part in grid_regions(region.shape, shards):
            index = [(a + b) // n for a, b, n in zip(region.start, part.start, shards, strict=True)]
            name = f"{self.path}/c/{'/'.join(map(str, index))}"
            with _clear_errors("write", self.path):
                shard = _understood(self.document).format.encode(values[part.slices])
            self.objects.put(name, shard)
            self.written[name] = digest(shard)


@dataclass(frozen=True)
class _Understood:
    """What an array's zarr.json says."""

    metadata: ArrayV3Metadata
    spec: ArraySpec
    format: ShardFormat


@lru_cache(maxsize=256)
def _understood(document: bytes) -> _Understood:
    content = json.loads(document)
    metadata = ArrayV3Metadata.from_dict(content)
    shards = shard_format(
        np.dtype(metadata.dtype.to_native_dtype()).name,
        content["chunk_grid"]["configuration"]["chunk_shape"],
        content["codecs"],
    )
    spec = ArraySpec(
        shape=metadata.shape,
        dtype=shards.dtype.name,
        chunks=shards.chunks,
        shards=shards.shape,
        axes=tuple(str(name) for name in metadata.dimension_names or ()),
    )
    return _Understood(metadata, spec, shards)


@contextmanager
def _clear_errors(verb: str, path: str) -> Iterator[None]:
    try:
        yield
    except ChipcyteError:
        raise
    except FAULTS as error:
        raise StoreError(f"could not {verb} {path}: {reason(error)}") from error
    except (RuntimeError, ValueError, TypeError, LookupError) as error:
        # A codec, or zarr's reader of metadata, that meets bytes it did not write.
        raise DamagedStoreError(
            f"could not {verb} {path}: its bytes are not what was written ({reason(error)}); "
            "`chipcyte check` says more"
        ) from error


def codec(dtype: str) -> BloscCodec:
    """Return the compressor for arrays of `dtype`, chosen by `python -m tests.benchmarks codecs`.

    Recordings are kept for long: zstd after a bit shuffle, the smallest that keeps up with a disk. The low
    bits of floats are noise to any compressor: lz4 gets within 7 percent of zstd's size in a ninth of its
    time.
    """
    size = np.dtype(dtype).itemsize
    if np.dtype(dtype).kind == "f":
        return BloscCodec(typesize=size, cname="lz4", clevel=5, shuffle="shuffle")
    return BloscCodec(typesize=size, cname="zstd", clevel=3, shuffle="bitshuffle")


def create_group(objects: Objects, path: str, attributes: Mapping[str, Any], written: Digests) -> None:
    """Write the metadata of a zarr group, replacing what was there; what lies in the group stays."""
    metadata = GroupMetadata(attributes=dict(attributes), zarr_format=3)
    for name, content in metadata.to_buffer_dict(default_buffer_prototype()).items():
        text = content.to_bytes()
        objects.put(f"{path}/{name}", text)
        written[f"{path}/{name}"] = digest(text)


def create_array(objects: Objects, path: str, spec: ArraySpec, written: Digests) -> ZarrArray:
    """Create an array, final in all but its values, or open the one an unfinished run left."""
    name = f"{path}/zarr.json"
    try:
        document = objects.get(name)
    except MissingInputError:
        document = _described(spec)
        objects.put(name, document)
    written[name] = digest(document)
    return _array(objects, path, document, written)


def _described(spec: ArraySpec) -> bytes:
    """Return the zarr.json of an array."""
    held: dict[str, Buffer] = {}
    zarr.create_array(
        MemoryStore(held),
        shape=spec.shape,
        dtype=spec.dtype,
        chunks=spec.chunks,
        shards=spec.shards,
        compressors=codec(spec.dtype),
        fill_value=0,
        dimension_names=spec.axes,
        zarr_format=3,
    )
    return held["zarr.json"].to_bytes()


def open_array(objects: Objects, path: str, written: Digests | None = None) -> ZarrArray:
    """Open an array; MissingInputError if there is none at `path`."""
    document = _document(objects, path, "an array")
    return _array(objects, path, document, {} if written is None else written)


def _array(objects: Objects, path: str, document: bytes, written: Digests) -> ZarrArray:
    with _clear_errors("open", path):
        _understood(document)
    return ZarrArray(objects, path, document, written)


def _document(objects: Objects, path: str, what: str) -> bytes:
    try:
        return documents.read(objects, f"{path}/zarr.json")
    except MissingInputError as error:
        raise MissingInputError(f"expected {what} at {objects.uri(path)}, found none") from error


def group_attributes(objects: Objects, path: str) -> dict[str, Any]:
    """Return the attributes of a zarr group; MissingInputError if there is none at `path`."""
    document = _document(objects, path, "a zarr group")
    with _clear_errors("open", path):
        content = json.loads(document)
        if content["node_type"] != "group":
            raise ValueError(f"expected a zarr group, found {content['node_type']!r}")
        return dict(content.get("attributes", {}))


@contextmanager
def lent_group(objects: Objects, path: str, written: Digests, *, mode: Literal["r", "w"]) -> Iterator[Any]:
    """Lend a zarr group to libraries that read or write one themselves (AnnData).

    The group lies in memory, so that their many small requests are one for each object: read before the
    block, or written after it in place of what was there.
    """
    with _clear_errors("read" if mode == "r" else "write", path):
        names = list(objects.names(path))
        held: dict[str, Buffer] = {}
        if mode == "r":
            contents = objects.get_all(names)
            short = [name.removeprefix(f"{path}/") for name in names]
            buffers = [default_buffer_prototype().buffer.from_bytes(content) for content in contents]
            held.update(zip(short, buffers, strict=True))
        yield zarr.open_group(MemoryStore(held), mode=mode, zarr_format=3)
    if mode == "w":
        made = {f"{path}/{name}": buffer.to_bytes() for name, buffer in sorted(held.items())}
        objects.delete(names)
        objects.put_all(made)
        written.update({name: digest(content) for name, content in made.items()})


@contextmanager
def group_into(held: dict[str, bytes]) -> Iterator[Any]:
    """Lend an empty zarr group whose objects are in `held` afterwards, by name."""
    buffers: dict[str, Buffer] = {}
    yield zarr.open_group(MemoryStore(buffers), mode="w", zarr_format=3)
    held.update({name: buffer.to_bytes() for name, buffer in sorted(buffers.items())})


@contextmanager
def group_at(objects: Objects, path: str) -> Iterator[Any]:
    """Lend a zarr group for reading parts of its arrays: what is not asked for is not read."""
    with _clear_errors("read", path):
        yield zarr.open_group(ObjectStore(objects.below(path)), mode="r", zarr_format=3)


def power_of_two_shards(
    shape: Sequence[int], *, largest: int = 4096, chunk: int = 512
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return (chunks, shards) of an image t c z y x: one plane a shard, up to `largest` pixels an edge.

    Edges are powers of two, so that a shard halves into a whole shard of every level of the pyramid.
    """
    edges = [min(largest, max(32, 1 << (size - 1).bit_length())) for size in shape[-2:]]
    leading = (1,) * (len(shape) - 2)
    return leading + tuple(min(chunk, edge) for edge in edges), leading + tuple(edges)


def open_outside(folder: str) -> Any:
    """Open an array that another program wrote in a local folder, zarr format 2 or 3, for reading only."""
    return zarr.open_array(folder, mode="r")
