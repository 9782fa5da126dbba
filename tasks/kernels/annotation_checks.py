"""Whether masks that people drew can be learned from: one number a cell, one piece a number."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

_TOUCHING = np.ones((3, 3), bool)  # pixels that share a corner hang together
SPECK_SHARE = 0.05
SPECK_PX = 10
_FEW = 3


@dataclass(frozen=True)
class Checked:
    """Masks that were found fit to learn from.

    Attributes
    ----------
    labels_yx
        uint32, 0 background, 1 to n in the order of their first pixels.
    specks
        How many stray pixels or crumbs were left out.
    parted
        How many pieces became cells of their own.
    """

    labels_yx: NDArray[np.uint32]
    specks: int
    parted: int


def check_masks(masks_yx: NDArray[np.generic], shape_yx: tuple[int, ...], *, part: bool = False) -> Checked:
    """Return masks as dense labels, or say what is wrong with them.

    Crumbs of a mask are left out: pieces beside its largest one of fewer than 10 px, or of less than 5 % of
    it, such as a brush leaves.

    Parameters
    ----------
    masks_yx
        0 background, a number for each cell; integers, or floats that hold such.
    shape_yx
        Shape of the picture.
    part
        Make each piece of a mask a cell of its own, instead of refusing masks in several pieces.

    Raises
    ------
    ValueError
        Another shape or type, a negative number, or a mask in several pieces.
    """
    if masks_yx.shape != tuple(shape_yx):
        raise ValueError(
            f"expected masks of the picture's shape {tuple(shape_yx)}, found {masks_yx.shape}; "
            "save them uncropped and at full size"
        )
    ids, dense = np.unique(_whole_numbers(masks_yx), return_inverse=True)
    dense = dense.reshape(masks_yx.shape) + int(0 not in ids)
    ids = ids[ids != 0]
    pieces, owner, area = _pieces(dense, len(ids))
    largest = np.zeros(len(ids) + 1, np.int64)
    np.maximum.at(largest, owner, area)
    is_largest = _first_of_largest(owner, area, largest)
    speck = ~is_largest & ((area < SPECK_PX) | (area < SPECK_SHARE * largest[owner]))
    extra = ~is_largest & ~speck
    if extra.any() and not part:
        raise ValueError(_in_pieces(ids, owner[extra], masks_yx.dtype))
    keep = np.concatenate([[False], ~speck])
    return Checked(_dense(np.where(keep[pieces], pieces, 0)), int(speck.sum()), int(extra.sum()))


def _whole_numbers(masks_yx: NDArray[Any]) -> NDArray[Any]:
    if masks_yx.dtype.kind == "f":
        if not np.isfinite(masks_yx).all() or (masks_yx != np.round(masks_yx)).any():
            raise ValueError(
                "expected a whole number for each cell, found fractions; do not scale or smooth masks, save "
                "them as 16-bit or 32-bit integers"
            )
        masks_yx = masks_yx.astype(np.int64)
    if masks_yx.dtype.kind not in "biu":
        raise ValueError(f"expected masks of integers, found {masks_yx.dtype}; save them as 16-bit integers")
    if masks_yx.dtype.kind == "i" and masks_yx.min() < 0:
        raise ValueError(f"expected numbers from 0, found {masks_yx.min()}; set the background to 0")
    return masks_yx


def _pieces(
    dense: NDArray[np.integer], count: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Number the connected pieces of all masks; return their image, and owner and area of each piece."""
    pieces = np.zeros(dense.shape, np.int64)
    owner: list[int] = []
    for number, box in enumerate(ndimage.find_objects(dense, max_label=count), start=1):
        own, found = ndimage.label(dense[box] == number, structure=_TOUCHING)
        view = pieces[box]
        view[own > 0] = own[own > 0] + len(owner)
        owner += [number] * found
    area = np.bincount(pieces.ravel(), minlength=len(owner) + 1)[1:]
    return pieces, np.asarray(owner, np.int64), area


def _first_of_largest(
    owner: NDArray[np.int64], area: NDArray[np.int64], largest: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Mark one largest piece of each mask."""
    marked = np.zeros(owner.size, bool)
    candidates = np.flatnonzero(area == largest[owner])
    _, first = np.unique(owner[candidates], return_index=True)
    marked[candidates[first]] = True
    return marked


def _in_pieces(ids: NDArray[np.generic], owner: NDArray[np.int64], dtype: np.dtype[np.generic]) -> str:
    if len(ids) == 1:
        return (
            f"expected a number of its own for each cell, found {dtype} masks with one number, {ids[0]}, for "
            f"{owner.size + 1} pieces; give each cell a number, or import with --part"
        )
    found, more = np.unique(owner, return_counts=True)
    named = ", ".join(f"{ids[one - 1]} in {n + 1} pieces" for one, n in zip(found[:_FEW], more, strict=False))
    others = f" and {found.size - _FEW} more" if found.size > _FEW else ""
    return (
        f"expected each cell in one piece, found {named}{others}: a cell drawn over another, or two with one "
        "number; mend them, or import with --part, which makes each piece a cell"
    )


def _dense(pieces: NDArray[np.int64]) -> NDArray[np.uint32]:
    """Number 1 to n in the order of first pixels."""
    ids, first, inverse = np.unique(pieces, return_index=True, return_inverse=True)
    order = np.argsort(np.where(ids == 0, -1, first), kind="stable")
    number = np.empty(ids.size, np.uint32)
    number[order] = np.arange(ids.size, dtype=np.uint32) + np.uint32(0 not in ids)
    return number[inverse].reshape(pieces.shape)
