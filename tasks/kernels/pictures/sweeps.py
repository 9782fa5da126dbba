"""Charts of a sweep: scores over the values of one setting."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from tasks.kernels.pictures import style


def sweep_chart(
    values: Sequence[float], scores: Mapping[str, Sequence[float]], *, setting: str, title: str = ""
) -> bytes:
    """Draw scores over a setting that spans orders of magnitude.

    Parameters
    ----------
    values
        Values of the setting, above 0, ascending.
    scores
        Name of a score -> its value at each; nan leaves a gap.
    setting
        Name of the setting, for the axis.
    title
        Title of the chart.

    Returns
    -------
    bytes
        A PNG.

    Raises
    ------
    ValueError
        There are no values, or a score has another number of them, or a value is not above 0.
    """
    lengths = {len(score) for score in scores.values()}
    if not values or lengths != {len(values)} or min(values) <= 0:
        raise ValueError(
            f"expected one score or more for each of some values above 0, found {len(values)} values and "
            f"{sorted(lengths)} scores; give a score for each value"
        )
    figure = style.new_figure(width_in=style.WIDTH_IN, height_in=3.4)
    axes = figure.subplots()
    style.tidy(axes, title=title, x=setting, grid="y")
    axes.set_xscale("log")
    axes.set_xticks(values, labels=[short_number(value) for value in values])
    axes.minorticks_off()
    for number, (name, score) in enumerate(scores.items()):
        axes.plot(values, score, marker="o", color=style.colour(number), label=style.plain(name))
    axes.set_ylim(bottom=min(0.0, axes.get_ylim()[0]))
    style.legend_below(figure)
    return style.figure_png(figure)


def short_number(value: float) -> str:
    """Write a number in few signs, such as 1e-7."""
    if 0.01 <= value < 10_000:
        return f"{value:g}"
    return np.format_float_scientific(value, trim="-", exp_digits=1)
