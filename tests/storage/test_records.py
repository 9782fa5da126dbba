import json
import multiprocessing
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from storage import layout, records
from storage.arrays import Digests, digest
from storage.errors import DamagedStoreError, InputError, MissingInputError
from storage.objects import Objects, open_store
from storage.records import Record, Reference


def write(objects: Objects, kind: str, key: str, content: bytes = b"bytes") -> Digests:
    path = f"{layout.artifact_folder(kind, key)}/data.bin"
    objects.put(path, content)
    return {path: digest(content)}


def record(kind: str, key: str, *parents: Reference, **more: Any) -> Record:
    return Record(
        kind=kind,
        key=key,
        name=f"the {kind}",
        path=f"{layout.artifact_folder(kind, key)}/data.bin",
        parents=parents,
        **more,
    )


def make(objects: Objects, kind: str, key: str, *parents: Reference, **more: Any) -> Record:
    return records.commit(objects, record(kind, key, *parents, **more), write(objects, kind, key))


def test_what_is_committed_is_read(store: Objects) -> None:
    made = make(
        store, "clean", "aa11", counts={"frames": 3}, settings={"z": "max"}, metrics={"angle_deg": 1.5}
    )
    assert records.read(store, "clean", "aa11") == made
    assert records.find(store, "clean", "aa11") == made
    assert made.versions["numpy"]
    assert made.created.endswith("+00:00")
    manifest = records.read_manifest(store, made)
    assert manifest == {"artifacts/clean/aa11/data.bin": digest(b"bytes")}


def test_there_is_no_artifact_without_a_record(store: Objects) -> None:
    write(store, "clean", "aa11")
    assert records.find(store, "clean", "aa11") is None
    with pytest.raises(MissingInputError, match=r"records/clean/aa11\.json"):
        records.read(store, "clean", "aa11")


def test_the_first_commit_stands(store: Objects) -> None:
    first = make(store, "clean", "aa11", metrics={"by": 1})
    second = make(store, "clean", "aa11", metrics={"by": 2})
    assert second == first
    assert records.read(store, "clean", "aa11").metrics == {"by": 1}


def test_of_commits_at_once_one_wins_and_all_return_it(store: Objects) -> None:
    written = write(store, "model", "aa11")
    with ThreadPoolExecutor(8) as pool:
        commits = [
            pool.submit(records.commit, store, record("model", "aa11", metrics={"by": number}), written)
            for number in range(8)
        ]
    made = [one.result() for one in commits]
    assert made == [records.read(store, "model", "aa11")] * 8


def test_the_manifest_of_the_winner_survives_a_loser_that_wrote_otherwise(store: Objects) -> None:
    """Two trainings of one model may differ in a byte; the record and its manifest still agree."""
    first = make(store, "model", "aa11")
    other = {"artifacts/model/aa11/data.bin": (5, "0" * 64)}
    assert records.commit(store, record("model", "aa11"), other) == first
    assert records.read_manifest(store, first) == {"artifacts/model/aa11/data.bin": digest(b"bytes")}
    assert len(store.sizes("artifacts/model/aa11")) == 2


def _commit_elsewhere(url: str, number: int, start: Any) -> str:
    objects = open_store(url)
    written = write(objects, "model", "bb22")
    start.wait()
    made = records.commit(objects, record("model", "bb22", metrics={"by": number}), written)
    return json.dumps(made.model_dump(mode="json"), sort_keys=True)


def _send(queue: Any, url: str, number: int, start: Any) -> None:
    queue.put(_commit_elsewhere(url, number, start))


def test_of_processes_that_commit_at_once_one_wins_and_all_return_it(local: Objects) -> None:
    context = multiprocessing.get_context("spawn")
    start, queue = context.Barrier(3), context.Queue()
    workers = [context.Process(target=_send, args=(queue, local.url, n, start)) for n in range(3)]
    for worker in workers:
        worker.start()
    made = {queue.get(timeout=60) for _ in workers}
    for worker in workers:
        worker.join(60)
    assert len(made) == 1
    assert Record.model_validate_json(made.pop()) == records.read(local, "model", "bb22")


def test_nothing_is_committed_whose_bytes_are_missing_or_torn(store: Objects) -> None:
    written = write(store, "clean", "aa11") | {"artifacts/clean/aa11/gone": (3, "0" * 64)}
    with pytest.raises(DamagedStoreError, match=r"1 of its 2 objects are missing .*/gone first"):
        records.commit(store, record("clean", "aa11"), written)
    store.put("artifacts/clean/aa11/gone", b"12")
    with pytest.raises(DamagedStoreError, match="cannot be finished"):
        records.commit(store, record("clean", "aa11"), written)
    assert records.find(store, "clean", "aa11") is None


def test_labels_may_lie_in_two_folders(store: Objects) -> None:
    paths = [
        "artifacts/clean/cc/image.ome.zarr/labels/dd/zarr.json",
        "artifacts/labels/dd/cells.zarr/zarr.json",
    ]
    for path in paths:
        store.put(path, b"{}")
    written = {path: digest(b"{}") for path in paths}
    made = records.commit(store, record("labels", "dd"), written)
    assert records.read_manifest(store, made) == written


def test_an_artifact_without_bytes_has_no_manifest(store: Objects) -> None:
    made = records.commit(store, Record(kind="sample", key="ee", name="a.tif", path="raw"), {})
    assert records.read_manifest(store, made) == {}
    assert store.sizes("artifacts") == []


@pytest.mark.parametrize("content", [b"", b"{", b'{"kind": "clean"}', b'{"surprise": 1}', b"\xff\xfe"])
def test_a_damaged_record_is_named(store: Objects, content: bytes) -> None:
    store.put("records/clean/aa11.json", content)
    with pytest.raises(DamagedStoreError, match=r"the record .*/records/clean/aa11\.json is damaged"):
        records.find(store, "clean", "aa11")


@pytest.mark.parametrize("content", [b"{}", b"\xff", None])
def test_a_changed_or_missing_manifest_is_found(store: Objects, content: bytes | None) -> None:
    made = make(store, "clean", "aa11")
    path = layout.manifest_path("clean", "aa11", made.digest)
    store.delete([path]) if content is None else store.put(path, content)
    with pytest.raises(DamagedStoreError, match="the manifest of clean aa11"):
        records.read_manifest(store, made)


def test_lineage_names_each_ancestor_once_the_nearest_first(store: Objects) -> None:
    raw = make(store, "raw", "a0")
    clean = make(store, "clean", "b0", raw.reference)
    labels = make(store, "labels", "c0", clean.reference)
    patches = make(store, "patches", "d0", clean.reference, labels.reference)
    assert records.lineage(store, patches) == [patches, clean, labels, raw]


def test_lineage_with_a_hole_is_an_error(store: Objects) -> None:
    clean = make(store, "clean", "b0", Reference(kind="raw", key="lost"))
    with pytest.raises(MissingInputError, match=r"records/raw/lost\.json"):
        records.lineage(store, clean)


def test_listing_is_complete_and_by_kind(store: Objects) -> None:
    made = [make(store, kind, f"{kind}0") for kind in ("raw", "clean", "labels")]
    assert records.listing(store) == made
    assert records.listing(store, "clean") == [made[1]]
    assert records.listing(store, "report") == []


def test_of_a_listing_only_what_names_a_key_is_looked_into(store: Objects) -> None:
    parent, other = "ab" * 10, "cd" * 10
    below = {key: make(store, "raw", key) for key in (parent, other)}
    child = make(store, "clean", "ef" * 10, below[parent].reference)
    store.put("records/raw/torn.json", b"{")
    assert records.listing(store, naming={parent}) == [below[parent], child]
    assert records.listing(store, naming=set()) == []


def test_of_the_newest_no_other_is_read(store: Objects, monkeypatch: pytest.MonkeyPatch) -> None:
    made = [make(store, "raw", f"a{number}") for number in range(5)]
    before, keys = {one.key for one in made}, set()
    time.sleep(0.02 if store.folder else 1.1)  # S3 tells whole seconds
    late = make(store, "clean", "a9")
    read = Objects.get_all
    monkeypatch.setattr(Objects, "get_all", lambda self, names: keys.update(names) or read(self, names))
    assert records.newest(store, None, 1) == ([late], 6)
    assert keys == {"records/clean/a9.json"}
    found, count = records.newest(store, "raw", 3)
    assert (len({one.key for one in found} & before), count) == (3, 5)
    assert records.newest(store, "raw", 99) == (made, 5)
    assert records.newest(store, "report", 3) == ([], 0)


def test_a_whole_key_is_looked_up_without_a_listing(store: Objects, monkeypatch: pytest.MonkeyPatch) -> None:
    key = "ab" * 10
    made = make(store, "clean", key)
    monkeypatch.setattr(Objects, "entries", lambda *_: pytest.fail("all records were listed"))
    assert records.resolve(store, key) == made


def test_the_start_of_a_key_is_enough_when_it_is_one(store: Objects) -> None:
    make(store, "raw", "abc1")
    make(store, "clean", "abd2")
    assert records.resolve(store, "abc").kind == "raw"
    assert records.resolve(store, "abd2").kind == "clean"
    with pytest.raises(InputError, match=r"2 keys begin with 'ab' \(clean/abd2, raw/abc1\)"):
        records.resolve(store, "ab")
    with pytest.raises(MissingInputError, match="no artifact's key begins with 'ff'"):
        records.resolve(store, "ff")


def test_a_record_is_json_that_people_can_read(local: Objects) -> None:
    made = make(local, "clean", "aa11", Reference(kind="raw", key="bb"))
    text = (Path(local.url) / "records" / "clean" / "aa11.json").read_text()
    assert json.loads(text)["parents"] == [{"kind": "raw", "key": "bb"}]
    assert f'\n "digest": "{made.digest}"' in text
