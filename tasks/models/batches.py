"""Seeded batches of patches, read from anything that is indexed like an array."""

from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

Float32Array = npt.NDArray[np.float32]
Rows = npt.NDArray[np.int64]


class PatchSource(Protocol):
    """Patches (n, c, y, x), float32 in [0, 1]: an array, a memory map, or whatever has these two."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(n, c, y, x)."""
        ...

    def __getitem__(self, rows: Any, /) -> Any:
        """Patches at a slice of rows, or at an ascending integer array of rows."""
        ...


def read_patches(source: PatchSource, rows: slice | Rows) -> Float32Array:
    """Float32 patches (rows, c, y, x), checked to lie in [0, 1].

    Raises
    ------
    ValueError
        A value is outside [0, 1], or is not a number.
    """
    ncyx = np.ascontiguousarray(source[rows], dtype=np.float32)
    if ncyx.size and not (ncyx.min() >= 0.0 and ncyx.max() <= 1.0):
        raise ValueError(
            f"expected patches with values in [0, 1], found {ncyx.min()} to {ncyx.max()}: "
            "normalise the clean image before extracting patches"
        )
    return ncyx


def epoch_rng(seed: int, epoch: int) -> np.random.Generator:
    """Random numbers of one epoch; they depend on (seed, epoch) alone, so a resumed epoch draws the same."""
    return np.random.default_rng([seed, epoch])


def shuffled_rows(
    n_patches: int, batch_size: int, rng: np.random.Generator
) -> Iterator[npt.NDArray[np.int64]]:
    """Every row once, in batches; rows ascend inside a batch, so that a chunked store is read forwards."""
    order = rng.permutation(n_patches)
    for start in range(0, n_patches, batch_size):
        yield np.sort(order[start : start + batch_size])


def ordered_rows(n_patches: int, batch_size: int) -> Iterator[slice]:
    """Every row once, in order, in batches."""
    for start in range(0, n_patches, batch_size):
        yield slice(start, min(start + batch_size, n_patches))


def random_flips(ncyx: Float32Array, rng: np.random.Generator) -> Float32Array:
    """Flip each patch up-down and left-right, each with chance 1/2; both together turn it by 180 degrees.

    These four are the symmetries of a chip with vertical grooves: a turn by 90 degrees would lay the grooves
    across.
    """
    up_down, left_right = rng.random((2, len(ncyx), 1, 1, 1)) < 0.5
    turned = np.where(up_down, ncyx[:, :, ::-1, :], ncyx)
    return np.where(left_right, turned[:, :, :, ::-1], turned)
