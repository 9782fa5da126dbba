import errno
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import anndata
import ngio
import numpy as np
import pandas as pd
import pytest
import yaozarrs

from storage import images, layout, records, tables
from storage.arrays import Digests, digest
from storage.errors import DamagedStoreError, InputError, StoreError
from storage.exporting import export_image, export_plate, export_table
from storage.objects import Objects
from storage.ome import ImageMetadata
from storage.plates import Field, plan_plate
from storage.records import Record, Reference
from storage.samples import Sample
from tasks.kernels.pyramid import downsample_labels, downsample_mean
from tests.support import ROOT

METADATA = ImageMetadata(
    name="chip 1",
    pixel_size_um=(2.0, 0.5, 0.25),
    time_interval_s=30.0,
    channel_names=("DAPI",),
    windows=((0.0, 9.0),),
)
HERE = socket.gethostname()
DEAD = 2**22 + 1  # above the largest process number of Linux


def fill(objects: Objects, path: str, shape: tuple[int, ...], seed: int) -> tuple[Digests, np.ndarray]:
    written: Digests = {}
    labels = len(shape) == 4
    image = images.create_image(
        objects,
        path,
        shape=shape,
        dtype="uint32" if labels else "uint16",
        metadata=METADATA,
        written=written,
        shard_px=256,
    )
    pixels = np.random.default_rng(seed).integers(0, 99, shape).astype(image.dtype)
    for unit in image.units():
        image.write(unit, pixels[unit.slices], downsample_labels if labels else downsample_mean)
    return written, pixels


def clean_image(objects: Objects, key: str, *, seed: int = 1, labelled: bool = True):
    """A clean image 300 px wide, and its labels: a record and the pixels of each."""
    raw = Reference(kind="raw", key=f"raw{key}")
    path = layout.image_path("clean", key)
    written, yx = fill(objects, path, (2, 1, 1, 200, 300), seed)
    clean = Record(kind="clean", key=key, name=key, path=path, parents=(raw,))
    clean = records.commit(objects, clean, written)
    if not labelled:
        return clean, yx, None
    path = layout.labels_path(key, f"cells{key}")
    written, masks = fill(objects, path, (2, 1, 200, 300), seed + 1)
    elsewhere = layout.artifact_folder("labels", f"cells{key}") + "/cells.zarr/zarr.json"
    objects.put(elsewhere, b"{}")
    written[elsewhere] = digest(b"{}")
    labels = Record(kind="labels", key=f"cells{key}", name=key, path=path, parents=(clean.reference,))
    records.commit(objects, labels, written)
    images.list_labels(objects, key, [f"cells{key}"])
    return clean, yx, masks


def files(folder: Path) -> dict[str, bytes]:
    found = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_an_image_is_copied_byte_for_byte_with_its_labels(store: Objects, tmp_path: Path) -> None:
    clean, yx, masks = clean_image(store, "aa")
    finished = set(store.names(clean.path))
    fill(store, layout.labels_path("aa", "unfinished"), (2, 1, 200, 300), 5)
    before = {name: store.get(name) for name in store.names("")}
    out = tmp_path / "deep" / "image.ome.zarr"
    heard: list[tuple[int, int]] = []
    assert export_image(store, clean, out, lambda *counts: heard.append(counts)) == ["cellsaa"]
    assert files(out) == {name.removeprefix(f"{clean.path}/"): before[name] for name in finished}
    assert heard[-1] == (len(finished) - 1,) * 2  # the list of labels is written anew
    assert {name: store.get(name) for name in store.names("")} == before
    assert names_in(out.parent) == [out.name]
    yaozarrs.validate_zarr_store(str(out))
    opened = ngio.open_ome_zarr_container(str(out), mode="r")
    assert np.array_equal(opened.get_image(path="0").get_as_numpy(), yx)
    assert np.array_equal(opened.get_label("cellsaa", path="0").get_as_numpy(), masks)


def test_a_raw_image_is_valid_and_has_no_labels(local: Objects, tmp_path: Path) -> None:
    path = layout.image_path("raw", "rr")
    written, pixels = fill(local, path, (1, 2, 1, 40, 50), 1)
    raw = records.commit(local, Record(kind="raw", key="rr", name="r", path=path), written)
    assert export_image(local, raw, tmp_path / "raw.zarr") == []
    yaozarrs.validate_zarr_store(str(tmp_path / "raw.zarr"))
    opened = ngio.open_ome_zarr_container(str(tmp_path / "raw.zarr"), mode="r")
    assert np.array_equal(opened.get_image(path="0").get_as_numpy(), pixels)
    assert opened.list_labels() == []


def test_a_plate_is_valid_and_ngio_finds_every_image_and_label(local: Objects, tmp_path: Path) -> None:
    places = {
        "aa": ("chip 10", "wild type", "p2"),
        "bb": ("chip 2", "BRAF", "p10"),
        "cc": ("chip 2", "BRAF", "p9"),
        "dd": ("chip 2", "wild type", ""),
    }
    made = {
        key: clean_image(local, key, seed=n, labelled=key != "dd") for n, key in enumerate(places, start=10)
    }
    said = {
        key: Sample(file=key, chip=chip, condition=condition, position=position)
        for key, (chip, condition, position) in places.items()
    }
    out = tmp_path / "my plate.ome.zarr"
    counts = export_plate(local, plan_plate(Field(made[key][0], said[key]) for key in places), out)
    assert counts == {"images": 4, "labels": 3}
    yaozarrs.validate_zarr_store(str(out))
    plate = ngio.open_ome_zarr_plate(str(out), mode="r")
    assert plate.rows == ["chip2", "chip10"]
    assert plate.columns == ["BRAF", "wildtype"]
    assert plate.wells_paths() == ["chip2/BRAF", "chip2/wildtype", "chip10/wildtype"]
    assert json.loads((out / "zarr.json").read_text())["attributes"]["ome"]["plate"]["name"] == "my plate"
    where = {
        "aa": ("chip10", "wildtype", "0"),
        "bb": ("chip2", "BRAF", "1"),
        "cc": ("chip2", "BRAF", "0"),
        "dd": ("chip2", "wildtype", "0"),
    }
    assert sorted(plate.images_paths(max_workers=1)) == sorted("/".join(path) for path in where.values())
    for key, path in where.items():
        image = plate.get_image(*path)
        assert np.array_equal(image.get_image(path="0").get_as_numpy(), made[key][1])
        assert image.get_image(path="0").pixel_size.y == 0.5
        if key == "dd":
            assert image.list_labels() == []
        else:
            label = image.get_label(f"cells{key}", path="0")
            assert np.array_equal(label.get_as_numpy(), made[key][2])


def test_an_image_whose_bytes_were_changed_is_not_exported(store: Objects, tmp_path: Path) -> None:
    clean, _, _ = clean_image(store, "aa")
    shard = f"{clean.path}/0/c/1/0/0/0/0"
    content = store.get(shard)
    store.put(shard, content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(DamagedStoreError, match=shard):
        export_image(store, clean, tmp_path / "out" / "image.zarr")
    store.delete([shard])
    with pytest.raises(InputError, match=shard):
        export_image(store, clean, tmp_path / "out" / "image.zarr")
    assert names_in(tmp_path / "out") == []


def test_nothing_is_replaced(local: Objects, tmp_path: Path) -> None:
    clean, _, _ = clean_image(local, "aa")
    full, single = tmp_path / "full", tmp_path / "a file"
    full.mkdir()
    (full / "mine.txt").write_text("mine")
    single.write_text("mine")
    for taken in (full, single):
        with pytest.raises(InputError, match="exists already"):
            export_image(local, clean, taken)
    assert files(full) == {"mine.txt": b"mine"}
    assert single.read_text() == "mine"
    with pytest.raises(InputError, match="lies in the store"):
        export_image(local, clean, Path(local.url) / "exports" / "image.zarr")
    assert not (Path(local.url) / "exports").exists()
    (tmp_path / "empty").mkdir()
    export_image(local, clean, tmp_path / "empty")
    yaozarrs.validate_zarr_store(str(tmp_path / "empty"))


def test_of_two_exports_to_one_place_the_quicker_stays(local: Objects, tmp_path: Path) -> None:
    clean, _, _ = clean_image(local, "aa")
    out = tmp_path / "out" / "image.zarr"

    def other_is_done(done: int, total: int) -> None:
        if done == total:
            out.mkdir()
            (out / "theirs").write_text("theirs")

    with pytest.raises(InputError, match="exists already"):
        export_image(local, clean, out, other_is_done)
    assert names_in(out.parent) == [out.name]
    assert files(out) == {"theirs": b"theirs"}


KILLED = """
import os, signal, sys
from pathlib import Path
from storage import exporting, records
from storage.objects import open_store
calls, copy = [], exporting._copy
def dies(*given):
    calls.append(1)
    if len(calls) == 5:
        os.kill(os.getpid(), signal.SIGKILL)
    copy(*given)
exporting._copy = dies
objects = open_store(sys.argv[1])
exporting.export_image(objects, records.read(objects, "clean", "aa"), Path(sys.argv[2]))
"""


def test_a_killed_export_leaves_nothing_finished_and_the_next_one_works(
    local: Objects, tmp_path: Path
) -> None:
    clean, _, _ = clean_image(local, "aa")
    out = tmp_path / "out" / "image.zarr"
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, local.url, str(out)], cwd=ROOT, capture_output=True, check=False
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    (left,) = names_in(out.parent)
    assert left.startswith(f"image.zarr.unfinished-{HERE}-")
    export_image(local, clean, out)
    assert names_in(out.parent) == ["image.zarr"]
    export_image(local, clean, tmp_path / "unbroken")
    assert files(out) == files(tmp_path / "unbroken")


def test_only_what_killed_exports_to_the_same_place_left_is_swept(local: Objects, tmp_path: Path) -> None:
    clean, _, _ = clean_image(local, "aa")
    (tmp_path / "out").mkdir()
    names = {
        "dead": f"i.zarr.unfinished-{HERE}-{DEAD}",
        "alive": f"i.zarr.unfinished-{HERE}-{os.getppid()}",
        "other host": f"i.zarr.unfinished-elsewhere-{DEAD}",
        "other place": f"j.zarr.unfinished-{HERE}-{DEAD}",
        "a note": f"i.zarr.unfinished-{HERE}-notes",
    }
    for name in names.values():
        (tmp_path / "out" / name).mkdir()
    export_image(local, clean, tmp_path / "out" / "i.zarr")
    assert set(names_in(tmp_path / "out")) == {*names.values(), "i.zarr"} - {names["dead"]}


def test_a_full_disk_is_said_and_leaves_nothing(
    local: Objects, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clean, _, _ = clean_image(local, "aa")
    out, wrote = tmp_path / "out" / "image.zarr", []
    whole = Path.write_bytes

    def full(path: Path, content: bytes) -> int:
        wrote.append(path)
        if len(wrote) > 3:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        return whole(path, content)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(StoreError, match=r"could not write .*image.zarr: No space left on device; nothing"):
        export_image(local, clean, out)
    assert names_in(out.parent) == []
    wrote.clear()
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(2**30, 2**30 - 9, 9))
    with pytest.raises(StoreError, match=r"needs 0\.\d MiB, and 0.0 MiB are free"):
        export_image(local, clean, out)
    assert (wrote, names_in(out.parent)) == ([], [])


def test_a_place_that_cannot_be_made_is_a_clear_error(local: Objects, tmp_path: Path) -> None:
    clean, _, _ = clean_image(local, "aa")
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="could not write"):
        export_image(local, clean, tmp_path / "file" / "image.zarr")


@pytest.fixture
def table(local: Objects) -> Record:
    """The clusters of three cells."""
    path = f"{layout.artifact_folder('clusters', 'kk')}/cells.zarr"
    written: Digests = {}
    tables.write_table(
        local,
        path,
        names=["a", "b", "c"],
        columns={
            "area_um2": np.array([10.1, np.nan, 3.25]),
            "touches_edge": np.array([True, False, False]),
            "condition": ["wild type", 'µ, "quoted"', ""],
            "cluster": np.array([1, 0, 1]),
        },
        matrices={
            "umap": np.arange(6, dtype=np.float32).reshape(3, 2) / 3,
            "latent": np.ones((3, 3), np.float32),
        },
        written=written,
    )
    return records.commit(local, Record(kind="clusters", key="kk", name="k", path=path), written)


def test_a_table_becomes_csv(local: Objects, table: Record, tmp_path: Path) -> None:
    assert export_table(local, table, tmp_path / "cells.csv", "csv") == 3
    found = pd.read_csv(
        tmp_path / "cells.csv", index_col="cell_id", keep_default_na=False, na_values={"area_um2": [""]}
    )
    stored = tables.read_table(local, table.path)
    assert list(found.index) == ["a", "b", "c"]
    assert list(found.columns) == [
        *stored.obs.columns,
        "latent_1",
        "latent_2",
        "latent_3",
        "umap_1",
        "umap_2",
    ]
    for name in stored.obs.columns:
        assert found[name].equals(stored.obs[name].astype(found[name].dtype)), name
    assert np.array_equal(found[["umap_1", "umap_2"]].to_numpy(np.float32), stored.obsm["umap"])


def test_a_table_becomes_h5ad(local: Objects, table: Record, tmp_path: Path) -> None:
    assert export_table(local, table, tmp_path / "cells.h5ad", "h5ad") == 3
    found, stored = anndata.read_h5ad(tmp_path / "cells.h5ad"), tables.read_table(local, table.path)
    assert not set(found.obs) & set(found.var_names), "scanpy refuses a name that stands in both"
    plain = stored.obs.columns.drop(["cluster", *found.var_names], errors="ignore")
    pd.testing.assert_frame_equal(found.obs[plain], stored.obs[plain])
    for name in found.var_names:
        np.testing.assert_array_equal(found[:, name].X.ravel(), stored.obs[name].astype(np.float32))
    for name, matrix in stored.obsm.items():
        assert found.obsm[name].tolist() == found.obsm[f"X_{name}"].tolist() == matrix.tolist()
    assert dict(found.uns["chipcyte"]) == {"kind": "clusters", "key": "kk"}


@pytest.mark.parametrize("form", ["csv", "h5ad"])
def test_a_table_replaces_nothing_and_leaves_nothing_half_written(
    local: Objects, table: Record, tmp_path: Path, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out" / f"cells.{form}"
    (out.parent / "empty").mkdir(parents=True)
    out.write_text("mine")
    for taken in (out, out.parent / "empty"):
        with pytest.raises(InputError, match="exists already"):
            export_table(local, table, taken, form)
    assert out.read_text() == "mine"
    out.unlink()

    def stops(_table: object, path: Path, **_: object) -> None:
        path.write_text("half")
        if form == "h5ad":  # so HDF5 says it
            raise RuntimeError(
                "file write failed: errno = 28, error message = 'No space left on device', buf = 0x5"
            )
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    owner, name = (pd.DataFrame, "to_csv") if form == "csv" else (anndata.AnnData, "write_h5ad")
    monkeypatch.setattr(owner, name, stops)
    with pytest.raises(StoreError, match="No space left"):
        export_table(local, table, out, form)
    assert names_in(out.parent) == ["empty"]
