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
from zarr.core.buffer import Buffer, BufferPrototype, default_buffer_prototype
from zarr.core.group import GroupMetadata
from zarr.storage import ObjectStore, WrapperStore

from storage.backends import FAULTS, reason
from storage.errors import ChipcyteError, DamagedStoreError, InputError, MissingInputError, StoreError
from storage.objects import Objects
from storage.regions import Region, check_aligned

Digests = dict[str, tuple[int, str]]
ALL_SHARDS: Any = {
    "write_empty_chunks": True
}  # one of zeros is written too, so that a missing one is known as lost


def digest(content: bytes) -> tuple[int, str]:
    """Return the size in bytes and the SHA-256 of an object."""
    return len(content), hashlib.sha256(content).hexdigest()


class CheckedStore(WrapperStore[Store]):
    """A zarr store that notes what is written through it, and misses what is not there.

    The size and SHA-256 of every object are noted, so an artifact's digest is known without reading its
    bytes back. A shard that is not there is an error: zarr would read it as zeros.
    """

    def __init__(self, store: Store, objects: Objects, written: Digests, folder: str) -> None:
        super().__init__(store)
        self.objects = objects
        self.written = written
        self.folder = folder

    def _with_store(self, store: Store) -> "CheckedStore":
        """Zarr calls this when it needs the same store with another mode: the notes stay shared."""
        return CheckedStore(store, self.objects, self.written, self.folder)

    async def get(
        self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        """Read one object or a part of it; DamagedStoreError if it is a shard and missing."""
        found = await super().get(key, prototype, byte_range)
        if found is None:
            self.objects.check_present()
            if key.startswith("c/"):
                raise DamagedStoreError(f"the shard {self.folder}/{key} is missing in {self.objects.url}")
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
            self._array[region.slices] = values


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
            config=ALL_SHARDS,
        )
    return open_array(objects, path, written)


def open_array(objects: Objects, path: str, written: Digests | None = None) -> ZarrArray:
    """Open an array; MissingInputError if there is none at `path`."""
    notes: Digests = {} if written is None else written
    if not objects.exists(f"{path}/zarr.json"):
        raise MissingInputError(f"expected an array at {objects.uri(path)}, found none")
    with _clear_errors("open", path):
        array = zarr.open_array(
            _zarr_store(objects, path, notes), mode="r+", zarr_format=3, config=ALL_SHARDS
        )
    names = getattr(array.metadata, "dimension_names", None) or ()
    spec = ArraySpec(
        shape=array.shape,
        dtype=str(array.dtype),
        chunks=array.chunks,
        shards=array.shards or array.chunks,
        axes=tuple(str(name) for name in names),
    )
    return ZarrArray(path, spec, array, notes)


def group_attributes(objects: Objects, path: str) -> dict[str, Any]:
    """Return the attributes of a zarr group; MissingInputError if there is none at `path`."""
    if not objects.exists(f"{path}/zarr.json"):
        raise MissingInputError(f"expected a zarr group at {objects.uri(path)}, found none")
    with _clear_errors("open", path):
        group = zarr.open_group(_zarr_store(objects, path, {}), mode="r", zarr_format=3)
        return dict(group.attrs)


@contextmanager
def opened_group(objects: Objects, path: str, written: Digests, *, mode: Literal["r", "w"]) -> Iterator[Any]:
    """Lend a zarr group to libraries that write into one themselves (AnnData); their errors become ours."""
    with _clear_errors("read" if mode == "r" else "write", path):
        store = _zarr_store(objects, path, written)
        yield zarr.open_group(store, mode=mode, zarr_format=3)


def power_of_two_shards(
    shape: Sequence[int], *, largest: int = 4096, chunk: int = 512
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return (chunks, shards) of an image t c z y x: one plane a shard, up to `largest` pixels an edge.

    Edges are powers of two, so that a shard halves into a whole shard of every level of the pyramid.
    """
    edges = [min(largest, max(32, 1 << (size - 1).bit_length())) for size in shape[-2:]]
    leading = (1,) * (len(shape) - 2)
    return leading + tuple(min(chunk, edge) for edge in edges), leading + tuple(edges)
