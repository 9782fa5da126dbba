"""The DSB2018 pictures of nuclei, which of them show one field of view, and those that are held out.

Many pictures are tiles of one field. Where two tiles meet, the last column (or row) of one looks like the
first of the other; so pictures are joined whose borders do. A held-out field is held out with all its tiles.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from tests.support import DATA

PICTURES = DATA / "dsb2018" / "train.npz"
HELD_OUT_SHARE = 0.15
SEED = 2018
_ALIKE = 0.95  # correlation of two borders that meet
_LEAST_SPREAD = 2.0  # grey levels; a border of background alone looks like any other
_LEVELS_APART = 0.15

Border = Callable[[NDArray[np.uint8]], NDArray[np.uint8]]
_MEETING: tuple[tuple[Border, Border], ...] = (
    (lambda yx: yx[:, -1], lambda yx: yx[:, 0]),
    (lambda yx: yx[-1], lambda yx: yx[0]),
)


@dataclass(frozen=True)
class Picture:
    """A picture and its nuclei, drawn by hand."""

    name: str
    yx: NDArray[np.uint8]
    labels_yx: NDArray[np.uint16]

    @property
    def diameter_px(self) -> float:
        """Median diameter of the discs of the nuclei's areas; 0 where there is none."""
        areas = np.bincount(self.labels_yx.ravel())[1:]
        return float(np.median(np.sqrt(areas[areas > 0] * 4 / np.pi))) if areas.any() else 0.0


@cache
def pictures() -> tuple[Picture, ...]:
    """All pictures, in the order of their names.

    Raises
    ------
    FileNotFoundError
        The data set is not on this machine.
    """
    with np.load(PICTURES, allow_pickle=False) as content:
        names = sorted(name[4:] for name in content.files if name.startswith("img_"))
        return tuple(Picture(name, content[f"img_{name}"], content[f"lab_{name}"]) for name in names)


@cache
def fields() -> NDArray[np.int64]:
    """Return the number of each picture's field of view, shape (n,), from 0."""
    parent = list(range(len(pictures())))

    def root(one: int) -> int:
        while parent[one] != one:
            one = parent[one]
        return one

    for one, other in _meetings():
        parent[root(one)] = root(other)
    return np.unique([root(one) for one in range(len(parent))], return_inverse=True)[1].astype(np.int64)


@cache
def held_out() -> NDArray[np.bool_]:
    """Which pictures no network learns from: whole fields, about a seventh of the pictures of a size."""
    rng = np.random.default_rng(SEED)
    held = np.zeros(len(pictures()), bool)
    for indices in _by_shape():
        wanted = HELD_OUT_SHARE * indices.size
        for field in rng.permutation(np.unique(fields()[indices])):
            members = indices[fields()[indices] == field]
            if held[indices].sum() + members.size <= wanted + 0.5:
                held[members] = True
    return held


def _by_shape() -> list[NDArray[np.int64]]:
    shapes = [one.yx.shape for one in pictures()]
    return [np.flatnonzero([other == shape for other in shapes]) for shape in sorted(set(shapes))]


def _meetings() -> Iterator[tuple[int, int]]:
    for indices in _by_shape():
        for last, first in _MEETING:
            ends = np.stack([last(pictures()[k].yx) for k in indices]).astype(np.float64)
            starts = np.stack([first(pictures()[k].yx) for k in indices]).astype(np.float64)
            alike = _standard(ends) @ _standard(starts).T / ends.shape[1]
            apart = np.abs(ends.mean(1)[:, None] - starts.mean(1)[None])
            alike[apart > 1 + _LEVELS_APART * ends.mean(1)[:, None]] = 0
            np.fill_diagonal(alike, 0)
            for i, j in zip(*np.nonzero(alike > _ALIKE), strict=True):
                yield int(indices[i]), int(indices[j])


def _standard(lines: NDArray[np.float64]) -> NDArray[np.float64]:
    spread = lines.std(axis=1, keepdims=True)
    centred = lines - lines.mean(axis=1, keepdims=True)
    return np.where(spread >= _LEAST_SPREAD, centred / np.maximum(spread, 1e-9), 0.0)
