"""Seeded batches of patches, read ahead some shards at a time from anything indexed like an array."""

import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

Float32Array = npt.NDArray[np.float32]
Rows = npt.NDArray[np.int64]
POOL_PATCHES = 16384
"""Patches that are read, shuffled and dealt out together; two pools lie in memory at most."""


class PatchSource(Protocol):
    """Patches (n, c, y, x): an array, a memory map, or whatever has these two.

    Numbers are floats in [0, 1], or unsigned integers whose largest value stands for 1. A source that lies in
    shards says so in an attribute `shard_edges`: the rows at which shards begin, and n.
    """

    @property
    def shape(self) -> tuple[int, ...]:
        """(n, c, y, x)."""
        ...

    def __getitem__(self, rows: Any, /) -> Any:
        """Patches at a slice of rows, or at an ascending integer array of rows."""
        ...


@dataclass(frozen=True)
class PatchSet:
    """Rows of a source, and the condition of each."""

    source: PatchSource
    rows: Rows | None = None
    """Ascending rows that belong to the set; None for all."""
    codes: Rows | None = None
    """Condition of each row of the source, from 0; -1 where unknown; None where none matters."""

    def __len__(self) -> int:
        return self.source.shape[0] if self.rows is None else len(self.rows)

    @property
    def shape_cyx(self) -> tuple[int, ...]:
        """Shape of one patch."""
        return tuple(self.source.shape[1:])

    def shards(self) -> list[Rows]:
        """The set's rows, shard by shard; a shard that holds none is left out."""
        edges = np.asarray(getattr(self.source, "shard_edges", (0, self.source.shape[0])))
        rows = np.arange(self.source.shape[0]) if self.rows is None else self.rows
        parts = np.split(rows, np.searchsorted(rows, edges[1:-1]))
        return [part for part in parts if len(part)]


def as_set(patches: PatchSource | PatchSet) -> PatchSet:
    """A set of all rows of a source; a set is returned as it is."""
    return patches if isinstance(patches, PatchSet) else PatchSet(patches)


@dataclass(frozen=True)
class Batch:
    """Patches that are learned from together."""

    ncyx: Float32Array
    codes: Rows | None


class Loader:
    """Deals out the batches of one epoch after another, and reads the next shards meanwhile.

    Shards come in random order. So many as hold `pool_patches` are read one after the other, each once and by
    one thread (so any source will do), and their rows are shuffled together. The order depends on the
    generator alone, not on the speed of reading.

    Parameters
    ----------
    patches
        What to deal out.
    batch_size
        Patches in a batch; the last of a pool may be smaller.
    pool_patches
        Patches shuffled together: more mix better and need more memory.
    """

    def __init__(self, patches: PatchSet, batch_size: int, pool_patches: int = POOL_PATCHES) -> None:
        self.patches, self.batch_size, self.pool_patches = patches, batch_size, pool_patches
        self.waited_s = 0.0
        """Time in which whoever took batches had to wait for reading."""

    def shuffled(self, rng: np.random.Generator) -> Iterator[Batch]:
        """Every row once, in random order."""
        shards = self.patches.shards()
        order = [shards[i] for i in rng.permutation(len(shards))]
        for pool, rows in self._pools(_grouped(order, self.pool_patches)):
            shuffle = rng.permutation(len(rows))
            for start in range(0, len(rows), self.batch_size):
                chosen = np.sort(shuffle[start : start + self.batch_size])  # memory is read forwards
                yield self._batch(pool[chosen], rows[chosen])

    def ordered(self) -> Iterator[Batch]:
        """Every row once, in its order."""
        for pool, rows in self._pools(_grouped(self.patches.shards(), self.pool_patches)):
            for start in range(0, len(rows), self.batch_size):
                part = slice(start, start + self.batch_size)
                yield self._batch(pool[part], rows[part])

    def _batch(self, ncyx: npt.NDArray[Any], rows: Rows) -> Batch:
        codes = self.patches.codes
        return Batch(unit_range(ncyx), None if codes is None else codes[rows])

    def _pools(self, groups: Sequence[Sequence[Rows]]) -> Iterator[tuple[npt.NDArray[Any], Rows]]:
        """Read group after group, each while the one before it is used."""
        with ThreadPoolExecutor(1, thread_name_prefix="patches") as reader:
            coming = deque(reader.submit(self._read, group) for group in groups[:1])
            for i in range(len(groups)):
                pool = self._awaited(coming.popleft())
                coming.extend(reader.submit(self._read, group) for group in groups[i + 1 : i + 2])
                yield pool

    def _awaited(self, coming: "Future[tuple[npt.NDArray[Any], Rows]]") -> tuple[npt.NDArray[Any], Rows]:
        began = time.perf_counter()
        found = coming.result()
        self.waited_s += time.perf_counter() - began
        return found

    def _read(self, group: Sequence[Rows]) -> tuple[npt.NDArray[Any], Rows]:
        parts = [np.asarray(self.patches.source[_span(rows)]) for rows in group]
        return (parts[0] if len(parts) == 1 else np.concatenate(parts)), np.concatenate(group)


def unit_range(ncyx: npt.NDArray[Any]) -> Float32Array:
    """Patches as float32 in [0, 1]: unsigned integers divided by their largest value, floats checked.

    Raises
    ------
    ValueError
        A value is outside [0, 1], or is not a number.
    """
    if np.issubdtype(ncyx.dtype, np.unsignedinteger):
        scaled: Float32Array = np.multiply(ncyx, np.float32(1 / np.iinfo(ncyx.dtype).max), dtype=np.float32)
        return scaled
    values = np.ascontiguousarray(ncyx, dtype=np.float32)
    if values.size and not (values.min() >= 0.0 and values.max() <= 1.0):
        raise ValueError(
            f"expected patches with values in [0, 1], found {values.min()} to {values.max()}: "
            "normalise the clean image before extracting patches"
        )
    return values


def epoch_rng(seed: int, epoch: int) -> np.random.Generator:
    """Random numbers of one epoch; they depend on (seed, epoch) alone, so a resumed epoch draws the same."""
    return np.random.default_rng([seed, epoch])


def _grouped(shards: Sequence[Rows], pool_patches: int) -> list[list[Rows]]:
    """Neighbouring shards together, until a group holds `pool_patches` or more."""
    groups: list[list[Rows]] = []
    held = pool_patches
    for rows in shards:
        if held >= pool_patches:
            groups.append([])
            held = 0
        groups[-1].append(rows)
        held += len(rows)
    return groups


def _span(rows: Rows) -> slice | Rows:
    """A slice where the rows follow each other: a view of an array, one read of a store."""
    whole = rows[-1] - rows[0] + 1 == len(rows)
    return slice(int(rows[0]), int(rows[-1]) + 1) if whole else rows
