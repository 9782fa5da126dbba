"""What view and the overlays show, without a viewer."""

import io
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from storage import records, tables
from storage.arrays import Digests
from storage.errors import InputError
from storage.lazy import LazyArray
from storage.objects import Objects, open_store
from storage.ome_tiff import opened
from storage.records import Record, commit
from tasks import looked_at
from tasks.kernels.pictures import style
from tests.support import Carried, cells_of, clean_of, labels_of


@pytest.fixture
def clustered(carried: tuple[Objects, list[Carried]], tmp_path: Path) -> tuple[Objects, Carried, Record]:
    """A store where the cells of two recordings are in cluster 0, 1, 0, ... and the last cell in none."""
    shutil.copytree(carried[0].url, tmp_path / "store")
    objects, both = open_store(str(tmp_path / "store")), carried[1][:2]
    names = [
        f"{one.labels.key[:12]}-{name}" for one in both for name in cells_of(objects, one.labels).index[:-1]
    ]
    written: Digests = {}
    folder = "artifacts/clusters/cc"
    tables.write_table(
        objects,
        f"{folder}/cells.zarr",
        names=names,
        columns={"cluster": np.arange(len(names)) % 2},
        written=written,
    )
    parents = tuple(records.read(objects, "patches", one.patches.key).reference for one in both)
    record = Record(kind="clusters", key="cc", name="both", path=folder, parents=parents)
    return objects, both[0], commit(objects, record, written)


@pytest.mark.parametrize("kind", ["raw", "clean", "labels", "clusters"])
def test_from_any_of_them_all_are_found(clustered, kind: str) -> None:
    objects, one, clusters = clustered
    record = clusters if kind == "clusters" else records.read(objects, kind, getattr(one, kind).key)
    found = looked_at.sights(objects, record)
    assert len(found) == (2 if kind == "clusters" else 1)
    mine = next(sight for sight in found if sight.labels.key == one.labels.key)
    assert (mine.raw.key, mine.clean.key, mine.clusters) == (one.raw.key, one.clean.key, clusters)


def test_the_layers_are_the_stores_pixels_and_the_cells_by_cluster(clustered) -> None:
    objects, one, _ = clustered
    sight = looked_at.sights(objects, records.read(objects, "labels", one.labels.key))[0]
    raw, clean, labels, cells = looked_at.layers(objects, sight)
    assert [layer.kind for layer in (raw, clean, labels, cells)] == ["image", "image", "labels", "points"]
    np.testing.assert_array_equal(np.asarray(clean.data[0])[:, 0], clean_of(objects, one.clean))
    np.testing.assert_array_equal(np.asarray(labels.data[0]), labels_of(objects, one.clean, one.labels))
    assert clean.options["scale"] == labels.options["scale"] == cells.options["scale"]
    assert (raw.options["visible"], clean.options["visible"]) == (False, True)
    clusters_of = cells.options["features"]["cluster"].to_numpy()
    assert list(clusters_of[:2]) == [0, 1]
    assert clusters_of[-1] == -1
    wanted = [[part / 255 for part in style.rgb(style.colour(number))] for number in clusters_of]
    np.testing.assert_allclose(cells.options["face_color"], wanted)
    for (t, z, y, x), label in zip(cells.data, cells.options["features"]["label"], strict=True):
        around = np.asarray(labels.data[0][int(t), int(z)])
        ys, xs = np.nonzero(around == label)
        np.testing.assert_allclose((ys.mean(), xs.mean()), (y, x), atol=1e-3)


def test_the_recording_lies_under_the_clean_image(clustered) -> None:
    """A cell's middle in raw pixels lands on its middle in the clean image, in micrometres."""
    objects, one, _ = clustered
    clean = opened(objects, records.read(objects, "clean", one.clean.key))
    place = looked_at.raw_in_clean(clean)
    _, z_um, y_um, x_um = looked_at._scale(clean)
    for _, cell in cells_of(objects, one.labels).iterrows():
        raw = [cell["t"], cell["z"], cell["centroid_y_raw_px"], cell["centroid_x_raw_px"], 1.0]
        wanted = [
            cell["t"],
            cell["z"] * z_um,
            cell["centroid_y_px"] * y_um,
            cell["centroid_x_px"] * x_um,
            1.0,
        ]
        np.testing.assert_allclose(place @ raw, wanted, atol=1e-3)


def test_without_clusters_or_labels_there_is_less_to_see(carried) -> None:
    objects, (one, *_) = carried
    sight = looked_at.sights(objects, records.read(objects, "labels", one.labels.key))[0]
    assert sight.clusters is None
    assert set(looked_at.cells_of(objects, sight)["cluster"]) == {-1}
    alone = looked_at.layers(objects, looked_at.Sight(raw=sight.raw))
    assert [layer.kind for layer in alone] == ["image"]
    assert "affine" not in alone[0].options


@pytest.mark.parametrize(
    "index",
    [0, -1, (1, 0), (slice(None), 0, slice(3, 90, 7)), (..., slice(50, 10, -3)), (0, ..., 5), (slice(5, 5),),
     (slice(None), slice(None), slice(None, None, 2), slice(None, None, 3)), ...],
)  # fmt: skip
def test_a_lazy_array_is_indexed_as_numpy_would(carried, index) -> None:
    objects, (one, *_) = carried
    lazy = LazyArray(opened(objects, records.read(objects, "labels", one.labels.key)).levels[0])
    whole = labels_of(objects, one.clean, one.labels)
    assert (lazy.shape, lazy.ndim, lazy.dtype) == (whole.shape, whole.ndim, whole.dtype)
    np.testing.assert_array_equal(lazy[index], whole[index])


def test_a_channel_is_an_array_without_that_axis(carried) -> None:
    objects, (one, *_) = carried
    lazy = LazyArray(opened(objects, records.read(objects, "clean", one.clean.key)).levels[0], (1, 0))
    np.testing.assert_array_equal(lazy[:, 0], clean_of(objects, one.clean))
    with pytest.raises(IndexError):
        lazy[99]


def test_an_overlay_for_each_frame_in_the_colours_of_clusters(clustered, tmp_path: Path) -> None:
    objects, one, _ = clustered
    sight = looked_at.sights(objects, records.read(objects, "labels", one.labels.key))[0]
    assert looked_at.export_overlays(objects, sight, tmp_path / "out") == 2
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["t0000_z000.png", "t0001_z000.png"]
    picture = Image.open(io.BytesIO((tmp_path / "out" / "t0000_z000.png").read_bytes())).convert("RGB")
    colours = {colour for _, colour in picture.getcolors(2**24)}
    assert {style.rgb(style.CATEGORIES[0]), style.rgb(style.CATEGORIES[1])} <= colours
    with pytest.raises(InputError, match="exists already"):
        looked_at.export_overlays(objects, sight, tmp_path / "out")
