"""Charts over time: the quality of an acquisition's frames, with those out of range marked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from tasks.kernels.pictures import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_NAMED: Final = 6
FLAG: Final = "#C1121F"
MARKS: Final = {"blurred": "v", "empty": "o", "saturated": "s"}


@dataclass(frozen=True)
class Trend:
    """One acquisition's quality over its time points.

    Attributes
    ----------
    focus, snr, saturated_share
        A number for each time point, float64, shape (t,); nan leaves a gap.
    flagged
        Time point, from 0, -> why it is out of range: "blurred", "empty" or "saturated".
    """

    focus: npt.NDArray[np.float64]
    snr: npt.NDArray[np.float64]
    saturated_share: npt.NDArray[np.float64]
    flagged: Mapping[int, str] = field(default_factory=dict)


def trend_picture(trends: Mapping[str, Trend]) -> bytes:
    """Draw focus, signal-to-noise and saturation over time, and mark the frames that are flagged.

    Six acquisitions at most have a colour and a name, those with most flagged frames first; all others are
    grey lines.

    Parameters
    ----------
    trends
        Acquisition's name -> its numbers.

    Returns
    -------
    bytes
        A PNG.

    Raises
    ------
    ValueError
        There is no acquisition, the numbers of one differ in length or are none, or a flag points past them
        or has another reason.
    """
    if not trends:
        raise ValueError("trends: expected at least one acquisition, found none; draw none instead")
    for name, trend in trends.items():
        _check(name, trend)
    figure = style.new_figure(width_in=style.WIDTH_IN, height_in=6.6)
    places = figure.subplots(3, 1, sharex=True)
    for axes, panel in zip(places, ("Focus score", "Signal to noise", "Saturated pixels, %"), strict=True):
        style.tidy(axes, title=panel, grid="y")
    named = sorted(trends, key=lambda name: -len(trends[name].flagged))[:MOST_NAMED]
    for name in named + [name for name in trends if name not in named]:
        _draw(places, trends[name], style.plain(name), named.index(name) if name in named else -1)
    _finish(places, {why for trend in trends.values() for why in trend.flagged.values()})
    style.legend_below(figure)
    return style.figure_png(figure)


def _check(name: str, trend: Trend) -> None:
    strange = set(trend.flagged.values()) - MARKS.keys()
    if strange:
        raise ValueError(f"{name}: expected flags among {', '.join(MARKS)}, found {sorted(strange)}")
    count = len(trend.focus)
    lengths = {count, len(trend.snr), len(trend.saturated_share)}
    if count == 0 or len(lengths) != 1 or not trend.flagged.keys() <= set(range(count)):
        raise ValueError(
            f"{name}: expected as many numbers of each kind as time points, and flags among them, found "
            f"{sorted(lengths)} numbers and flags at {sorted(trend.flagged)}; give one number a frame"
        )


def _draw(places: Sequence[Axes], trend: Trend, name: str, number: int) -> None:
    """Draw one acquisition in all panels; a negative number makes it one of the grey ones."""
    line: dict[str, Any] = {
        "color": style.colour(number),
        "linestyle": "-" if number < 0 else ("-", "--", "-.")[number % 3],
        "linewidth": 1.0 if number < 0 else 1.8,
        "marker": "o" if len(trend.focus) < 3 else "",
        "zorder": 2 if number < 0 else 3 - number / 10,
        "label": "others" if number < 0 else name,
    }
    for axes, values in zip(places, (trend.focus, trend.snr, 100 * trend.saturated_share), strict=True):
        axes.plot(np.arange(len(values)), values, clip_on=False, **line)
        for t, why in trend.flagged.items():
            axes.scatter([t], values[[t]], **_mark(why))


def _mark(why: str) -> dict[str, Any]:
    shape = {"s": 60, "marker": MARKS[why], "color": FLAG, "edgecolors": "white", "linewidths": 0.7}
    return shape | {"zorder": 4, "clip_on": False}


def _finish(places: Sequence[Axes], reasons: set[str]) -> None:
    """Start the scales at 0, name the marks, and count time points in whole numbers."""
    from matplotlib.ticker import MaxNLocator  # here, for the reason given in style.new_figure

    for axes in places:
        axes.set_ylim(bottom=0, top=max(axes.get_ylim()[1], 0.01))
        axes.margins(x=0.02)
    places[-1].set_ylim(top=max(places[-1].get_ylim()[1], 0.2))
    places[-1].set_xlabel("Time point", fontsize=style.TEXT_POINTS, color=style.QUIET)
    places[-1].xaxis.set_major_locator(MaxNLocator(integer=True))
    for why in sorted(reasons):
        places[0].scatter([], [], label=f"{why} frame", **_mark(why))
