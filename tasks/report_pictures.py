"""The report's pictures, drawn from what the store holds."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from storage import arrays, images, layout, records, tables
from storage.objects import Objects
from storage.regions import Region
from tasks.kernels import page, pictures
from tasks.kernels.composition import composition
from tasks.report_populations import heat_maps, mapped, maps
from tasks.stage import Handle, folder
from tasks.train import loss_panels, read_history, read_model
from tasks.traversing import traversal_picture

if TYPE_CHECKING:
    from tasks.report import Trail


@dataclass(frozen=True)
class View:
    """The table of clusters: a row for each analysed cell, and where it lies on the map."""

    cells: pd.DataFrame
    umap: NDArray[np.float32]
    latent: NDArray[np.float64]

    @property
    def cluster_names(self) -> list[str]:
        """What the clusters are called."""
        return [f"cluster {number}" for number in range(int(self.clusters.max(initial=-1)) + 1)]

    @property
    def clusters(self) -> NDArray[np.int64]:
        """The cluster of each cell, -1 for none."""
        return self.cells["cluster"].to_numpy(np.int64)

    def codes(self, column: str) -> tuple[NDArray[np.int64], list[str]]:
        """Return a column of texts as codes into its sorted names; an empty text is -1, not known."""
        texts = self.cells[column].astype(str).to_numpy()
        names = sorted(set(texts) - {""})
        place = {name: code for code, name in enumerate(names)}
        return np.asarray([place.get(text, -1) for text in texts], dtype=np.int64), names


def read_view(objects: Objects, clusters: Handle) -> View:
    """Read the table of clusters."""
    table = tables.read_table(objects, folder("clusters", clusters.key, "cells.zarr"))
    umap, latent = (np.asarray(table.obsm[name]) for name in ("umap", "latent"))
    return View(table.obs, umap.astype(np.float32), latent.astype(np.float64))


def _name(cluster: int) -> str:
    return "noise" if cluster < 0 else f"cluster {cluster}"


def composition_of(view: View) -> page.Composition:
    """Return the cells of each condition in each cluster."""
    counted = composition(view.clusters, view.cells["condition"].astype(str).to_numpy())
    return page.Composition(
        clusters=tuple(_name(number) for number in counted.clusters),
        conditions=counted.conditions,
        cells=tuple(tuple(int(n) for n in row) for row in counted.counts),
    )


def examples(objects: Objects, view: View, trails: Sequence["Trail"]) -> page.PictureGroup:
    """Return, for some acquisitions, the first frame before and after, its labels, and cells by number."""
    shown: list[page.Picture] = []
    for trail in trails:
        raw_yx, clean_yx, labels_yx, pixel_size_um = _first_frame(objects, trail)
        name = trail.sample.name
        angle = trail.clean.metrics["angle_deg"]
        shown.append(
            page.Picture(
                f"{name}: before and after preprocessing",
                pictures.before_after(raw_yx, clean_yx, pixel_size_um=pixel_size_um, title=name),
                f"Left the recording, right the clean image, turned by {angle:.1f} degrees.",
                f"First frame of {name} before and after preprocessing",
                wide=True,
            )
        )
        shown.append(
            page.Picture(
                f"{name}: nuclei found",
                pictures.labels_over_image(clean_yx, labels_yx),
                f"{int(labels_yx.max())} nuclei found in the first frame, each outlined.",
                f"Outlines of the nuclei found in the first frame of {name}",
                wide=True,
            )
        )
        shown += heat_maps(objects, view, trail)
    return page.PictureGroup("From recording to nuclei", tuple(shown))


def _first_frame(
    objects: Objects, trail: "Trail"
) -> tuple[NDArray[np.generic], NDArray[np.generic], NDArray[np.generic], float | None]:
    clean_record = records.read(objects, "clean", trail.clean.key)
    raw = images.open_image(objects, layout.image_path("raw", clean_record.parents[0].key))
    clean = images.open_image(objects, layout.image_path("clean", trail.clean.key))
    labels = images.open_image(objects, layout.labels_path(trail.clean.key, trail.labels.key))
    plane = clean.plane(0, 0, 0)
    where = Region((plane.start[0], *plane.start[2:]), (plane.stop[0], *plane.stop[2:]))
    raw_yx = raw.read(raw.plane(0, clean_record.details["channel"], 0))[0, 0, 0]
    return raw_yx, clean.read(plane)[0, 0, 0], labels.read(where)[0, 0], clean.metadata.pixel_size_um[1]


def populations(
    objects: Objects, view: View, trails: Sequence["Trail"], per_cluster: int
) -> page.PictureGroup:
    """Return patches of each cluster, and maps of all cells."""
    conditions, condition_names = view.codes("condition")
    shown = [_patches(objects, view, trails, per_cluster)]
    shown.append(mapped(view.umap, view.clusters, view.cluster_names, "UMAP", "cluster"))
    shown.append(mapped(view.umap, conditions, condition_names, "UMAP", "condition"))
    if "population" in view.cells:
        shown.append(mapped(view.umap, *view.codes("population"), "UMAP", "known population"))
    return page.PictureGroup("Populations", (*shown, *maps(view)))


def spread(view: View) -> page.Picture:
    """Return how each condition's cells spread over the clusters."""
    counted = composition(view.clusters, view.cells["condition"].astype(str).to_numpy())
    return page.Picture(
        "How conditions spread over clusters",
        pictures.composition_bars(
            counted.counts,
            clusters=[_name(number) for number in counted.clusters],
            conditions=view.codes("condition")[1],
        ),
        "Percent of each condition's cells that fall in each cluster.",
        "Bars: percent of each condition in each cluster",
    )


def _patches(objects: Objects, view: View, trails: Sequence["Trail"], per_cluster: int) -> page.Picture:
    """Read only the patches that are drawn."""
    chosen = pictures.spread_rows(view.clusters, per_group=per_cluster)
    rows = np.sort(np.concatenate(list(chosen.values())))
    parts = view.cells["part"].to_numpy(np.int64)
    first = np.searchsorted(parts, np.arange(len(trails)))
    patches = []
    for row in rows:
        array = arrays.open_array(objects, folder("patches", trails[parts[row]].patches.key, "patches.zarr"))
        place = int(row - first[parts[row]])
        patches.append(array.read(Region((place, 0, 0, 0), (place + 1, *array.shape[1:])))[0, 0])
    sheet = pictures.patch_sheet(
        np.asarray(patches, dtype=np.float32),
        view.clusters[rows],
        per_group=per_cluster,
        titles={number: _name(number) for number in chosen},
    )
    return page.Picture(
        "Patches of each cluster",
        sheet,
        "Nuclei drawn evenly from each cluster, all with the same contrast.",
        "Sample nuclei of each cluster",
        wide=True,
    )


def trends(objects: Objects, trails: Sequence["Trail"]) -> page.PictureGroup:
    """Return the quality of the raw frames over time, those out of range marked."""
    found = {trail.sample.name: records.read(objects, "clean", trail.clean.key) for trail in trails}
    drawn = page.Picture(
        "Quality of the frames",
        pictures.trend_picture({name: _trend(record.details) for name, record in found.items()}),
        "Sharpness, contrast and saturation of each raw frame; marked are frames that are blurred, empty or "
        "saturated.",
        "Charts over time: focus score, signal to noise, saturated pixels",
    )
    return page.PictureGroup("Quality of the recordings", (drawn,))


def _trend(details: dict[str, Any]) -> pictures.Trend:
    """Return the numbers over time of the first z plane."""
    raw = [row["raw"] for row in details["quality"] if row["z"] == 0]
    return pictures.Trend(
        focus=np.asarray([row["focus"] for row in raw]),
        snr=np.asarray([row["snr"] for row in raw]),
        saturated_share=np.asarray([row["saturated_share"] for row in raw]),
        flagged={one["t"]: one["reason"] for one in details["flagged"] if one["z"] == 0},
    )


def learning(objects: Objects, view: View, model: Handle) -> page.PictureGroup:
    """Return the loss curves and latent traversals."""
    curves = pictures.loss_curves(loss_panels(read_history(objects, model)))
    drawn = page.Picture("Losses by epoch", curves, "Loss of each epoch, in nats a patch.", "Loss curves")
    moved = page.Picture(
        "Latent traversals",
        traversal_picture(read_model(objects, model), view.latent),
        "What the network draws of the mean cell while one latent number moves, in standard deviations: the "
        "numbers that vary most.",
        "Rows of drawn nuclei, a row for each latent number",
        wide=True,
    )
    return page.PictureGroup("How the network learned", (drawn, moved))
