"""The quality numbers of an image's frames, before and after preprocessing, as plain numbers for records."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import reduce
from operator import add
from typing import Any

import numpy as np
from numpy.typing import NDArray

from storage.regions import Region
from tasks.kernels.contrast import unit_range
from tasks.kernels.quality import Flag, Quality, flag_frames, is_full_scale, quality_numbers
from tasks.kernels.quality_sums import FrameSums, SimilaritySums, Slopes, frame_sums, similarity_sums

Core = tuple[slice, slice]


def numbers_of_whole(
    values: NDArray[Any], clean: NDArray[np.float32], span: tuple[float, float]
) -> dict[str, Any]:
    """Return the quality numbers of one frame.

    Parameters
    ----------
    values
        The raw frame once turned, axes y x.
    clean
        The clean frame, same shape.
    span
        Range of the values.
    """
    whole = slice(0, clean.shape[0]), slice(0, clean.shape[1])
    return _numbers(*_sums(values, clean, span, whole), span[1])


def sums_of_part(
    values: NDArray[Any], clean: NDArray[np.float32], span: tuple[float, float], core: Core
) -> dict[str, Any]:
    """Return what the quality numbers of a frame are made of, for a part of it.

    Parameters
    ----------
    values, clean
        The part with a halo of `quality_sums.HALO_PX`, as of `numbers_of_whole`.
    span
        Range of the whole frame's values.
    core
        The part within its halo.
    """
    raw, made, alike = _sums(values, clean, span, core)
    return {"raw": _plain(raw), "clean": _plain(made), "alike": asdict(alike), "high": span[1]}


def summary(units: Sequence[Region], results: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the quality of every frame, and the frames that are out of range.

    Parameters
    ----------
    units
        The shards of the clean image, t c z y x.
    results
        What the unit of each gave, of `numbers_of_whole` or `sums_of_part`.

    Returns
    -------
    `quality`: for each plane t, z, the numbers `raw` and `clean`; `flagged`: why a frame is out of range.
    """
    groups: dict[tuple[int, int], list[dict[str, Any]]] = {}
    for unit, result in zip(units, results, strict=True):
        groups.setdefault((unit.start[0], unit.start[2]), []).append(result)
    rows = [{"t": t, "z": z} | _quality(parts) for (t, z), parts in groups.items()]
    return {"quality": rows, "flagged": [one for z in _depths(rows) for one in _flagged(rows, z)]}


def _depths(rows: Sequence[dict[str, Any]]) -> list[int]:
    return sorted({row["z"] for row in rows})


def _quality(results: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the numbers of one frame from what its units gave."""
    if "alike" not in results[0]:
        return results[0]
    raw, clean, alike = (
        reduce(add, [_sums_again(one[name]) for one in results]) for name in ("raw", "clean", "alike")
    )
    return _numbers(raw, clean, alike, results[0]["high"])


def _flagged(rows: Sequence[dict[str, Any]], z: int) -> list[dict[str, Any]]:
    """Judge the planes of one depth among themselves, in the order of time."""
    chosen = [row for row in rows if row["z"] == z]
    found: list[tuple[Flag, ...]] = flag_frames([Quality(**row["raw"]) for row in chosen])
    return [
        {"t": row["t"], "z": z, "reason": flag.reason, "why": flag.sentence}
        for row, flags in zip(chosen, found, strict=True)
        for flag in flags
    ]


def _sums(
    values: NDArray[Any], clean: NDArray[np.float32], span: tuple[float, float], core: Core
) -> tuple[FrameSums, FrameSums, SimilaritySums]:
    reference = unit_range(values, *span)
    raw = frame_sums(reference, low=0, high=1, zero_is_outside=False, core=core)
    made = frame_sums(clean, low=0, high=1, zero_is_outside=True, core=core)
    return raw, made, similarity_sums(clean, reference, core=core)


def _numbers(raw: FrameSums, clean: FrameSums, alike: SimilaritySums, high: float) -> dict[str, Any]:
    before = quality_numbers(raw, top_is_saturated=is_full_scale(high))
    after = quality_numbers(clean, alike)
    return {"raw": _rounded(before), "clean": _rounded(after)}


def _rounded(numbers: Quality) -> dict[str, float | None]:
    """Round to significant digits: a record is read by people."""
    return {name: None if value is None else float(f"{value:.5g}") for name, value in asdict(numbers).items()}


def _plain(sums: FrameSums) -> dict[str, Any]:
    return asdict(sums) | {
        "histogram": sums.histogram.tolist(),
        "halved_histogram": sums.halved_histogram.tolist(),
    }


def _sums_again(plain: Mapping[str, Any]) -> Any:
    if "histogram" not in plain:
        return SimilaritySums(**plain)
    return FrameSums(
        histogram=np.asarray(plain["histogram"], np.int64),
        halved_histogram=np.asarray(plain["halved_histogram"], np.int64),
        at_top=plain["at_top"],
        slopes=Slopes(**plain["slopes"]),
        halved_slopes=Slopes(**plain["halved_slopes"]),
    )
