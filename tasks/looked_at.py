"""What people look at together: a clean image, its labels, and its cells by cluster."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from storage import layout, records, tables
from storage.images import OmeImage
from storage.lazy import LazyArray
from storage.objects import Objects
from storage.ome_tiff import opened
from storage.records import Record
from storage.regions import Region
from storage.staging import staged
from tasks.kernels import pictures
from tasks.kernels.pictures import style

KINDS = ("raw", "clean", "labels", "clusters")


@dataclass(frozen=True)
class Sight:
    """The artifacts of one recording that are shown together; None is "there is none"."""

    raw: Record | None = None
    clean: Record | None = None
    labels: Record | None = None
    clusters: Record | None = None


def sights(objects: Objects, record: Record) -> list[Sight]:
    """Return what belongs to an artifact: of clusters a sight for each recording, of others one.

    From what an artifact was made is certain; of what was made from it the newest is taken.
    """
    every = records.listing(objects)
    if record.kind == "clusters":
        chain = records.lineage(objects, record)
        return [_sight(every, labels, record) for labels in chain if labels.kind == "labels"]
    return [_sight(every, record, None)]


def _sight(every: list[Record], record: Record, clusters: Record | None) -> Sight:
    found: dict[str, Record | None] = {record.kind: record, "clusters": clusters}
    known = {one.reference: one for one in every}
    for child, kind in (("labels", "clean"), ("clean", "raw")):
        made = found.get(child)
        if made is not None and found.get(kind) is None:
            found[kind] = next((known.get(one) for one in made.parents if one.kind == kind), None)
    for parent, kind in (("raw", "clean"), ("clean", "labels")):
        made = found.get(parent)
        if made is not None and found.get(kind) is None:
            children = [one for one in every if one.kind == kind and made.reference in one.parents]
            found[kind] = children[-1] if children else None
    labels = found.get("labels")
    if labels is not None and clusters is None:
        found["clusters"] = _newest_clusters(every, labels)
    return Sight(**found)


def _newest_clusters(every: list[Record], labels: Record) -> Record | None:
    """Return the last clusters that hold cells of these labels."""
    descended = {labels.reference}
    newest = None
    for one in every:  # the oldest first, so parents before children
        if not descended.isdisjoint(one.parents):
            descended.add(one.reference)
            newest = one if one.kind == "clusters" else newest
    return newest


def cells_of(objects: Objects, sight: Sight) -> pd.DataFrame:
    """Return the table of the cells found, with a column `cluster`: -1 is "in none"."""
    assert sight.labels is not None
    path = f"{layout.artifact_folder('labels', sight.labels.key)}/cells.zarr"
    cells: pd.DataFrame = tables.read_table(objects, path).obs.copy()
    cells["cluster"] = -1
    if sight.clusters is not None:
        folder = layout.artifact_folder("clusters", sight.clusters.key)
        known = tables.read_table(objects, f"{folder}/cells.zarr").obs["cluster"]
        names = [layout.cell_name(sight.labels.key, name) for name in cells.index]
        cells["cluster"] = known.reindex(names).fillna(-1).to_numpy(np.int64)
    return cells


@dataclass(frozen=True)
class Layer:
    """One layer of a viewer: `viewer.add_KIND(data, **options)` in napari."""

    kind: Literal["image", "labels", "points"]
    data: Any
    options: dict[str, Any]


def layers(objects: Objects, sight: Sight) -> list[Layer]:
    """Return the layers of a sight, axes t z y x, in micrometres where the pixel size is known.

    The recording lies under the clean image as that was turned. Pixels are read when they are shown, from
    the level of the pyramid that the screen needs.
    """
    shown: list[Layer] = []
    picture = sight.clean or sight.raw
    if sight.raw is not None:
        turned = {} if sight.clean is None else {"affine": raw_in_clean(opened(objects, sight.clean))}
        shown += _picture_layers(objects, sight.raw, turned)
    if sight.clean is not None:
        shown += _picture_layers(objects, sight.clean, {})
    if sight.labels is not None:
        image = opened(objects, sight.labels)
        data = [LazyArray(level) for level in image.levels]
        scale = _scale(opened(objects, picture or sight.labels))
        options = {"name": "labels", "scale": scale, "opacity": 0.4, "multiscale": True}
        shown.append(Layer("labels", data, options))
        shown.append(_cells_layer(cells_of(objects, sight), scale))
    return shown


def raw_in_clean(clean: OmeImage) -> NDArray[np.float64]:
    """Return the affine map, 5 x 5, from raw pixels t z y x to the micrometres of the clean image."""
    to_raw = np.vstack([clean.metadata.extra["clean_to_raw"]["affine"], [0.0, 0.0, 1.0]])
    _, z, y, x = _scale(clean)
    turned = np.diag([y, x, 1.0]) @ np.linalg.inv(to_raw)
    whole = np.diag([1.0, z, 1.0, 1.0, 1.0])
    whole[2:4, 2:4], whole[2:4, 4] = turned[:2, :2], turned[:2, 2]
    return whole


def _picture_layers(objects: Objects, record: Record, turned: dict[str, Any]) -> Iterator[Layer]:
    """Yield a layer for each channel."""
    image = opened(objects, record)
    names = image.metadata.channel_names or tuple(f"channel {c}" for c in range(image.shape[1]))
    for channel, name in enumerate(names):
        options: dict[str, Any] = {
            "name": f"{record.kind} {name}",
            "scale": _scale(image),
            "multiscale": True,
        }
        if len(image.metadata.windows) > channel:
            options["contrast_limits"] = image.metadata.windows[channel]
        options |= {"blending": "additive", "colormap": "gray", "visible": channel == 0 and not turned}
        if turned:
            del options["scale"]  # the map holds it
        options |= turned
        yield Layer("image", [LazyArray(level, (1, channel)) for level in image.levels], options)


def _scale(image: OmeImage) -> tuple[float, ...]:
    return (1.0, *(size_um or 1.0 for size_um in image.metadata.pixel_size_um))


def _cells_layer(cells: pd.DataFrame, scale: tuple[float, ...]) -> Layer:
    """A point in the middle of each cell: a label's number is another cell's in the next frame."""
    places = cells[["t", "z", "centroid_y_px", "centroid_x_px"]].to_numpy(np.float64)
    colours = [style.colour(int(number)) for number in cells["cluster"]]
    options = {
        "name": "cells by cluster",
        "scale": scale,
        "features": cells.reset_index(names="cell_id"),
        "face_color": np.array([[part / 255 for part in style.rgb(one)] for one in colours]).reshape(-1, 3),
        "size": 8,
    }
    return Layer("points", places, options)


def export_overlays(objects: Objects, sight: Sight, out: Path) -> int:
    """Write a PNG of each frame: the clean image with its labels' outlines, coloured by cluster if known.

    Returns
    -------
    The number of pictures, named by time and depth.

    Raises
    ------
    InputError
        `out` exists and is not an empty folder, or lies in the store.
    """
    assert sight.clean is not None
    assert sight.labels is not None
    clean, labels = opened(objects, sight.clean), opened(objects, sight.labels)
    cells = cells_of(objects, sight)
    frames = [(t, z) for t in range(labels.shape[0]) for z in range(labels.shape[1])]
    with staged(objects, out, is_folder=True) as staging:
        staging.mkdir()
        for t, z in frames:
            region = Region((t, z, 0, 0), (t + 1, z + 1, *labels.shape[-2:]))
            yx, numbers = clean.read(clean.plane(t, 0, z))[0, 0, 0], labels.read(region)[0, 0]
            png = pictures.labels_over_image(yx, numbers, colours_by=_clusters_at(cells, sight, t, z))
            (staging / f"t{t:04d}_z{z:03d}.png").write_bytes(png)
    return len(frames)


def _clusters_at(cells: pd.DataFrame, sight: Sight, t: int, z: int) -> dict[int, int] | None:
    """Return the cluster of each label of a plane; None where nothing is clustered."""
    if sight.clusters is None:
        return None
    here: NDArray[np.int64] = cells.loc[(cells["t"] == t) & (cells["z"] == z), ["label", "cluster"]].to_numpy(
        np.int64
    )
    return {int(label): int(cluster) for label, cluster in here}
