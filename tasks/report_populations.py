"""The report's pictures of populations: maps, latent space, measured sizes, cells on the image."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from storage import images, layout
from storage.objects import Objects
from storage.regions import Region
from tasks.kernels import page, pictures
from tasks.kernels.clustering import drawn_rows
from tasks.kernels.projection import tsne_2d

if TYPE_CHECKING:
    from tasks.report import Trail
    from tasks.report_pictures import View

MOST_TSNE = 3000  # cells of a t-SNE, which takes 17 s then on two cores
BOX_AXES = {"Height": "y", "Width": "x"}


def maps(view: "View") -> list[page.Picture]:
    """Return the UMAP by chip, and a t-SNE by cluster, condition, chip and truth."""
    rows = drawn_rows(len(view.cells), MOST_TSNE, seed=0)
    tsne = tsne_2d(view.latent[rows], seed=0)
    shown = [mapped(view.umap, *view.codes("chip"), "UMAP", "chip")]
    codes = {"cluster": (view.clusters, view.cluster_names)}
    codes |= {name: view.codes(name) for name in ("condition", "chip")}
    if "population" in view.cells:
        codes["known population"] = view.codes("population")
    for what, (numbers, names) in codes.items():
        shown.append(mapped(tsne, numbers[rows], names, "t-SNE", what))
    return shown


def mapped(
    points: NDArray[np.floating], codes: NDArray[np.int64], names: list[str], kind: str, what: str
) -> page.Picture:
    """Return a map of cells, coloured by what they are."""
    drawn = pictures.scatter_2d(
        points,
        codes,
        title="",
        legend=names,
        colours=pictures.CONDITIONS if what == "condition" else pictures.CATEGORIES,
        number_centres=what == "cluster",
    )
    some = f" {len(points):,} cells are drawn." if kind == "t-SNE" else ""
    return page.Picture(
        f"{kind} by {what}",
        drawn,
        f"Each point is a cell, near points look alike to the network; colours show the {what}.{some}",
        f"{kind} of the cells coloured by {what}",
    )


def latent_space(view: "View") -> page.PictureGroup:
    """Return what the latent dimensions hold of each cluster, and how alike the clusters are."""
    shown = []
    if (view.clusters >= 0).any():
        given = (view.latent, view.clusters)
        shown.append(
            page.Picture(
                "Latent dimensions by cluster",
                pictures.latent_distributions(*given, names=view.cluster_names),
                "Distribution of each latent number in each cluster; where there are more than 16, of those "
                "that tell the clusters apart best.",
                "Small histograms of latent dimensions, a line for each cluster",
                wide=True,
            )
        )
        shown.append(
            page.Picture(
                "How alike the clusters are",
                pictures.cluster_correlations(*given, names=view.cluster_names),
                "Correlation of the clusters' means over the latent dimensions, each scaled alike.",
                "Table of correlations between clusters",
            )
        )
    if "population" in view.cells:
        shown.append(_confusion(view))
    return page.PictureGroup("The latent space", tuple(shown))


def _confusion(view: "View") -> page.Picture:
    populations, names = view.codes("population")
    names, clusters = [*names, "not known"], [*view.cluster_names, "noise"]
    counts = np.zeros((len(names), len(clusters)), np.int64)
    np.add.at(counts, (populations, view.clusters), 1)  # -1 is the last
    rows, columns = (np.flatnonzero(counts.any(axis=axis)) for axis in (1, 0))
    return page.Picture(
        "Known populations and clusters",
        pictures.confusion(
            counts[rows][:, columns],
            [names[row] for row in rows],
            [clusters[column] for column in columns],
            row_axis="known population",
            column_axis="cluster",
        ),
        "Cells of each known population in each cluster, and the share of the population.",
        "Confusion matrix of known populations and clusters",
    )


def sizes(view: "View") -> page.PictureGroup:
    """Return the distributions of area, height and width by condition and by acquisition."""
    conditions, condition_names = view.codes("condition")
    acquisitions, acquisition_names = view.codes("acquisition")
    shown = []
    for name in ("Area", *BOX_AXES):
        values, unit = _measured(view, name)
        label = f"{name} in {unit}"
        shown.append(
            page.Picture(
                f"{name} of nuclei by condition",
                pictures.histogram_by_condition(values, conditions, label, names=condition_names),
                f"Distribution of the nuclei's {name.lower()} in {unit}, by condition.",
                f"Histogram of {name.lower()} by condition",
            )
        )
        shown.append(
            page.Picture(
                f"{name} of nuclei by acquisition",
                pictures.spread_by_acquisition(
                    values,
                    acquisitions,
                    conditions,
                    label,
                    names=acquisition_names,
                    condition_names=condition_names,
                ),
                "Boxes: the middle half, lines: the median, whiskers: nine cells of ten. In brackets: cells.",
                f"Box plots of {name.lower()} by acquisition",
            )
        )
    return page.PictureGroup("Sizes of nuclei", tuple(shown))


def _measured(view: "View", name: str) -> tuple[NDArray[np.float64], str]:
    """Return a size and its unit: areas in px where um is not known, heights and widths of the boxes."""
    if name in BOX_AXES:
        first, last = (view.cells[f"bbox_{BOX_AXES[name]}{end}_px"].to_numpy(np.float64) for end in (0, 1))
        return last - first, "px"
    areas_um2 = view.cells["area_um2"].to_numpy(np.float64)
    known = bool(np.isfinite(areas_um2).all())
    return (areas_um2, "um²") if known else (view.cells["area_px"].to_numpy(np.float64), "px")


def heat_maps(objects: Objects, view: "View", trail: "Trail") -> list[page.Picture]:
    """Return the first frame of an acquisition with its cells coloured by area and by cluster."""
    here = (view.cells["acquisition"].astype(str) == trail.labels.name).to_numpy()
    here &= (view.cells[["t", "z"]].to_numpy() == 0).all(axis=1)
    if not here.any():
        return []
    columns = {"area_px": "Area in px", "cluster": "Cluster"}
    if np.isfinite(view.cells.loc[here, "condition_probability"]).any():
        columns["condition_probability"] = "Probability of its condition"
    return [heat_map(objects, view, trail, here, column, label) for column, label in columns.items()]


def heat_map(
    objects: Objects, view: "View", trail: "Trail", rows: NDArray[np.bool_], column: str, label: str
) -> page.Picture:
    """Return a frame with its cells coloured by any column of the table; `rows` are cells of that frame."""
    cells = view.cells[rows]
    t, z = (int(cells[name].iloc[0]) for name in ("t", "z"))
    image = images.open_image(objects, layout.image_path("clean", trail.clean.key))
    labels = images.open_image(objects, layout.labels_path(trail.clean.key, trail.labels.key))
    plane = image.plane(t, 0, z)
    yx = image.read(plane)[0, 0, 0]
    labels_yx = labels.read(Region((t, z, *plane.start[3:]), (t + 1, z + 1, *plane.stop[3:])))[0, 0]
    values = cells[column].to_numpy()
    numbers = cells["label"].to_numpy(np.int64).tolist()
    if column == "cluster":
        by_label = dict(zip(numbers, values.astype(int).tolist(), strict=True))
        drawn = pictures.labels_over_image(yx, labels_yx, colours_by=by_label)
    else:
        by_number = dict(zip(numbers, values.astype(float).tolist(), strict=True))
        drawn = pictures.heat_over_image(yx, labels_yx, by_number, label)
    return page.Picture(
        f"{trail.sample.name}: {label.lower()} of each nucleus",
        drawn,
        f"Nuclei of a frame coloured by {label.lower()}; those that were not analysed stay grey.",
        f"Nuclei of {trail.sample.name} coloured by {label.lower()}",
        wide=True,
    )
