"""One look for every picture: colours, a figure without global state, plain axes, and PNG bytes.

Figures are made with matplotlib's object-oriented interface and drawn by Agg. pyplot and rcParams are never
touched, so pictures may be drawn in several threads at once.
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
from PIL import Image

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CATEGORIES: Final = (
    "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00",
    "#882255", "#117733", "#4B0092", "#F0E442", "#7F2A00", "#FFB3C6",
)  # fmt: skip
"""Colours of clusters and populations, in order.

Seven of Okabe and Ito (2008, "Color Universal Design") and five more; any two stay at least 17 CIE76
units apart in normal vision, protanopia and deuteranopia (simulated after Machado et al. 2009).
"""

CONDITIONS: Final = ("#4B5563", "#D55E00", "#0072B2", "#E69F00", "#009E73", "#CC79A7")
"""Colours of conditions: the first, which is the control, is slate; the others stand out from it."""

UNKNOWN: Final = "#B8B8B8"
INK: Final = "#242424"
QUIET: Final = "#5E5E5E"
GRID: Final = "#E6E6E6"
DPI: Final = 160
WIDTH_IN: Final = 6.4
TEXT_POINTS: Final = 11.0
MARKERS: Final = ("o", "^", "s", "D")
LONGEST_NAME: Final = 60
GREYS: Final = 128


def colour(index: int, colours: Sequence[str] = CATEGORIES) -> str:
    """Give the colour of a category; negative means not known, past the end the colours come round again."""
    return UNKNOWN if index < 0 else colours[index % len(colours)]


def rgb(hexadecimal: str) -> tuple[int, int, int]:
    """Turn ``#RRGGBB`` into three numbers of 0 to 255."""
    red, green, blue = bytes.fromhex(hexadecimal.removeprefix("#"))
    return red, green, blue


def plain(text: str) -> str:
    """Make a name safe to draw: one line, only printable signs, at most 60 of them."""
    line = re.sub(r"\s+", " ", "".join(sign if sign.isprintable() else " " for sign in text)).strip()
    return line if len(line) <= LONGEST_NAME else f"{line[: LONGEST_NAME - 1]}…"


def new_figure(*, width_in: float, height_in: float) -> Figure:
    """Make an empty white figure that belongs to no window and no pyplot."""
    from matplotlib.figure import Figure  # here, for a run that draws nothing need not load matplotlib

    return Figure(figsize=(width_in, height_in), dpi=DPI, layout="constrained", facecolor="white")


def tidy(axes: Axes, *, title: str = "", x: str = "", y: str = "", grid: str = "") -> None:
    """Give axes the look of the project: title on the left, two spines, a light grid along ``grid``."""
    title_on(axes, title)
    axes.set_xlabel(plain(x), fontsize=TEXT_POINTS, color=QUIET)
    axes.set_ylabel(plain(y), fontsize=TEXT_POINTS, color=QUIET)
    axes.tick_params(labelsize=TEXT_POINTS - 1, labelcolor=INK, color=GRID, length=0, pad=5)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(GRID)
    axes.set_axisbelow(True)
    for direction in grid:
        axes.grid(axis="x" if direction == "x" else "y", color=GRID, linewidth=0.8)


def bare(axes: Axes, *, title: str = "") -> None:
    """Strip axes that hold an image: no ticks, no frame, only a title."""
    title_on(axes, title)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)


def title_on(axes: Axes, title: str) -> None:
    """Put a title over the left edge of axes; an empty one takes no room."""
    if title:
        axes.set_title(
            plain(title), loc="left", fontsize=TEXT_POINTS + 1, fontweight="bold", color=INK, pad=8
        )


def legend_below(figure: Figure) -> None:
    """Put one legend for all axes under them, where it covers no data and fits a narrow page."""
    shown: dict[str, Any] = {}
    for axes in figure.axes:
        handles, names = axes.get_legend_handles_labels()
        shown = dict(zip(names, handles, strict=True)) | shown
    longest = max((len(name) for name in shown), default=0)
    columns = max(1, min(len(shown), 4, 60 // (longest + 5)))
    legend = figure.legend(
        list(shown.values()),
        list(shown),
        loc="outside lower center",
        ncols=columns,
        frameon=False,
        fontsize=TEXT_POINTS - 0.5,
        labelcolor=INK,
        handlelength=1.2,
        columnspacing=1.4,
    )
    for handle in legend.legend_handles:
        if handle is not None:
            handle.set_alpha(1.0)


def figure_png(figure: Figure) -> bytes:
    """Draw a figure with Agg and encode it.

    Text is drawn as it is written: a dollar sign in a file's name must not start a formula.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.text import Text

    for text in figure.findobj(Text):
        if isinstance(text, Text):
            text.set_parse_math(False)
    canvas: Any = FigureCanvasAgg(figure)
    canvas.draw()
    return image_png(np.asarray(canvas.buffer_rgba())[..., :3])


def image_png(yxc: npt.NDArray[np.uint8]) -> bytes:
    """Encode red, green and blue of 0 to 255 as a PNG without dates, in as few bytes as its colours allow.

    A grey picture takes one channel. One of greys and at most 128 colours takes a palette, in which every
    second grey is rounded to its neighbour. Any other keeps its three channels.
    """
    grey_yx = np.ascontiguousarray(yxc[..., 0])
    coloured = (yxc != grey_yx[..., None]).any(axis=-1)
    if not coloured.any():
        return encoded(Image.fromarray(grey_yx))
    colours, places = np.unique(yxc[coloured].astype(np.int32) @ (65536, 256, 1), return_inverse=True)
    if len(colours) > 256 - GREYS:
        return encoded(Image.fromarray(np.ascontiguousarray(yxc)))
    indexed = grey_yx // np.uint8(2)
    indexed[coloured] = GREYS + places
    greys = [(grey * 255 // (GREYS - 1),) * 3 for grey in range(GREYS)]
    return indexed_png(indexed, greys + [rgb(f"{code:06X}") for code in colours])


def indexed_png(yx: npt.NDArray[np.uint8], colours: Sequence[tuple[int, int, int]]) -> bytes:
    """Encode a picture of at most 256 colours as a palette PNG: a third of the bytes of full colour."""
    image = Image.fromarray(yx)
    image.putpalette([part for entry in colours for part in entry])
    return encoded(image)


def encoded(image: Image.Image) -> bytes:
    """Encode an image as PNG; nothing but the pixels goes in, so equal pixels are equal bytes."""
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", compress_level=6)  # 9 takes five times as long for a twentieth less
    return buffer.getvalue()
