"""The bytes of a shard, in zarr's sharding format.

Zarr's own writer gives the same bytes. It takes half as long again as the compression, for its tasks, copies
and threads, and the threads of several workers get in each other's way.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from typing import Any

import google_crc32c
import numpy as np
from numcodecs.blosc import Blosc  # type: ignore[import-untyped]
from numpy.typing import NDArray

NOWHERE = 2**64 - 1  # offset and length, in the index, of a chunk that is not there
CODECS = ["sharding_indexed", "bytes", "blosc", "bytes", "crc32c"]  # the last two are the index's
SHUFFLES = {"noshuffle": Blosc.NOSHUFFLE, "shuffle": Blosc.SHUFFLE, "bitshuffle": Blosc.BITSHUFFLE}


@dataclass(frozen=True)
class ShardFormat:
    """How the values of one shard become bytes: compressed chunks, then the index of where each lies.

    The format is that of zarr's `sharding_indexed` codec (ZEP 2), the index at the end with its CRC-32C.

    Attributes
    ----------
    dtype
        As stored, little-endian.
    shape, chunks
        Of the shard and of each chunk in it, the former a multiple of the latter.
    """

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    chunks: tuple[int, ...]
    compressor: Blosc

    def encode(self, values: NDArray[Any]) -> bytes:
        """Return the bytes of a shard.

        Parameters
        ----------
        values
            The shard's values, less than its shape at the end of an array. A chunk that lies partly beyond
            is filled up with zeros; one that lies wholly beyond is left out.
        """
        counts = tuple(edge // chunk for edge, chunk in zip(self.shape, self.chunks, strict=True))
        index = np.full((*counts, 2), NOWHERE, dtype="<u8")
        parts: list[bytes] = []
        offset = 0
        for place in _in_order(counts):
            block = values[tuple(slice(n * c, (n + 1) * c) for n, c in zip(place, self.chunks, strict=True))]
            if block.size:
                parts.append(self.compressor.encode(self._filled(block).reshape(-1).view(np.uint8)))
                index[place] = offset, len(parts[-1])
                offset += len(parts[-1])
        table = index.tobytes()
        return b"".join([*parts, table, google_crc32c.value(table).to_bytes(4, "little")])

    def _filled(self, block: NDArray[Any]) -> NDArray[Any]:
        if block.shape == self.chunks:
            return np.ascontiguousarray(block, dtype=self.dtype)
        whole = np.zeros(self.chunks, dtype=self.dtype)
        whole[tuple(slice(0, edge) for edge in block.shape)] = block
        return whole


def shard_format(dtype: str, shape: Sequence[int], codecs: Sequence[Mapping[str, Any]]) -> ShardFormat:
    """Return the format that an array's metadata asks for.

    Parameters
    ----------
    shape
        Of a shard.
    codecs
        The array's `codecs`, as its zarr.json has them.

    Raises
    ------
    ValueError
        They are not one sharding codec around Blosc, which is all that chipcyte writes.
    """
    names = [codec["name"] for codec in codecs]
    inside = codecs[0].get("configuration", {})
    inner, index = ([codec["name"] for codec in inside.get(key, ())] for key in ("codecs", "index_codecs"))
    at_end = inside.get("index_location", "end") == "end"
    if names + inner + index != CODECS or not at_end:
        raise ValueError(
            f"expected the codecs {CODECS} with the index at the end, found {names + inner + index}; "
            "it is no array of chipcyte's"
        )
    blosc = inside["codecs"][1]["configuration"]
    return ShardFormat(
        dtype=np.dtype(dtype).newbyteorder("<"),
        shape=tuple(shape),
        chunks=tuple(inside["chunk_shape"]),
        compressor=Blosc(
            cname=blosc["cname"],
            clevel=blosc["clevel"],
            shuffle=SHUFFLES[blosc["shuffle"]],
            blocksize=blosc["blocksize"],
            typesize=blosc["typesize"],
        ),
    )


@lru_cache(maxsize=256)
def _in_order(counts: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Return the places of a grid along the Morton curve, on which neighbours in space are near in a file."""
    return sorted(product(*map(range, counts)), key=lambda place: _morton(place, counts))


def _morton(place: tuple[int, ...], counts: tuple[int, ...]) -> int:
    """Interleave the bits of the numbers, the last axis highest, each as many bits as its count needs."""
    bits = [(count - 1).bit_length() for count in counts]
    code = digit = 0
    for bit in range(max(bits)):
        for axis in range(len(counts)):
            if bit < bits[axis]:
                code |= (place[axis] >> bit & 1) << digit
                digit += 1
    return code
