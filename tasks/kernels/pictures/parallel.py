"""Parallel coordinates: runs as lines over their settings and scores, as a picture and as text."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from tasks.kernels.pictures import style

Value = float | str | None
INCHES_AN_AXIS: Final = 1.5
SYMBOLS: Final = "123456789abcdefghijklmnopqrstuvwxyz"
GAP: Final = 12
"""Columns of text from one axis to the next."""


@dataclass(frozen=True)
class Axis:
    """One setting or score: its name and its value for each run, a number, a word, or None for not known."""

    name: str
    values: Sequence[Value]

    @property
    def places(self) -> list[float | None]:
        """Where each value lies on the axis, 0 to 1: words in equal steps, numbers from least to most."""
        known = [value for value in self.values if _is_known(value)]
        if any(isinstance(value, str) for value in known):
            words = sorted({str(value) for value in known})
            step = {word: number / max(1, len(words) - 1) for number, word in enumerate(words)}
            return [step[str(value)] if _is_known(value) else None for value in self.values]
        numbers = [float(value) for value in known if value is not None]
        least, most = min(numbers, default=0.0), max(numbers, default=0.0)
        width = most - least or 1.0
        return [
            (float(value) - least) / width if value is not None and _is_known(value) else None
            for value in self.values
        ]

    @property
    def ends(self) -> tuple[str, str]:
        """What stands at 0 and at 1."""
        placed = [
            (place, value) for place, value in zip(self.places, self.values, strict=True) if place is not None
        ]
        if not placed:
            return "", ""
        return tuple(_short(pick(placed)[1]) for pick in (min, max))  # type: ignore[return-value]


def _is_known(value: Value) -> bool:
    return value is not None and not (isinstance(value, float) and not math.isfinite(value))


def _short(value: Value) -> str:
    return f"{value:.3g}" if isinstance(value, int | float) else str(value)


def _check(axes: Sequence[Axis], names: Sequence[str]) -> None:
    lengths = {len(axis.values) for axis in axes}
    if not names or lengths != {len(names)}:
        raise ValueError(
            f"expected one axis or more with a value for each of some runs, found {len(names)} runs and "
            f"axes of {sorted(lengths)} values; give a value or None for each run"
        )


def parallel_coordinates(axes: Sequence[Axis], names: Sequence[str], *, title: str = "") -> bytes:
    """Draw runs as lines over axes; the first has a colour and the thickest line.

    Parameters
    ----------
    axes
        Settings and scores from left to right.
    names
        What each run is called, the best first.
    title
        Title of the chart.

    Returns
    -------
    bytes
        A PNG.

    Raises
    ------
    ValueError
        There are no axes or no runs, or an axis has another number of values.
    """
    _check(axes, names)
    figure = style.new_figure(width_in=max(style.WIDTH_IN, INCHES_AN_AXIS * len(axes)), height_in=4.2)
    drawn = figure.subplots()
    style.tidy(drawn, title=title)
    drawn.set(xticks=range(len(axes)), yticks=[], ylim=(-0.12, 1.12))
    drawn.set_xticklabels([style.plain(axis.name.replace("_", " ")) for axis in axes], rotation=20)
    for number, axis in enumerate(axes):
        drawn.axvline(number, color=style.GRID, linewidth=1)
        for end, text in zip((-0.07, 1.07), axis.ends, strict=True):
            drawn.text(
                number, end, style.plain(text), ha="center", va="center", color=style.QUIET, fontsize=8
            )
    places = [axis.places for axis in axes]
    for run in reversed(range(len(names))):  # the best last, over the others
        known = run < len(style.CATEGORIES)
        drawn.plot(
            range(len(axes)),
            [math.nan if (place := at[run]) is None else place for at in places],
            marker="o",
            markersize=4,
            color=style.colour(run) if known else style.UNKNOWN,
            linewidth=2.6 if run == 0 else 1.2,
            label=style.plain(names[run]) if known else "_",
        )
    style.legend_below(figure)
    return style.figure_png(figure)


def parallel_text(axes: Sequence[Axis], names: Sequence[str], *, rows: int = 9) -> str:
    """Draw the same in letters, for a terminal: each run is a digit where it meets an axis, dots between.

    Parameters
    ----------
    axes, names
        As for `parallel_coordinates`; runs beyond the 35th are left out.
    rows
        Lines from the least to the most of each axis, 2 or more.
    """
    _check(axes, names)
    width = GAP * (len(axes) - 1) + 1
    canvas = [[" "] * width for _ in range(rows)]
    for line in canvas:
        line[::GAP] = "|" * len(line[::GAP])
    places = [axis.places for axis in axes]
    for run in reversed(range(min(len(names), len(SYMBOLS)))):
        heights = [at[run] for at in places]
        for left, (here, there) in enumerate(pairwise(heights)):
            if here is not None and there is not None:
                for step in range(2, GAP, 2):
                    height = here + (there - here) * step / GAP
                    canvas[_row(height, rows)][left * GAP + step] = "."
    for run in reversed(range(min(len(names), len(SYMBOLS)))):
        for number, at in enumerate(places):
            place = at[run]
            if place is not None:
                canvas[_row(place, rows)][number * GAP] = SYMBOLS[run]
    heads = ["".join(f"{text[: GAP - 1]:<{GAP}}" for text in texts) for texts in _labels(axes)]
    body = ["".join(line) for line in canvas]
    keys = [f"{symbol} {name}" for symbol, name in zip(SYMBOLS, names, strict=False)]
    return "\n".join(line.rstrip() for line in [heads[0], heads[1], *body, heads[2], *keys])


def _labels(axes: Sequence[Axis]) -> list[list[str]]:
    """Return the names of the axes, what stands at their tops, and what at their feet."""
    return [[axis.name for axis in axes], *([axis.ends[end] for axis in axes] for end in (1, 0))]


def _row(height: float, rows: int) -> int:
    return round((1 - height) * (rows - 1))
