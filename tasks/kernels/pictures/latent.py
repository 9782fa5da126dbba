"""Charts of a latent space: what each dimension holds of each cluster, how alike clusters are, traversals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from tasks.kernels.pictures import raster, style
from tasks.kernels.pictures.distributions import bin_edges

MOST_DIMENSIONS: Final = 16
COLUMNS: Final = 4


def latent_distributions(
    latent: npt.NDArray[Any], clusters: npt.NDArray[np.integer[Any]], *, names: Sequence[str]
) -> bytes:
    """Draw the distribution of each latent dimension in each cluster, a small panel a dimension.

    Of more than 16 dimensions those are drawn in which the clusters differ most: by the variance of the
    clusters' means over that of all points.

    Parameters
    ----------
    latent
        (n, d).
    clusters
        (n,): number of each point's cluster, as in ``names``; negative ones are left out.
    names
        Name of each cluster.

    Returns
    -------
    bytes
        A PNG.

    Raises
    ------
    ValueError
        Shapes do not fit, or no point lies in a cluster.
    """
    kept = _in_clusters(latent, clusters, names)
    latent, clusters = np.asarray(latent, np.float64)[kept], clusters[kept]
    shown = _telling(latent, clusters)
    rows = -(-len(shown) // COLUMNS)
    figure = style.new_figure(width_in=style.WIDTH_IN, height_in=0.9 + 1.6 * rows)
    panels = figure.subplots(rows, COLUMNS, squeeze=False).ravel()
    for axes, dimension in zip(panels, shown, strict=False):
        values = latent[:, dimension]
        edges = bin_edges(values)
        style.tidy(axes, title=f"z{dimension + 1}")
        axes.set_yticks([])
        for code in np.unique(clusters):
            counts, _ = np.histogram(values[clusters == code], edges)
            share = counts / (clusters == code).sum()
            label = style.plain(names[code]) if axes is panels[0] else None
            axes.stairs(share, edges, color=style.colour(int(code)), linewidth=1.5, label=label)
    for axes in panels[len(shown) :]:
        axes.set_axis_off()
    style.legend_below(figure)
    return style.figure_png(figure)


def _telling(latent: npt.NDArray[np.float64], clusters: npt.NDArray[np.integer[Any]]) -> list[int]:
    """Return the dimensions in which clusters differ most, in their own order."""
    means = np.stack([latent[clusters == code].mean(axis=0) for code in np.unique(clusters)])
    spread = np.maximum(latent.var(axis=0), np.finfo(float).tiny)
    ranked = np.argsort(-means.var(axis=0) / spread, kind="stable")
    return sorted(ranked[:MOST_DIMENSIONS].tolist())


def cluster_correlations(
    latent: npt.NDArray[Any], clusters: npt.NDArray[np.integer[Any]], *, names: Sequence[str]
) -> bytes:
    """Draw how alike clusters are: the correlation of their means over the latent dimensions.

    Each dimension is scaled to mean 0 and standard deviation 1 over all points first, so that none outweighs
    the others. 1: the same direction from the middle of all points; -1: the opposite one.

    Parameters, returns and errors are those of `latent_distributions`.
    """
    kept = _in_clusters(latent, clusters, names)
    matrix, present = correlations(np.asarray(latent, np.float64)[kept], clusters[kept])
    labels = [style.plain(names[code]) for code in present]
    side_in = max(4.0, 1.6 + 0.55 * len(labels))
    figure = style.new_figure(width_in=max(style.WIDTH_IN, side_in + 1.5), height_in=side_in)
    axes = figure.subplots()
    drawn = axes.imshow(matrix, cmap="RdBu_r", vmin=-1, vmax=1)
    style.tidy(axes)
    axes.spines[:].set_visible(False)
    axes.set_xticks(np.arange(len(labels)), labels, rotation=45, ha="right")
    axes.set_yticks(np.arange(len(labels)), labels)
    for (row, column), value in np.ndenumerate(matrix):
        colour = "white" if abs(value) > 0.65 else style.INK
        axes.text(column, row, f"{value:.2f}", ha="center", va="center", fontsize=9.5, color=colour)
    figure.colorbar(drawn, ax=axes, shrink=0.8, label="Correlation")
    return style.figure_png(figure)


def correlations(
    latent: npt.NDArray[np.float64], clusters: npt.NDArray[np.integer[Any]]
) -> tuple[npt.NDArray[np.float64], list[int]]:
    """Return the correlation (k, k) of the means of the clusters present, and their numbers.

    Where a mean is the same in all dimensions, its correlation with others is 0.
    """
    deviation = latent.std(axis=0)
    scaled = (latent - latent.mean(axis=0)) / np.where(deviation > 0, deviation, 1.0)
    present = np.unique(clusters).tolist()
    means = np.stack([scaled[clusters == code].mean(axis=0) for code in present])
    centred = means - means.mean(axis=1, keepdims=True)
    length = np.linalg.norm(centred, axis=1, keepdims=True)
    units = np.where(length > 1e-12, centred / np.where(length > 1e-12, length, 1.0), 0.0)
    matrix = np.clip(units @ units.T, -1, 1)
    np.fill_diagonal(matrix, 1.0)
    return matrix, present


def traversals(images: npt.NDArray[Any], *, names: Sequence[str], steps: Sequence[float]) -> bytes:
    """Draw what a model makes of one point that moves along latent dimensions, a row a dimension.

    Parameters
    ----------
    images
        (dimensions, steps, y, x), all stretched alike.
    names
        Name of each dimension.
    steps
        How far each column is moved, in standard deviations of the dimension.

    Returns
    -------
    bytes
        A PNG.

    Raises
    ------
    ValueError
        The shape does not fit the names and steps, or is empty.
    """
    if images.ndim != 4 or images.shape[:2] != (len(names), len(steps)) or images.size == 0:
        raise ValueError(
            f"images: expected {len(names)} dimensions x {len(steps)} steps x y x, found shape "
            f"{images.shape}; give a name for each row and a step for each column"
        )
    grey = raster.stretched(images.reshape(-1, images.shape[-1]).astype(np.float32)).reshape(images.shape)
    figure = style.new_figure(width_in=style.WIDTH_IN, height_in=0.5 + 0.85 * len(names))
    panels = figure.subplots(len(names), len(steps), squeeze=False)
    for (row, column), axes in np.ndenumerate(panels):
        axes.imshow(grey[row, column], cmap="gray", vmin=0, vmax=255)
        style.bare(axes)
        if row == 0:
            axes.set_title(f"{steps[column]:+g}", fontsize=9.5, color=style.QUIET)
        if column == 0:
            axes.set_ylabel(style.plain(names[row]), fontsize=9.5, rotation=0, ha="right", va="center")
    return style.figure_png(figure)


def _in_clusters(
    latent: npt.NDArray[Any], clusters: npt.NDArray[np.integer[Any]], names: Sequence[str]
) -> npt.NDArray[np.bool_]:
    if latent.ndim != 2 or clusters.shape != (len(latent),) or latent.shape[1] == 0:
        raise ValueError(
            f"latent: expected (n, d) and n clusters, found {latent.shape} and {clusters.shape}; "
            "take both from one table"
        )
    kept: npt.NDArray[np.bool_] = clusters >= 0
    if not kept.any() or int(clusters.max()) >= len(names):
        raise ValueError(
            f"clusters: expected some numbers from 0 to {len(names) - 1}, found {np.unique(clusters)}; "
            "give a name for each"
        )
    return kept
