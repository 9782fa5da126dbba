"""From the numbers that tiles gave their objects to those of the labels: merged, chosen, without a gap."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from tasks.kernels.stacking import stack_numbers
from tasks.kernels.stitching import merge_ids
from tasks.tiles import LabelTask, Tile

Ids = NDArray[np.uint64]


@dataclass(frozen=True)
class Found:
    """What a tile holds of its objects: number, area in its core, misfit, whether the frame cuts it."""

    ids: Ids
    areas_px: NDArray[np.int64]
    misfits: NDArray[np.float64]
    cut: NDArray[np.bool_]

    @classmethod
    def of(cls, rows: Sequence[Sequence[float]]) -> "Found":
        """Turn what the tile's unit gave into arrays."""
        ids, areas, misfits, cut = rows
        return cls(
            np.asarray(ids, np.uint64),
            np.asarray(areas, np.int64),
            np.asarray(misfits, np.float64),
            np.asarray(cut, bool),
        )


@dataclass(frozen=True)
class Numbered:
    """The unit of writing labels: a tile, and what its provisional numbers become; 0 drops one.

    Attributes
    ----------
    labels, areas_px, misfits
        Of all objects of the plane, the same in all its tiles.
    """

    tile: Tile
    ids: Ids
    final: NDArray[np.uint32]
    labels: NDArray[np.uint32]
    areas_px: NDArray[np.int64]
    misfits: NDArray[np.float64]

    @property
    def name(self) -> str:
        """A name that is unique in the step."""
        return self.tile.name


@dataclass(frozen=True)
class Overlap:
    """The unit of comparing planes: a tile and the one above it."""

    below: Numbered
    above: Numbered

    @property
    def name(self) -> str:
        """A name that is unique in the step."""
        return self.below.name


def numbered(
    tiles: Sequence[Tile], found: Sequence[Found], pairs: Mapping[str, Ids], work: LabelTask
) -> list[Numbered]:
    """Merge the numbers of each plane, drop objects that are not wanted, and number the others from 1.

    Parameters
    ----------
    pairs
        By the tile's name: numbers that mean one object, shape (n, 2).
    """
    by_plane: dict[tuple[int, int], list[int]] = {}
    for k, tile in enumerate(tiles):
        by_plane.setdefault(tile.plane, []).append(k)
    units: list[Numbered] = []
    for members in by_plane.values():
        units += _plane([tiles[k] for k in members], [found[k] for k in members], pairs, work)
    return units


def _plane(
    tiles: Sequence[Tile], found: Sequence[Found], pairs: Mapping[str, Ids], work: LabelTask
) -> list[Numbered]:
    none = np.zeros((0, 2), np.uint64)
    ids = np.concatenate([one.ids for one in found])
    every, place = np.unique(ids, return_inverse=True)
    joined = np.concatenate([pairs.get(tile.name, none).reshape(-1, 2) for tile in tiles])
    merged = merge_ids(joined, every)
    count = int(merged.max(initial=0)) + 1
    areas = np.bincount(merged[place], np.concatenate([one.areas_px for one in found]), count)
    cut = np.bincount(merged[place], np.concatenate([one.cut for one in found]), count) > 0
    misfits = np.zeros(count)
    np.maximum.at(misfits, merged[place], np.concatenate([one.misfits for one in found]))
    low, high = _limits_px(work)
    kept = (areas >= low) & (areas <= high) & ~cut
    kept[0] = False
    final = (np.cumsum(kept) * kept).astype(np.uint32)[merged]
    of_plane = (
        np.arange(1, np.count_nonzero(kept) + 1, dtype=np.uint32),
        areas[kept].astype(np.int64),
        misfits[kept],
    )
    return [
        Numbered(tile, one.ids, final[np.searchsorted(every, one.ids)], *of_plane)
        for tile, one in zip(tiles, found, strict=True)
    ]


def _limits_px(work: LabelTask) -> tuple[float, float]:
    """Return the least and the largest area, px; what a segmenter drops by itself is gone already."""
    size_um = work.clean_image().metadata.pixel_size_um[1] or 1.0
    low, high = work.settings.min_area_um2, work.settings.max_area_um2
    return (low or 0) / size_um**2, (np.inf if high is None else high) / size_um**2


def overlap_units(units: Sequence[Numbered]) -> list[Overlap]:
    """Return each tile with the one of the next z plane."""
    by_place = {(*one.tile.plane, *one.tile.place): one for one in units}
    above = [by_place.get((one.tile.plane[0], one.tile.plane[1] + 1, *one.tile.place)) for one in units]
    return [Overlap(one, other) for one, other in zip(units, above, strict=True) if other is not None]


def stacked(
    units: Sequence[Numbered],
    compared: Sequence[Overlap],
    overlaps: Sequence[NDArray[np.int64]],
    min_iou: float,
) -> list[Numbered]:
    """Give nuclei that lie over each other in z one number."""
    numbers: dict[tuple[int, int], NDArray[np.uint32]] = {}
    for t in sorted({one.tile.plane[0] for one in units}):
        areas = {one.tile.plane[1]: one.areas_px for one in units if one.tile.plane[0] == t}
        common: dict[int, list[NDArray[np.int64]]] = {z: [np.zeros((0, 3), np.int64)] for z in areas}
        for unit, rows in zip(compared, overlaps, strict=True):
            if unit.below.tile.plane[0] == t:
                common[unit.below.tile.plane[1]].append(rows.reshape(-1, 3))
        depths = sorted(areas)
        joined = [np.concatenate(common[z]) for z in depths[:-1]]
        made = stack_numbers([areas[z] for z in depths], joined, min_iou=min_iou)
        numbers |= {(t, z): own for z, own in zip(depths, made, strict=True)}
    return [
        replace(one, final=np.concatenate([[0], own]).astype(np.uint32)[one.final], labels=own)
        for one in units
        for own in [numbers[one.tile.plane]]
    ]
