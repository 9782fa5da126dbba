"""How a segmentation went: numbers of each frame, frames that are odd among the others, a picture."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from storage import images, layout
from storage.images import OmeImage
from storage.objects import Objects
from storage.regions import Region
from tasks.kernels.pictures import labels_over_image

AREA_PERCENTILES = (5, 50, 95)
LONGEST_PX = 1280  # of the picture
LEAST_FRAMES = 3  # that can say what is usual
FAR_SPREADS = 5.0  # of the counts, as robust standard deviations
FAR_SHARE = 0.3  # of the usual count: nuclei divide, die and move in and out
_SPREAD_OF_MAD = 1.4826  # a normal distribution's standard deviation in median absolute deviations

Columns = Mapping[str, NDArray[Any]]


def odd_frames(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return which of the planes that `plane_numbers` told of have an odd count of cells for their depth."""
    depths = sorted({row["z"] for row in rows})
    return [one for z in depths for one in _odd([row for row in rows if row["z"] == z])]


def plane_numbers(columns: Columns, t: int, z: int) -> dict[str, Any]:
    """Return the quality of a plane as plain numbers, from the columns of its and perhaps other cells."""
    here = (columns["t"] == t) & (columns["z"] == z)
    areas = columns["area_px"][here]
    numbers: dict[str, Any] = {"t": t, "z": z, "cells": int(here.sum())}
    for percent in AREA_PERCENTILES:
        numbers[f"area_p{percent}_px"] = float(np.percentile(areas, percent)) if areas.size else None
    for name, column in (("edge_share", "touches_edge"), ("mean_flow_error", "flow_error")):
        values = columns[column][here].astype(np.float64)
        known = values[np.isfinite(values)]
        numbers[name] = round(float(known.mean()), 4) if known.size else None
    return numbers


def _odd(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Judge the frames of one depth among themselves."""
    counts = np.array([row["cells"] for row in rows])
    if counts.size < LEAST_FRAMES:
        return []
    usual = float(np.median(counts))
    spread = _SPREAD_OF_MAD * float(np.median(np.abs(counts - usual)))
    far = max(FAR_SPREADS * spread, FAR_SHARE * usual, 1.0)
    return [
        {"t": row["t"], "z": row["z"], "reason": "count", "why": f"{row['cells']} cells, usual are {usual:g}"}
        for row in rows
        if abs(row["cells"] - usual) > far
    ]


def picture_of(objects: Objects, clean_key: str, labels_key: str) -> bytes:
    """Return a PNG of the first frame's middle plane with the outlines of its cells."""
    clean = images.open_image(objects, layout.image_path("clean", clean_key))
    labels = images.open_image(objects, layout.labels_path(clean_key, labels_key))
    level = next(
        (n for n, one in enumerate(clean.levels) if max(one.shape[-2:]) <= LONGEST_PX), len(clean.levels) - 1
    )
    return labels_over_image(_plane(clean, level), _plane(labels, level))


def _plane(image: OmeImage, level: int) -> NDArray[Any]:
    shape = image.levels[level].shape
    place = [0] * (len(shape) - 2)
    place[-1] = shape[-3] // 2
    region = Region((*place, 0, 0), (*(one + 1 for one in place), *shape[-2:]))
    plane: NDArray[Any] = image.read(region, level).reshape(shape[-2:])
    return plane
