"""Charts of what was measured of cells: spread over acquisitions, and drawn on the image itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from tasks.kernels.pictures import raster, style

HIDDEN: Final = 0.45  # share of the grey picture that shows through the colours


def spread_by_acquisition(
    values: npt.NDArray[Any],
    acquisitions: npt.NDArray[np.integer[Any]],
    conditions: npt.NDArray[np.integer[Any]],
    label: str,
    *,
    names: Sequence[str],
    condition_names: Sequence[str],
) -> bytes:
    """Draw the spread of a quantity in each acquisition, a box a row, in the colour of its condition.

    A box spans the quartiles, its line the median, its whiskers the percentiles 5 and 95.

    Parameters
    ----------
    values
        A number for each cell; those that are not finite are left out.
    acquisitions
        Number of each cell's acquisition, as in ``names``.
    conditions
        Number of each cell's condition, as in ``condition_names``; negative is not known.
    label
        What the values are, with their unit.

    Returns
    -------
    bytes
        A PNG.

    Raises
    ------
    ValueError
        Lengths do not fit, or no value is left.
    """
    if not len(values) == len(acquisitions) == len(conditions):
        raise ValueError(
            f"values: expected an acquisition and a condition for each of {len(values)} cells, found "
            f"{len(acquisitions)} and {len(conditions)}; take all from one table"
        )
    kept = np.isfinite(values)
    if not kept.any():
        raise ValueError(f"values: expected a finite number, found none of {len(values)}; measure cells")
    values, acquisitions, conditions = values[kept], acquisitions[kept], conditions[kept]
    present = np.unique(acquisitions)
    figure = style.new_figure(width_in=style.WIDTH_IN, height_in=1.5 + 0.32 * len(present))
    axes = figure.subplots()
    style.tidy(axes, x=label, grid="x")
    for place, code in enumerate(present):
        here = acquisitions == code
        _box(axes, values[here].astype(np.float64), place, _colour(conditions[here][0]))
    axes.set_yticks(
        np.arange(len(present)),
        [f"{style.plain(names[code])} ({(acquisitions == code).sum():,})" for code in present],
    )
    axes.set_ylim(len(present) - 0.4, -0.6)
    for code in np.unique(conditions):
        name = "not known" if code < 0 else style.plain(condition_names[code])
        axes.plot([], [], color=_colour(code), linewidth=6, label=name)
    style.legend_below(figure)
    return style.figure_png(figure)


def _box(axes: Any, values: npt.NDArray[np.float64], place: int, colour: str) -> None:
    low, lower, middle, upper, high = np.percentile(values, [5, 25, 50, 75, 95])
    axes.plot([low, high], [place, place], color=colour, linewidth=1.5)
    axes.barh(place, upper - lower, 0.6, left=lower, color=colour, alpha=0.55)
    axes.plot([middle, middle], [place - 0.3, place + 0.3], color=style.INK, linewidth=2)


def _colour(code: int) -> str:
    return style.colour(int(code), style.CONDITIONS)


def heat_over_image(
    yx: npt.NDArray[Any], labels_yx: npt.NDArray[Any], values: Mapping[int, float], label: str
) -> bytes:
    """Draw cells over the grey picture, each in the colour of a number, with a scale.

    The scale reaches from percentile 2 to 98 of the numbers, so that one giant does not flatten the rest.

    Parameters
    ----------
    yx
        Grey values.
    labels_yx
        Labels of the same shape, 0 for the background.
    values
        Number of each label, such as its area; labels that are missing or not finite stay grey.
    label
        What the numbers are, with their unit.

    Returns
    -------
    bytes
        A PNG.

    Raises
    ------
    ValueError
        An array is not a plane, the shapes differ, or no label has a number.
    """
    raster.plane(yx, "yx")
    if labels_yx.shape != yx.shape:
        raise ValueError(
            f"labels_yx: expected the shape of the picture {yx.shape}, found {labels_yx.shape}; "
            "give labels of the same time and depth"
        )
    shape = raster.shown_shape(yx.shape)
    labels = raster.resized_labels(labels_yx, shape)
    names, inverse = np.unique(labels, return_inverse=True)
    numbers = np.array([values.get(int(name), np.nan) if name else np.nan for name in names], np.float64)
    if not np.isfinite(numbers).any():
        raise ValueError(f"values: expected a number of one of {len(names)} labels, found none; check labels")
    low, high = np.percentile(numbers[np.isfinite(numbers)], [2, 98])
    colours = np.ma.masked_invalid(numbers[inverse.reshape(labels.shape)])
    figure = style.new_figure(width_in=9.0, height_in=0.4 + 7.8 * min(2.0, yx.shape[0] / yx.shape[1]))
    axes = figure.subplots()
    axes.imshow(raster.stretched(raster.resized(yx, shape)), cmap="gray", vmin=0, vmax=255)
    drawn = axes.imshow(colours, cmap="viridis", vmin=low, vmax=max(high, low + 1e-12), alpha=1 - HIDDEN)
    style.bare(axes)
    figure.colorbar(drawn, ax=axes, shrink=0.8, label=label)
    return style.figure_png(figure)
