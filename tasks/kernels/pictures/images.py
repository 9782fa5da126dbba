"""Pictures of pixels: before and after, outlines of labels, sheets of patches."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from tasks.kernels.pictures import raster, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BRIGHTEST: Final = 190
"""White under outlines: dimmed, so that a bright outline is seen around a bright cell."""

OUTLINES: Final = ("#E69F00", "#56B4E9", "#F0E442", "#CC79A7", "#00C592", "#FF7A1A")
"""Outline colours of labels without a category: those that are seen on dark and on mid grey."""

PAGE_IN: Final = 9.0
MARGIN_IN: Final = 0.12
PANEL_PX: Final = 900

TILE_COLUMNS: Final = 8


def before_after(
    raw_yx: npt.NDArray[Any], clean_yx: npt.NDArray[Any], *, pixel_size_um: float | None, title: str
) -> bytes:
    """Draw a raw plane beside its clean one, each stretched to its own contrast, with a scale bar.

    Parameters
    ----------
    raw_yx, clean_yx
        One plane each; the shapes may differ.
    pixel_size_um
        Width of a pixel in um; no bar is drawn when it is not known.
    title
        Name of the acquisition.

    Returns
    -------
    bytes
        A PNG.

    Raises
    ------
    ValueError
        An array is not a plane, or the pixel size is not positive.
    """
    if pixel_size_um is not None and not pixel_size_um > 0:
        raise ValueError(
            f"pixel_size_um: expected a positive length in um, found {pixel_size_um}; "
            "give None if it is not known"
        )
    planes = [raster.plane(raw_yx, "raw_yx"), raster.plane(clean_yx, "clean_yx")]
    side_in = (PAGE_IN - 3 * MARGIN_IN) / 2
    tall_in = side_in * min(2.0, max(yx.shape[0] / yx.shape[1] for yx in planes))
    height_in = tall_in + 0.85
    figure = style.new_figure(width_in=PAGE_IN, height_in=height_in)
    figure.set_layout_engine("none")
    left, width, tall = MARGIN_IN / PAGE_IN, side_in / PAGE_IN, tall_in / height_in
    figure.text(
        left, 1 - 0.3 / height_in, style.plain(title), fontsize=15, fontweight="bold", color=style.INK
    )
    for number, (yx, name) in enumerate(zip(planes, ("Raw", "Clean"), strict=True)):
        shift = number * (side_in + MARGIN_IN) / PAGE_IN
        axes = figure.add_axes((left + shift, MARGIN_IN / height_in, width, tall), anchor="N")
        figure.text(left + shift, 1 - 0.63 / height_in, name, fontsize=14, color=style.INK)
        _panel(axes, yx)
        if pixel_size_um is not None:
            _scale_bar(axes, yx.shape[1] * pixel_size_um, yx.shape[0] / yx.shape[1])
    return style.figure_png(figure)


def _panel(axes: Axes, yx: npt.NDArray[Any]) -> None:
    """Draw a grey plane on axes whose x runs from 0 to 1."""
    shape = raster.shown_shape(yx.shape, longest_px=PANEL_PX, smallest_px=PANEL_PX)
    grey = raster.stretched(raster.resized(yx, shape))
    axes.imshow(grey, cmap="gray", vmin=0, vmax=255, extent=(0, 1, yx.shape[0] / yx.shape[1], 0))
    style.bare(axes)


def _scale_bar(axes: Axes, width_um: float, height: float) -> None:
    """Draw a white bar and its length on a dark plate in the lower right corner."""
    from matplotlib.patches import Rectangle

    bar_um = raster.scale_bar_um(width_um)
    share = bar_um / width_um
    plate = max(share, 0.16) + 0.05
    left, top = 0.98 - plate, height - 0.135
    middle = left + plate / 2
    axes.add_patch(Rectangle((left, top), plate, 0.115, color="black", alpha=0.6, linewidth=0))
    axes.add_patch(Rectangle((middle - share / 2, top + 0.08), share, 0.016, color="white", linewidth=0))
    axes.text(middle, top + 0.066, f"{bar_um:g} µm", color="white", ha="center", va="bottom", fontsize=13)


def labels_over_image(
    yx: npt.NDArray[Any], labels_yx: npt.NDArray[Any], *, colours_by: Mapping[int, int] | None = None
) -> bytes:
    """Draw the outline of every label over the grey picture.

    A plane longer than 1280 px is shrunk to that, a small one is enlarged by a whole factor; outlines are
    found at the size that is drawn, and stay inside their labels.

    Parameters
    ----------
    yx
        Grey values.
    labels_yx
        Labels of the same shape, 0 for the background.
    colours_by
        Category of a label, such as its cluster, drawn in the colour that charts give to that category;
        labels that are missing or negative are drawn in grey. Without it, colours only tell neighbours apart.

    Returns
    -------
    bytes
        A PNG.

    Raises
    ------
    ValueError
        An array is not a plane, or the shapes differ.
    """
    raster.plane(yx, "yx")
    if labels_yx.shape != yx.shape:
        raise ValueError(
            f"labels_yx: expected the shape of the picture {yx.shape}, found {labels_yx.shape}; "
            "give labels of the same time and depth"
        )
    shape = raster.shown_shape(yx.shape)
    indexed = raster.stretched(raster.resized(yx, shape)) // np.uint8(2)
    labels = raster.resized_labels(labels_yx, shape)
    edge = raster.outlines(labels, width_px=max(1, round(max(shape) / 400)))
    colours = OUTLINES if colours_by is None else (style.UNKNOWN, *style.CATEGORIES)
    indexed[edge] = style.GREYS + _colour_numbers(labels[edge], colours_by)
    greys = [(grey * BRIGHTEST // (style.GREYS - 1),) * 3 for grey in range(style.GREYS)]
    return style.indexed_png(indexed, greys + [style.rgb(name) for name in colours])


def _colour_numbers(labels: npt.NDArray[Any], colours_by: Mapping[int, int] | None) -> npt.NDArray[np.uint8]:
    """Number the colour of each label: by its category plus one, 0 for none, or in turn."""
    if colours_by is None:
        return (labels % len(OUTLINES)).astype(np.uint8)
    names, inverse = np.unique(labels, return_inverse=True)
    categories = np.array([colours_by.get(int(name), -1) for name in names], dtype=np.int64)
    numbers = np.where(categories < 0, 0, 1 + categories % len(style.CATEGORIES))
    return numbers[inverse].astype(np.uint8)


def spread_rows(
    groups: npt.NDArray[np.integer[Any]], *, per_group: int = 16
) -> dict[int, npt.NDArray[np.intp]]:
    """Choose the rows that stand for each group, evenly spread so that every acquisition has a share.

    Parameters
    ----------
    groups
        Group of each row; negative means none.
    per_group
        Most rows to choose from a group.

    Returns
    -------
    dict
        Rising row numbers of each group, groups in rising order.
    """
    chosen = {}
    for group in np.unique(groups[groups >= 0]):
        rows = np.flatnonzero(groups == group)
        places = np.linspace(0, rows.size - 1, min(per_group, rows.size)).round().astype(np.intp)
        chosen[int(group)] = rows[places]
    return chosen


def patch_sheet(
    patches: npt.NDArray[Any],
    groups: npt.NDArray[np.integer[Any]],
    *,
    per_group: int = 16,
    titles: Mapping[int, str],
    channel: int = 0,
) -> bytes:
    """Draw sample patches, a block for each group, all stretched alike so that groups can be compared.

    Parameters
    ----------
    patches
        n, y, x or n, c, y, x.
    groups
        Group of each patch, as many as patches; negative ones are left out.
    per_group
        Most patches drawn of a group; see `spread_rows`, with which a caller can read those rows alone.
    titles
        Title over each group's block; a group without one gets its number.
    channel
        The channel that is drawn.

    Returns
    -------
    bytes
        A PNG.

    Raises
    ------
    ValueError
        Axes or lengths do not fit, or there is no patch to draw.
    """
    nyx = _one_channel(patches, channel)
    rows = spread_rows(groups, per_group=per_group)
    if len(groups) != len(nyx) or not rows:
        raise ValueError(
            f"groups: expected a group for each of {len(nyx)} patches and at least one that is not negative, "
            f"found {len(groups)} with {len(rows)} groups; give the clusters of these patches"
        )
    between = raster.limits(nyx[np.concatenate(list(rows.values()))])
    sheets = {
        group: raster.tiled(raster.stretched(nyx[some], between=between), columns=TILE_COLUMNS, gap_px=2)
        for group, some in rows.items()
    }
    heights = [sheet.shape[0] / sheet.shape[1] for sheet in sheets.values()]
    figure = style.new_figure(width_in=style.WIDTH_IN, height_in=6.0 * sum(heights) + 0.42 * len(heights))
    places = figure.subplots(len(sheets), 1, squeeze=False, height_ratios=heights)[:, 0]
    for axes, (group, sheet) in zip(places, sheets.items(), strict=True):
        axes.imshow(sheet, cmap="gray", vmin=0, vmax=255)
        style.bare(axes, title=titles.get(group, str(group)))
        _colour_bar(axes, style.colour(group))
    return style.figure_png(figure)


def _one_channel(patches: npt.NDArray[Any], channel: int) -> npt.NDArray[Any]:
    """Take the channel that is drawn from patches."""
    if patches.ndim not in (3, 4) or (patches.ndim == 4 and not 0 <= channel < patches.shape[1]):
        raise ValueError(
            f"patches: expected axes n, y, x or n, c, y, x with channel {channel}, "
            f"found shape {patches.shape}; give one picture a row"
        )
    return patches if patches.ndim == 3 else patches[:, channel]


def _colour_bar(axes: Axes, colour: str) -> None:
    """Mark the block's left edge with the colour that the charts give to the group."""
    axes.spines["left"].set(visible=True, color=colour, linewidth=5, position=("outward", 8))


def reconstructions(originals: npt.NDArray[Any], rebuilt: npt.NDArray[Any], *, channel: int = 0) -> bytes:
    """Draw patches over what the model makes of them, both stretched alike.

    Parameters
    ----------
    originals, rebuilt
        n, y, x or n, c, y, x of equal shape; the first eight are drawn.
    channel
        The channel that is drawn.

    Returns
    -------
    bytes
        A PNG.

    Raises
    ------
    ValueError
        The shapes differ, or there is no patch.
    """
    if originals.shape != rebuilt.shape or len(originals) == 0:
        raise ValueError(
            f"rebuilt: expected the shape of the originals {originals.shape} with at least one patch, "
            f"found {rebuilt.shape}; give the model's output for the same patches"
        )
    pair = [_one_channel(patches, channel)[:TILE_COLUMNS] for patches in (originals, rebuilt)]
    between = raster.limits(pair[0])
    sheets = [
        raster.tiled(raster.stretched(nyx, between=between), columns=len(nyx), gap_px=2) for nyx in pair
    ]
    height = sheets[0].shape[0] / sheets[0].shape[1]
    figure = style.new_figure(width_in=style.WIDTH_IN, height_in=2 * (6.2 * height + 0.42))
    for axes, sheet, name in zip(
        figure.subplots(2, 1), sheets, ("Patches", "Rebuilt by the model"), strict=True
    ):
        axes.imshow(sheet, cmap="gray", vmin=0, vmax=255)
        style.bare(axes, title=name)
    return style.figure_png(figure)
