"""Labels of a file that is in no store."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from storage.errors import InputError
from storage.label_files import check_new, write_labels
from storage.sources.base import Source
from storage.sources.discovery import find_acquisitions, opened
from tasks.channels import choose_channel
from tasks.models.network import ArrayPicture, NetworkSegmenter, as_picture
from tasks.models.segmenter import Segmenter, load_segmenter
from tasks.reading import spread

_LOOKED_AT = 3  # planes in which the diameter is looked for


@dataclass(frozen=True)
class Labelled:
    """What was found in a file."""

    shape_tzyx: tuple[int, int, int, int]
    cells: tuple[int, ...]
    diameter_px: float | None


def label_file(image: Path, out: Path, *, model: str, channel: int | str = 0, **options: Any) -> Labelled:
    """Write the labels of every plane of a file, each plane by itself, into a new TIFF.

    Parameters
    ----------
    image
        A file of any format that can be ingested; it is not changed.
    out
        The new file.
    model, options
        As of `load_segmenter`.
    channel
        Index or name.

    Raises
    ------
    InputError
        The file holds several recordings or cannot be read, `out` is there already, or there is no such
        model.
    """
    check_new(out)
    found = find_acquisitions([str(image)])
    if len(found) != 1:
        raise InputError(f"{image}: expected one recording, found {len(found)}; give one file of them")
    try:
        segmenter = load_segmenter(model, **options)
    except ValueError as error:
        raise InputError(str(error)) from error
    with opened(found[0]) as source:
        index = choose_channel(source.metadata, source.shape[1], channel)
        shape = (source.shape[0], source.shape[2], *source.shape[3:])
        segmenter = _with_diameter(segmenter, source, index)
        cells: list[int] = []
        planes = _labels(segmenter, source, index, cells)
        write_labels(out, planes, shape_tzyx=shape, pixel_size_um=source.metadata.pixel_size_um[1])
    return Labelled(shape, tuple(cells), getattr(segmenter, "diameter_px", None))


def _labels(
    segmenter: Segmenter, source: Source, channel: int, cells: list[int]
) -> Iterator[NDArray[np.uint32]]:
    for t in range(source.shape[0]):
        for z in range(source.shape[2]):
            labels = segmenter.segment(source.read_plane(t, channel, z))
            cells.append(int(labels.max()))
            yield labels


def _with_diameter(segmenter: Segmenter, source: Source, channel: int) -> Segmenter:
    """Take one diameter for the whole recording."""
    if not isinstance(segmenter, NetworkSegmenter):
        return segmenter
    depth = source.shape[2] // 2
    looked_at = [source.read_plane(t, channel, depth) for t in spread(source.shape[0], _LOOKED_AT)]
    pictures: list[ArrayPicture] = [one for one in map(as_picture, looked_at) if one is not None]
    return replace(segmenter, diameter_px=segmenter.diameter_of(pictures))
