"""Chunked, sharded arrays on disk. This is the only module that knows zarr."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.abc.store import ByteRequest, Store
from zarr.codecs import BloscCodec
from zarr.core.array_spec import ArrayConfig
from zarr.core.buffer import Buffer, BufferPrototype, default_buffer_prototype
from zarr.core.group import GroupMetadata
from zarr.storage import MemoryStore, ObjectStore, StorePath, WrapperStore

from storage.backends import FAULTS, reason
from storage.errors import ChipcyteError, DamagedStoreError, InputError, MissingInputError, StoreError
from storage.objects import Objects
from storage.regions import Region, check_aligned

Digests = dict[str, tuple[int, str]]
# A shard of zeros is written like any other, so that one that is not there is known to be lost.
ALL_SHARDS = ArrayConfig(order="C", write_empty_chunks=True)


def digest(content: bytes) -> tuple[int, str]:
    """Return the size in bytes and the SHA-256 of an object."""
    return len(content), hashlib.sha256(content).hexdigest()


class CheckedStore(WrapperStore[Store]):
    """A zarr store that notes what is written through it, and misses what is not there.

    The size and SHA-256 of every object are noted, so an artifact's digest is known without reading its
    bytes back. A shard that is not there is an error: zarr would read it as zeros. For writing, no shard is
    there: zarr would read the old one, which a whole new one replaces, and fail if that is torn.
    """

    def __init__(
        self, store: Store, objects: Objects, written: Digests, folder: str, *, writing: bool = False
    ) -> None:
        super().__init__(store)
        self.objects = objects
        self.written = written
        self.folder = folder
        self.writing = writing

    def for_writing(self) -> "CheckedStore":
        """Return the same store, in which no shard is there."""
        return CheckedStore(self._store, self.objects, self.written, self.folder, writing=True)

    def _with_store(self, store: Store) -> "CheckedStore":
        """Zarr calls this when it needs the same store with another mode: the notes stay shared."""
        return CheckedStore(store, self.objects, self.written, self.folder, writing=self.writing)

    async def get(
        self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        """Read one object or a part of it; DamagedStoreError if it is a shard and missing."""
        shard = key.startswith("c/")
        if shard and self.writing:
            return None
        found = await super().get(key, prototype, byte_range)
        if found is None:
            self.objects.check_present()
        if shard and not found:  # zarr takes an empty file, too, for zeros
            raise DamagedStoreError(
                f"the shard {self.folder}/{key} is missing or empty in {self.objects.url}; "
                "`chipcyte check` says what is lost"
            )
        return found

    async def set(self, key: str, value: Buffer) -> None:
        """Write one object and note its digest."""
        self.objects.check_present()
        await super().set(key, value)
        self.written[f"{self.folder}/{key}"] = digest(value.to_bytes())


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
    """An array of a store: read any region, write whole shards only."""

    path: str
    spec: ArraySpec
    _array: Any
    _writer: Any
    written: Digests

    @property
    def shape(self) -> tuple[int, ...]:
        """The lengths of the axes."""
        return self.spec.shape

    def read(self, region: Region) -> NDArray[Any]:
        """Return the values of a region."""
        with _clear_errors("read", self.path):
            return np.asarray(self._array[region.slices])

    def write(self, region: Region, values: NDArray[Any]) -> None:
        """Write a region of whole shards; MisalignedRegionError if it would share a shard with another."""
        check_aligned(region, self.shape, self.spec.shards)
        if values.shape != region.shape:
            raise InputError(f"expected values of shape {region.shape} for {self.path}, found {values.shape}")
        with _clear_errors("write", self.path):
            self._writer[region.slices] = values


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


def _zarr_store(objects: Objects, folder: str, written: Digests) -> CheckedStore:
    """Return a zarr store rooted at `folder`; from a higher root zarr would write groups on the way."""
    return CheckedStore(ObjectStore(objects.below(folder)), objects, written, folder)


def codec(dtype: str) -> BloscCodec:
    """Return the compressor for arrays of `dtype`: zstd after a bit shuffle, good for noisy images."""
    return BloscCodec(typesize=np.dtype(dtype).itemsize, cname="zstd", clevel=3, shuffle="bitshuffle")


def create_group(objects: Objects, path: str, attributes: Mapping[str, Any], written: Digests) -> None:
    """Write the metadata of a zarr group, replacing what was there; what lies in the group stays."""
    metadata = GroupMetadata(attributes=dict(attributes), zarr_format=3)
    for name, content in metadata.to_buffer_dict(default_buffer_prototype()).items():
        text = content.to_bytes()
        objects.put(f"{path}/{name}", text)
        written[f"{path}/{name}"] = digest(text)


def create_array(objects: Objects, path: str, spec: ArraySpec, written: Digests) -> ZarrArray:
    """Create an array, final in all but its values, or open the one an unfinished run left."""
    if objects.exists(f"{path}/zarr.json"):
        written[f"{path}/zarr.json"] = digest(objects.get(f"{path}/zarr.json"))
        return open_array(objects, path, written)
    with _clear_errors("create", path):
        zarr.create_array(
            _zarr_store(objects, path, written),
            shape=spec.shape,
            dtype=spec.dtype,
            chunks=spec.chunks,
            shards=spec.shards,
            compressors=codec(spec.dtype),
            fill_value=0,
            dimension_names=spec.axes,
            zarr_format=3,
        )
    return open_array(objects, path, written)


def open_array(objects: Objects, path: str, written: Digests | None = None) -> ZarrArray:
    """Open an array; MissingInputError if there is none at `path`."""
    notes: Digests = {} if written is None else written
    if not objects.exists(f"{path}/zarr.json"):
        raise MissingInputError(f"expected an array at {objects.uri(path)}, found none")
    store = _zarr_store(objects, path, notes)
    with _clear_errors("open", path):
        array: Any = zarr.open_array(store, mode="r+", zarr_format=3)
        place = StorePath(store.for_writing())
        writer = zarr.Array(zarr.AsyncArray(array.metadata, place, config=ALL_SHARDS))
    names = getattr(array.metadata, "dimension_names", None) or ()
    spec = ArraySpec(
        shape=array.shape,
        dtype=str(array.dtype),
        chunks=array.chunks,
        shards=array.shards or array.chunks,
        axes=tuple(str(name) for name in names),
    )
    return ZarrArray(path, spec, array, writer, notes)


def group_attributes(objects: Objects, path: str) -> dict[str, Any]:
    """Return the attributes of a zarr group; MissingInputError if there is none at `path`."""
    if not objects.exists(f"{path}/zarr.json"):
        raise MissingInputError(f"expected a zarr group at {objects.uri(path)}, found none")
    with _clear_errors("open", path):
        group = zarr.open_group(_zarr_store(objects, path, {}), mode="r", zarr_format=3)
        return dict(group.attrs)


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
