"""Charts of tables: compositions, losses and confusions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tasks.kernels.pictures import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def composition_bars(
    counts: npt.NDArray[np.integer[Any]],
    *,
    clusters: Sequence[str],
    conditions: Sequence[str],
    title: str = "",
) -> bytes:
    """Draw how each condition's cells share out among the clusters.

    Every bar is a percentage of its condition's cells, so conditions with different numbers of cells can be
    compared; the bars of a condition add up to 100.

    Parameters
    ----------
    counts
        Cells, clusters x conditions.
    clusters, conditions
        Names of the rows and the columns.
    title
        Title of the chart.

    Returns
    -------
    bytes
        A PNG.

    Raises
    ------
    ValueError
        The shape does not fit the names, or is empty.
    """
    if counts.shape != (len(clusters), len(conditions)) or counts.size == 0:
        raise ValueError(
            f"counts: expected clusters x conditions {(len(clusters), len(conditions))} and not empty, "
            f"found shape {counts.shape}; give a name for each row and column"
        )
    percent = 100 * counts / np.maximum(counts.sum(axis=0), 1)
    figure = style.new_figure(
        width_in=style.WIDTH_IN, height_in=1.6 + len(clusters) * (0.26 * len(conditions) + 0.16)
    )
    axes = figure.subplots()
    style.tidy(axes, title=title, x="Percent of the condition's cells", grid="x")
    for number, name in enumerate(conditions):
        _bars(axes, percent, number, name)
    axes.set_yticks(np.arange(len(clusters)), [style.plain(name) for name in clusters])
    axes.set(ylim=(len(clusters) - 0.45, -0.55), xlim=(0, max(float(percent.max()) * 1.15, 1.0)))
    style.legend_below(figure)
    return style.figure_png(figure)


def _bars(axes: Axes, percent: npt.NDArray[np.float64], number: int, name: str) -> None:
    """Draw one condition's bar in every cluster, each with its percentage at the end."""
    clusters, conditions = percent.shape
    thickness = 0.8 / conditions
    places = np.arange(clusters) + (number - (conditions - 1) / 2) * thickness
    colour = style.colour(number, style.CONDITIONS)
    bars = axes.barh(places, percent[:, number], thickness * 0.92, color=colour, label=style.plain(name))
    labels = [f"{value:.3g} %" for value in percent[:, number]]
    axes.bar_label(bars, labels, padding=4, fontsize=9.5, color=style.QUIET)


def loss_curves(history: Mapping[str, Mapping[str, Sequence[float]]]) -> bytes:
    """Draw losses over the epochs, a panel for each kind of loss.

    Parameters
    ----------
    history
        Panel -> line -> value of each epoch, such as ``{"total": {"train": [...], "validation": [...]}}``.

    Returns
    -------
    bytes
        A PNG.

    Raises
    ------
    ValueError
        There is no panel.
    """
    if not history:
        raise ValueError(
            "history: expected at least one kind of loss, found none; train for one epoch or more"
        )
    figure = style.new_figure(width_in=style.WIDTH_IN, height_in=0.6 + 2.3 * len(history))
    places = figure.subplots(len(history), 1, squeeze=False)[:, 0]
    names = list(dict.fromkeys(name for lines in history.values() for name in lines))
    for axes, (panel, lines) in zip(places, history.items(), strict=True):
        style.tidy(axes, title=panel, x="Epoch", grid="y")
        for name, values in lines.items():
            _loss_line(axes, values, names.index(name), name)
        axes.xaxis.get_major_locator().set_params(integer=True)
    style.legend_below(figure)
    return style.figure_png(figure)


def _loss_line(axes: Axes, values: Sequence[float], number: int, name: str) -> None:
    """Draw one line; a dash besides the colour tells the second from the first."""
    axes.plot(
        np.arange(1, len(values) + 1),
        np.asarray(values, dtype=np.float64),
        color=style.colour(number),
        linestyle=("-", "--", "-.", ":")[number % 4],
        linewidth=2,
        marker="o" if len(values) < 3 else "",
        label=style.plain(name),
    )


def confusion(
    matrix: npt.NDArray[np.integer[Any]],
    rows: Sequence[str],
    columns: Sequence[str],
    *,
    title: str = "",
    row_axis: str = "",
    column_axis: str = "",
) -> bytes:
    """Draw a table of counts, each cell shaded by its share of the row.

    Parameters
    ----------
    matrix
        Counts, rows x columns.
    rows, columns
        Their names.
    title, row_axis, column_axis
        Title and what rows and columns are.

    Returns
    -------
    bytes
        A PNG.

    Raises
    ------
    ValueError
        The shape does not fit the names, or is empty.
    """
    if matrix.shape != (len(rows), len(columns)) or matrix.size == 0:
        raise ValueError(
            f"matrix: expected rows x columns {(len(rows), len(columns))} and not empty, found shape "
            f"{matrix.shape}; give a name for each row and column"
        )
    share = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    figure = style.new_figure(
        width_in=max(style.WIDTH_IN, 1.8 + 0.8 * len(columns)), height_in=1.7 + 0.55 * len(rows)
    )
    axes = figure.subplots()
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    style.tidy(axes, title=title, x=column_axis, y=row_axis)
    axes.spines[:].set_visible(False)
    axes.set_xticks(np.arange(len(columns)), [style.plain(name) for name in columns])
    axes.set_yticks(np.arange(len(rows)), [style.plain(name) for name in rows])
    for (row, column), count in np.ndenumerate(matrix):
        colour = "white" if share[row, column] > 0.55 else style.INK
        axes.text(
            column,
            row,
            f"{count}\n{share[row, column]:.0%}",
            ha="center",
            va="center",
            fontsize=9.5,
            color=colour,
        )
    return style.figure_png(figure)
