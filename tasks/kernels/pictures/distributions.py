"""Charts of cells: points in the plane and distributions of a quantity."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from tasks.kernels.pictures import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FEWEST_BINS: Final = 8
MOST_BINS: Final = 60


def _codes(codes: npt.NDArray[np.integer[Any]], names: Sequence[str], length: int, what: str) -> None:
    """Check that there is a code for each value and a name for each code."""
    if codes.shape != (length,):
        raise ValueError(
            f"{what}: expected {length} numbers, one for each value, found shape {codes.shape}; give one each"
        )
    if codes.size and int(codes.max()) >= len(names):
        raise ValueError(
            f"{what}: expected numbers below {len(names)}, for there are {len(names)} names, "
            f"found {codes.max()}; give a name for each number"
        )


def scatter_2d(
    points: npt.NDArray[Any],
    categories: npt.NDArray[np.integer[Any]],
    *,
    title: str,
    legend: Sequence[str],
    colours: Sequence[str] = style.CATEGORIES,
    number_centres: bool = False,
) -> bytes:
    """Draw points in the plane, coloured by category.

    Points are drawn in a shuffled order (the same at every call), so that no category hides another by coming
    last; the more points, the smaller and fainter each is.

    Parameters
    ----------
    points
        n, 2: such as a UMAP.
    categories
        Number of each point's category, as in ``legend``; negative means not known.
    title, legend
        Title, and the name of each category.
    colours
        Colours of the categories in order, `style.CATEGORIES` or `style.CONDITIONS`.
    number_centres
        Write each category's name at the median of its points, for eyes that tell few colours apart.

    Returns
    -------
    bytes
        A PNG.

    Raises
    ------
    ValueError
        Shapes or numbers do not fit, or a coordinate is not finite.
    """
    if points.ndim != 2 or points.shape[1] != 2 or not np.isfinite(points).all():
        raise ValueError(
            f"points: expected finite numbers of shape (n, 2), found shape {points.shape}; "
            "leave out cells without an embedding"
        )
    _codes(categories, legend, len(points), "categories")
    figure = style.new_figure(width_in=style.WIDTH_IN, height_in=5.6)
    axes = figure.subplots()
    style.tidy(axes, title=title)
    axes.set(xticks=[], yticks=[])
    order = np.random.default_rng(0).permutation(len(points))
    _points(axes, points[order], categories[order], legend, colours)
    if number_centres:
        _centres(axes, points, categories, legend)
    style.legend_below(figure)
    return style.figure_png(figure)


def _points(
    axes: Axes,
    points: npt.NDArray[Any],
    categories: npt.NDArray[np.integer[Any]],
    legend: Sequence[str],
    colours: Sequence[str],
) -> None:
    """Draw the points, another marker each time the colours come round, and the legend's handles."""
    count = max(len(points), 1)
    size = float(np.clip(40000 / count, 2.0, 26))
    alpha = float(np.clip(80 / np.sqrt(count), 0.3, 0.85))
    rounds = np.where(categories < 0, 0, categories // len(colours) % len(style.MARKERS))
    for number, marker in enumerate(style.MARKERS):
        some = rounds == number
        hues = (
            np.array([style.rgb(style.colour(int(code), colours)) for code in range(-1, len(legend))]) / 255
        )
        axes.scatter(
            points[some, 0],
            points[some, 1],
            s=size,
            c=hues[categories[some].clip(min=-1) + 1],
            marker=marker,
            alpha=alpha,
            linewidths=0,
        )
    present = np.unique(categories)
    for code in present[np.argsort(present < 0, kind="stable")]:
        name = "not known" if code < 0 else style.plain(legend[code])
        shape = style.MARKERS[max(int(code), 0) // len(colours) % len(style.MARKERS)]
        axes.scatter([], [], s=40, color=style.colour(int(code), colours), marker=shape, label=name)


def _centres(
    axes: Axes, points: npt.NDArray[Any], categories: npt.NDArray[np.integer[Any]], legend: Sequence[str]
) -> None:
    """Write names at the medians of their points."""
    plate = {"boxstyle": "round,pad=0.25", "facecolor": "white", "edgecolor": style.GRID, "alpha": 0.85}
    for code in np.unique(categories[categories >= 0]):
        x, y = np.median(points[categories == code], axis=0)
        axes.text(
            x,
            y,
            style.plain(legend[code]),
            ha="center",
            va="center",
            fontsize=9.5,
            color=style.INK,
            bbox=plate,
        )


def histogram_by_condition(
    values: npt.NDArray[Any], conditions: npt.NDArray[np.integer[Any]], label: str, *, names: Sequence[str]
) -> bytes:
    """Draw the distribution of a quantity in each condition, in percent of the condition's cells.

    All conditions share their bins; see `bin_edges`. What lies beyond them is not drawn, and the axis
    says how much that is.

    Parameters
    ----------
    values
        A number for each cell; those that are not finite are left out.
    conditions
        Number of each cell's condition, as in ``names``; negative ones are left out.
    label
        What the values are, with their unit.
    names
        Name of each condition.

    Returns
    -------
    bytes
        A PNG.

    Raises
    ------
    ValueError
        Lengths or numbers do not fit, or no value is left.
    """
    _codes(conditions, names, len(values), "conditions")
    kept = np.isfinite(values) & (conditions >= 0)
    if not kept.any():
        raise ValueError(
            f"values: expected a finite number in a known condition, found none of {len(values)}; "
            "give measured cells"
        )
    values, conditions = values[kept].astype(np.float64), conditions[kept]
    edges = bin_edges(values)
    beyond = 100 * np.mean((values < edges[0]) | (values > edges[-1]))
    x = f"{label}; {beyond:.2g} % of cells lie beyond" if beyond else label
    figure = style.new_figure(width_in=style.WIDTH_IN, height_in=4.4)
    axes = figure.subplots()
    style.tidy(axes, title=f"{label} by condition", x=x, y="Percent of cells", grid="y")
    for code in np.unique(conditions):
        counts, _ = np.histogram(values[conditions == code], edges)
        percent, colour = 100 * counts / (conditions == code).sum(), style.colour(int(code), style.CONDITIONS)
        axes.stairs(percent, edges, fill=True, color=colour, alpha=0.18)
        axes.stairs(percent, edges, color=colour, linewidth=2, label=style.plain(names[code]))
    axes.set_ylim(bottom=0)
    style.legend_below(figure)
    return style.figure_png(figure)


def bin_edges(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Choose the bins of a histogram: as wide as Freedman and Diaconis (1981) ask, but 8 to 60 of them.

    They reach from percentile 0.5 to 99.5, so that one giant does not flatten the rest; values that are all
    the same lie in the middle of one bin of width 1.

    Parameters
    ----------
    values
        At least one finite number.

    Returns
    -------
    numpy.ndarray
        Rising edges, one more than there are bins.
    """
    low, lower, upper, high = np.percentile(values, [0.5, 25, 75, 99.5])
    if high <= low:
        return np.array([low - 0.5, low + 0.5])
    width = 2 * (upper - lower) / np.cbrt(values.size)
    bins = FEWEST_BINS if width <= 0 else np.clip(np.ceil((high - low) / width), FEWEST_BINS, MOST_BINS)
    return np.linspace(low, high, int(bins) + 1)
