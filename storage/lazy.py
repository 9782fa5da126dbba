"""Arrays of a store that are read when someone looks at them."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from storage.arrays import ZarrArray
from storage.regions import Region


@dataclass(frozen=True)
class LazyArray:
    """An array as viewers want one: a shape, a type, and `array[index]`, which reads that part alone.

    Attributes
    ----------
    fixed
        One axis that is left out, and the index it is fixed at; such as the channel.
    """

    array: ZarrArray
    fixed: tuple[int, int] | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """The lengths of the axes that are left."""
        lengths = list(self.array.shape)
        if self.fixed is not None:
            del lengths[self.fixed[0]]
        return tuple(lengths)

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return len(self.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        """The values' type."""
        return np.dtype(self.array.spec.dtype)

    def __getitem__(self, index: Any) -> NDArray[Any]:
        """Return a part as NumPy would; only what lies between the least and the greatest index is read."""
        whole = list(np.index_exp[index])
        if Ellipsis in whole:
            place = whole.index(Ellipsis)
            whole[place : place + 1] = [slice(None)] * (self.ndim - len(whole) + 1)
        whole += [slice(None)] * (self.ndim - len(whole))
        boxes = [_box(one, length) for one, length in zip(whole, self.shape, strict=True)]
        if self.fixed is not None:
            axis, number = self.fixed
            boxes.insert(axis, (number, number + 1, 0))
        start, stop, inside = zip(*boxes, strict=True)
        found: NDArray[Any] = self.array.read(Region(start, stop))[inside]
        return found

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        """Return all of it."""
        return np.asarray(self[...], dtype=dtype)


def _box(one: Any, length: int) -> tuple[int, int, Any]:
    """Return start and stop of what is read of an axis, and what is taken of that."""
    if isinstance(one, slice):
        chosen = range(length)[one]
        if len(chosen) == 0:
            return 0, 1, slice(0, 0)
        return min(chosen), max(chosen) + 1, slice(None, None, chosen.step)
    number = range(length)[int(one)]
    return number, number + 1, 0
