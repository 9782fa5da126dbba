import json
import shutil
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

from storage import checking, images, layout, leases, records, tables
from storage.arrays import Digests
from storage.checking import Findings
from storage.objects import Objects, open_store
from storage.ome import ImageMetadata
from storage.records import Record, Reference
from tasks.kernels.pyramid import downsample_labels, downsample_mean
from tests.support import Carried, contents

NOW = timedelta(0)
METADATA = ImageMetadata(name="chip")


def image(objects: Objects, path: str, shape: tuple[int, ...], written: Digests) -> None:
    labels = len(shape) == 4
    made = images.create_image(
        objects, path, shape=shape, dtype="uint32" if labels else "uint16", metadata=METADATA, written=written
    )
    for unit in made.units():
        made.write(unit, np.ones(unit.shape, made.dtype), downsample_labels if labels else downsample_mean)


def commit(objects: Objects, kind: str, key: str, path: str, written: Digests, *parents: Reference) -> Record:
    return records.commit(objects, Record(kind=kind, key=key, name="n", path=path, parents=parents), written)


def fill(objects: Objects) -> dict[str, Record]:
    """Make a store with one artifact of each shape: images, labels in an image, a table, a bare record."""
    made: dict[str, Record] = {}
    for kind, parent in (("raw", None), ("clean", "raw")):
        notes: Digests = {}
        path = layout.image_path(kind, f"{kind}0")
        image(objects, path, (1, 1, 1, 300, 40), notes)
        parents = [made[parent].reference] if parent else []
        made[kind] = commit(objects, kind, f"{kind}0", path, notes, *parents)
    notes = {}
    path = layout.labels_path("clean0", "labels0")
    image(objects, path, (1, 1, 300, 40), notes)
    tables.write_table(
        objects,
        "artifacts/labels/labels0/cells.zarr",
        names=["a"],
        columns={"t": np.array([1])},
        written=notes,
    )
    made["labels"] = commit(objects, "labels", "labels0", path, notes, made["clean"].reference)
    images.list_labels(objects, "clean0", ["labels0"])
    made["sample"] = commit(objects, "sample", "sample0", "raw0", {}, made["raw"].reference)
    return made


def found(objects: Objects, *, older_than: timedelta = NOW) -> Findings:
    return checking.check_store(objects, older_than=older_than)


def whats(findings: Findings) -> list[tuple[str, str]]:
    return [(problem.what, problem.path) for problem in findings.problems]


def test_a_whole_store_has_no_problem(store: Objects) -> None:
    fill(store)
    before = contents(store)
    findings = found(store)
    assert findings.problems == []
    sizes = [len(content) for content in before.values()]
    assert findings.counts["records"] == 4
    assert findings.counts["objects"] == len(sizes)
    assert contents(store) == before


def test_an_empty_store_has_no_problem(store: Objects) -> None:
    assert found(store).problems == []


def test_what_the_stages_make_has_no_problem(carried: tuple[Objects, list[Carried]]) -> None:
    findings = found(carried[0])
    assert findings.problems == []
    assert findings.counts["in_progress"] == 0


SHARD = "acquisitions/raw0/image.ome.zarr/0/c/0/0/0/0/0"
CELLS = "artifacts/labels/labels0/cells.zarr/obs/t/c/0"


@pytest.mark.parametrize("path", [SHARD, CELLS, "artifacts/clean/clean0/image.ome.zarr/1/zarr.json"])
def test_a_lost_object_is_found(store: Objects, path: str) -> None:
    fill(store)
    assert store.exists(path)
    store.delete([path])
    assert ("missing object", path) in whats(found(store))
    assert checking.repair(store, found(store).problems) == []


@pytest.mark.parametrize("path", [SHARD, CELLS])
@pytest.mark.parametrize("damage", ["shorter", "flipped"])
def test_a_changed_byte_is_found(store: Objects, path: str, damage: str) -> None:
    fill(store)
    content = bytearray(store.get(path))
    content[len(content) // 2] ^= 1
    store.put(path, bytes(content) if damage == "flipped" else bytes(content[:-1]))
    assert whats(found(store)) == [("changed object", path)]


@pytest.mark.parametrize("damage", [b"", b"{}", None])
def test_a_damaged_manifest_is_found_and_its_objects_are_left(store: Objects, damage: bytes | None) -> None:
    made = fill(store)
    path = layout.manifest_path("raw", "raw0", made["raw"].digest)
    store.delete([path]) if damage is None else store.put(path, damage)
    findings = found(store)
    assert whats(findings) == [("damaged manifest", path)]
    assert checking.repair(store, findings.problems) == []
    assert store.exists(SHARD)


def test_a_damaged_record_is_found_and_its_objects_are_left(store: Objects) -> None:
    fill(store)
    store.put("records/raw/raw0.json", b"{")
    findings = found(store)
    assert whats(findings) == [("damaged record", "records/raw/raw0.json")]
    assert checking.repair(store, findings.problems) == []
    assert store.exists(SHARD)


def test_a_missing_parent_is_found(store: Objects) -> None:
    fill(store)
    store.delete(["records/raw/raw0.json"])
    assert ("missing parent", "records/raw/raw0.json") in whats(found(store))


@pytest.mark.parametrize("damage", ["axes", "ome", "scale", "all"])
def test_invalid_metadata_are_found(local: Objects, damage: str) -> None:
    """As if a version of chipcyte had written them so: the manifest agrees with the bytes."""
    written: Digests = {}
    path = layout.image_path("raw", "raw0")
    image(local, path, (1, 1, 1, 40, 40), written)
    document = json.loads(local.get(f"{path}/zarr.json"))
    multiscale = document["attributes"]["ome"]["multiscales"][0]
    if damage == "axes":
        multiscale["axes"] = multiscale["axes"][::-1]
    elif damage == "scale":
        multiscale["datasets"][0]["coordinateTransformations"][0]["scale"] = [1, 1]
    elif damage == "ome":
        del document["attributes"]["ome"]
    else:
        document["attributes"] = None
    content = json.dumps(document).encode()
    local.put(f"{path}/zarr.json", content)
    written[f"{path}/zarr.json"] = checking.digest(content)
    commit(local, "raw", "raw0", path, written)
    assert whats(found(local)) == [("invalid metadata", f"{path}/zarr.json")]


def test_a_pyramid_without_a_level_is_found_by_yaozarrs(store: Objects) -> None:
    written: Digests = {}
    path = layout.image_path("raw", "raw0")
    image(store, path, (1, 1, 1, 600, 40), written)
    for name in [name for name in written if name.startswith(f"{path}/1/")]:
        del written[name]
        store.delete([name])
    commit(store, "raw", "raw0", path, written)
    assert whats(found(store)) == [("invalid metadata", f"{path}/zarr.json")]


@pytest.mark.parametrize("listed", [[], ["labels0", "labels9"], None])
def test_the_list_of_labels_is_made_anew(store: Objects, listed: list[str] | None) -> None:
    fill(store)
    path = "artifacts/clean/clean0/image.ome.zarr/labels/zarr.json"
    right = store.get(path)
    if listed is None:
        store.put(path, b"{")
    else:
        images.list_labels(store, "clean0", listed)
    findings = found(store)
    assert whats(findings) == [("wrong list of labels", path)]
    assert checking.repair(store, findings.problems) == findings.problems
    assert store.get(path) == right
    assert found(store).problems == []


def leave_unfinished(objects: Objects) -> None:
    """What killed runs leave: a raw image, labels in a finished clean image, markers, scratch."""
    image(objects, layout.image_path("raw", "raw1"), (1, 1, 1, 40, 40), {})
    image(objects, layout.labels_path("clean0", "labels1"), (1, 1, 40, 40), {})
    objects.put("artifacts/labels/labels1/cells.zarr/zarr.json", b"{}")
    objects.put("progress/labels/labels1/tiles/0.json", b"{}")
    objects.put("progress/labels/labels1/scratch/zarr.json", b"{}")
    objects.put("progress/model/model1/state.pt", b"x")


def test_unfinished_artifacts_are_removed_and_nothing_else(store: Objects) -> None:
    fill(store)
    before = contents(store)
    leave_unfinished(store)
    findings = found(store)
    assert sorted(whats(findings)) == [
        ("unfinished", "acquisitions/raw1"),
        ("unfinished", "artifacts/labels/labels1"),
        ("unfinished", "artifacts/model/model1"),
    ]
    assert len(checking.repair(store, findings.problems)) == 3
    assert contents(store) == before
    assert found(store).problems == []
    if store.folder is not None:
        assert not (store.folder / "acquisitions" / "raw1").exists()
        assert not (store.folder / "progress").exists()


def test_what_is_young_may_be_at_work(store: Objects) -> None:
    fill(store)
    leave_unfinished(store)
    findings = found(store, older_than=timedelta(hours=1))
    assert findings.problems == []
    assert findings.counts["in_progress"] == 3


def test_what_another_process_is_making_is_left_to_it(
    store: Objects, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(store)
    leave_unfinished(store)
    findings = found(store)
    monkeypatch.setattr(leases, "_stands_still", lambda *_: False)  # its holder is alive
    other = leases.Holder("theirs", "another-host", 1, 0.0)
    store.put("progress/labels/labels1/lease.json", leases._text(other))
    mended = checking.repair(store, findings.problems)
    assert {problem.owner for problem in mended} == {("raw", "raw1"), ("model", "model1")}
    assert store.exists("progress/labels/labels1/tiles/0.json")


def test_what_was_finished_meanwhile_is_not_removed(store: Objects) -> None:
    fill(store)
    written: Digests = {}
    path = layout.image_path("raw", "raw1")
    image(store, path, (1, 1, 1, 40, 40), written)
    findings = found(store)
    assert whats(findings) == [("unfinished", "acquisitions/raw1")]
    commit(store, "raw", "raw1", path, written)
    assert checking.repair(store, findings.problems) == []
    assert found(store).problems == []


def test_objects_beside_a_finished_artifact_are_removed(store: Objects) -> None:
    fill(store)
    before = contents(store)
    strays = [
        "acquisitions/raw0/image.ome.zarr/9/zarr.json",
        "acquisitions/raw0/manifest-0000000000000000.json",
        "artifacts/labels/labels0/cells.zarr/old",
        "progress/raw/raw0/planes/0.json",
    ]
    for name in strays:
        store.put(name, b"{}")
    findings = found(store)
    assert sorted(whats(findings)) == [("orphan", name) for name in strays]
    assert len(checking.repair(store, findings.problems)) == 4
    assert contents(store) == before


def test_half_written_files_are_found_though_no_listing_shows_them(local: Objects) -> None:
    fill(local)
    leave_unfinished(local)
    folder = Path(local.url)
    halves = [
        folder / f"{SHARD}#1",
        folder / "artifacts/clean/clean0/image.ome.zarr/labels/labels0/0/c/0/0/0/0#12",
        folder / "progress/model/model1/state.pt#1",
    ]
    for half in halves:
        assert half.parent.is_dir()
        half.write_bytes(b"half")
    findings = found(local)
    assert sum(what == "orphan" for what, _ in whats(findings)) == 2
    checking.repair(local, findings.problems)
    assert not any(half.exists() for half in halves)
    assert found(local).problems == []


def test_a_stranger_is_named_and_left(store: Objects) -> None:
    store.put("notes/today.txt", b"mine")
    findings = found(store)
    assert whats(findings) == [("stranger", "notes/today.txt")]
    assert checking.repair(store, findings.problems) == []
    assert store.get("notes/today.txt") == b"mine"


def test_the_listener_hears_of_every_object(local: Objects) -> None:
    fill(local)
    heard: list[tuple[int, int]] = []
    checking.check_store(local, older_than=NOW, listener=lambda done, total: heard.append((done, total)))
    total = heard[-1][1]
    assert heard == [(number, total) for number in range(1, total + 1)]


def test_a_copy_of_a_store_is_as_good(local: Objects, tmp_path: Path) -> None:
    """Copying a folder to another disk is how a lab moves: nothing in it may name its place."""
    fill(local)
    shutil.copytree(local.url, tmp_path / "copy")
    assert found(open_store(str(tmp_path / "copy"))).problems == []
