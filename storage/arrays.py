"""Chunked, sharded arrays on disk. This is the only module that knows zarr."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.abc.store import Store
from zarr.codecs import BloscCodec
from zarr.core.buffer import Buffer, default_buffer_prototype
from zarr.core.group import GroupMetadata
from zarr.storage import ObjectStore, WrapperStore

from storage.errors import DamagedStoreError, InputError, MissingInputError, StoreError
from storage.objects import Objects
from storage.regions import Region, check_aligned

Digests = dict[str, tuple[int, str]]


def digest(content: bytes) -> tuple[int, str]:
    """Return the size in bytes and the SHA-256 of an object."""
    return len(content), hashlib.sha256(content).hexdigest()


class DigestingStore(WrapperStore[Store]):
    """A zarr store that notes the size and SHA-256 of every object written through it.

    So an artifact's digest is known without reading its bytes back.
    """

    def __init__(self, store: Store, written: Digests, folder: str) -> None:
        super().__init__(store)
        self.written = written
        self.folder = folder

    def _with_store(self, store: Store) -> "DigestingStore":
        """Zarr calls this when it needs the same store with another mode: the notes stay shared."""
        return DigestingStore(store, self.written, self.folder)

    async def set(self, key: str, value: Buffer) -> None:
        """Write one object and note its digest."""
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
    except OSError as error:
        raise StoreError(f"could not {verb} the array {path}: {error.strerror or error}") from error
    except RuntimeError as error:  # a codec that meets bytes it did not write
        raise DamagedStoreError(f"could not {verb} the array {path}: {error}; run the stage again") from error


def _zarr_store(objects: Objects, folder: str, written: Digests) -> DigestingStore:
    """Return a zarr store rooted at `folder`; from a higher root zarr would write groups on the way."""
    return DigestingStore(ObjectStore(objects.below(folder)), written, folder)


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
    array = zarr.open_array(_zarr_store(objects, path, notes), mode="r+", zarr_format=3)
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
    group = zarr.open_group(_zarr_store(objects, path, {}), mode="r", zarr_format=3)
    return dict(group.attrs)


def open_group(objects: Objects, path: str, written: Digests, *, mode: Literal["r", "w"]) -> Any:
    """Return a zarr group for libraries that write into one themselves (AnnData)."""
    return zarr.open_group(_zarr_store(objects, path, written), mode=mode, zarr_format=3)


def power_of_two_shards(
    shape: Sequence[int], *, largest: int = 4096, chunk: int = 512
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return (chunks, shards) of an image t c z y x: one plane a shard, up to `largest` pixels an edge.

    Edges are powers of two, so that a shard halves into a whole shard of every level of the pyramid.
    """
    edges = [min(largest, max(32, 1 << (size - 1).bit_length())) for size in shape[-2:]]
    leading = (1,) * (len(shape) - 2)
    return leading + tuple(min(chunk, edge) for edge in edges), leading + tuple(edges)
