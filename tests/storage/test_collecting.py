import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from storage import checking, collecting, images, layout, leases, records
from storage.arrays import digest
from storage.collecting import Removal
from storage.errors import InputError
from storage.objects import Objects
from storage.records import Record

MONTH = timedelta(days=30)


def add(objects: Objects, kind: str, key: str, *parents: Record, days: float = 0) -> Record:
    """Make an artifact that has not changed for some days (in a folder; S3 does not let us choose)."""
    path = f"{layout.artifact_folder(kind, key)}/data.bin"
    if kind == "labels":
        path = f"{layout.labels_path(parents[0].key, key)}/data.bin"
    objects.put(path, b"x" * 1000)
    past = datetime.now(UTC) - timedelta(days=days)
    record = Record(kind=kind, key=key, name=key, path=path, parents=tuple(one.reference for one in parents))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(records, "now", lambda: past.isoformat(timespec="seconds"))
        made = records.commit(objects, record, {path: digest(b"x" * 1000)})
    for name in (path, layout.manifest_path(kind, key, made.digest)):
        if objects.folder is not None:
            os.utime(objects.folder / name, (past.timestamp(), past.timestamp()))
    return made


def chain(objects: Objects, name: str, days: float, raw: Record) -> dict[str, Record]:
    """Everything from a raw image to a report, equally old."""
    clean = add(objects, "clean", f"{name}clean", raw, days=days)
    labels = add(objects, "labels", f"{name}labels", clean, days=days)
    patches = add(objects, "patches", f"{name}patches", clean, labels, days=days)
    model = add(objects, "model", f"{name}model", patches, days=days)
    report = add(objects, "report", f"{name}report", model, patches, days=days)
    every = {"clean": clean, "labels": labels, "patches": patches, "model": model, "report": report}
    images.list_labels(objects, clean.key, [labels.key])
    if objects.folder is not None:
        listed = objects.folder / layout.labels_group_path(clean.key) / "zarr.json"
        os.utime(listed, (0, 0))
    return every


def keys(removals: list[Removal]) -> list[str]:
    return [one.record.key for one in removals]


def test_recordings_and_what_is_said_of_them_are_always_kept(local: Objects) -> None:
    raw = add(local, "raw", "raw", days=900)
    add(local, "sample", "sample", raw, days=900)
    add(local, "truth", "truth", raw, days=900)
    assert collecting.plan_collection(local, older_than=timedelta(0)) == []


def test_an_old_chain_goes_and_a_young_one_stays(local: Objects) -> None:
    raw = add(local, "raw", "raw", days=90)
    chain(local, "old", 60, raw)
    young = chain(local, "young", 2, raw)
    planned = collecting.plan_collection(local, older_than=MONTH)
    assert keys(planned) == ["oldreport", "oldmodel", "oldpatches", "oldlabels", "oldclean"]
    assert all(one.size_bytes > 1000 for one in planned)
    assert all(timedelta(days=59) < one.age < timedelta(days=61) for one in planned)
    before = sum(size for _, size in local.sizes(""))
    gone = collecting.collect(local, planned)
    assert gone == planned
    assert {one.key for one in records.listing(local)} == {"raw", *(one.key for one in young.values())}
    freed = before - sum(size for _, size in local.sizes(""))
    assert freed > sum(one.size_bytes for one in gone)
    assert not (Path(local.url) / "artifacts" / "clean" / "oldclean").exists()
    assert collecting.plan_collection(local, older_than=MONTH) == []


def test_what_a_young_report_was_made_from_stays_however_old(local: Objects) -> None:
    raw = add(local, "raw", "raw", days=90)
    old = chain(local, "old", 60, raw)
    report = add(local, "report", "new", old["model"], days=1)
    assert keys(collecting.plan_collection(local, older_than=MONTH)) == ["oldreport"]
    collecting.collect(local, collecting.plan_collection(local, older_than=MONTH))
    assert [one.key for one in records.lineage(local, report)] == [
        "new", "oldmodel", "oldpatches", "oldclean", "oldlabels", "raw"
    ]  # fmt: skip


def test_a_clean_image_that_is_being_segmented_is_at_work(local: Objects) -> None:
    raw = add(local, "raw", "raw", days=90)
    clean = add(local, "clean", "clean", raw, days=60)
    local.put(f"{layout.labels_path(clean.key, 'unfinished')}/zarr.json", b"{}")
    assert collecting.plan_collection(local, older_than=MONTH) == []


def test_removed_labels_leave_the_list_of_an_image_that_stays(local: Objects) -> None:
    raw = add(local, "raw", "raw", days=90)
    clean = add(local, "clean", "clean", raw, days=1)
    for key, days in (("old", 60), ("new", 1)):
        add(local, "labels", key, clean, days=days)
    images.list_labels(local, "clean", ["new", "old"])
    collecting.collect(local, collecting.plan_collection(local, older_than=MONTH))
    assert images.listed_labels(local, "clean") == ["new"]


def test_everything_may_go_on_every_kind_of_store(store: Objects) -> None:
    raw = add(store, "raw", "raw")
    chain(store, "a", 0, raw)
    chain(store, "b", 0, raw)
    planned = collecting.plan_collection(store, older_than=timedelta(seconds=-5))
    assert len(planned) == 10
    collecting.collect(store, planned)
    assert [one.key for one in records.listing(store)] == ["raw"]
    assert {name.split("/")[0] for name in store.names("")} == {"acquisitions", "records", "chipcyte.json"}


def test_what_is_named_goes_with_all_made_from_it(store: Objects) -> None:
    raw = add(store, "raw", "raw")
    chain(store, "a", 0, raw)
    chain(store, "b", 0, raw)
    planned = collecting.plan_removal(store, ["apat", "amodel"])
    assert keys(planned) == ["areport", "amodel", "apatches"]
    collecting.collect(store, planned)
    assert len(records.listing(store)) == 1 + 10 - 3
    planned = collecting.plan_removal(store, ["raw"])
    assert keys(planned)[-1] == "raw"
    collecting.collect(store, planned)
    assert list(store.names("")) == ["chipcyte.json"]


def test_what_is_unfinished_and_may_come_from_it_goes_too(local: Objects) -> None:
    raw = add(local, "raw", "raw")
    every = chain(local, "a", 0, raw)
    local.put("progress/labels/half/tiles/0.json", b"{}")
    local.put(f"{layout.labels_path('aclean', 'half')}/zarr.json", b"{}")
    local.put("progress/raw/other/planes/0.json", b"{}")
    planned = collecting.plan_removal(local, ["aclean"])
    assert keys(planned) == ["half", "areport", "amodel", "apatches", "alabels", "aclean"]
    assert planned[0].record.name == collecting.UNFINISHED
    collecting.collect(local, planned)
    assert {name.split("/")[0] for name in local.names("")} == {
        "acquisitions", "records", "progress", "chipcyte.json"
    }  # fmt: skip
    assert list(local.names("progress")) == ["progress/raw/other/planes/0.json"]
    assert every["clean"].key not in {one.key for one in records.listing(local)}


def test_what_people_corrected_and_what_learned_from_it_go_only_by_their_own_names(local: Objects) -> None:
    raw = add(local, "raw", "raw")
    every = chain(local, "a", 0, raw)
    first = add(local, "annotation", "first", every["clean"], every["labels"])
    second = add(local, "annotation", "second", every["clean"], every["labels"], first)
    network = add(local, "segmenter", "network", first, second)
    local.put("progress/segmenter/half/state.pt", b"hours")
    for start in ("alabels", "raw"):
        planned = collecting.plan_removal(local, [start])
        assert not {"first", "second", "network", "half"} & set(keys(planned))
        collecting.collect(local, planned)
    assert local.exists("progress/segmenter/half/state.pt")
    assert {one.key for one in records.listing(local)} == {"first", "second", "network"}
    assert records.lineage(local, network) == [network, first, second]
    assert [one.what for one in checking.check_store(local, older_than=timedelta(days=1)).problems] == []
    assert keys(collecting.plan_removal(local, ["first"])) == ["first"]


def test_an_artifact_whose_record_is_damaged_can_be_named(local: Objects) -> None:
    raw = add(local, "raw", "raw")
    chain(local, "a", 0, raw)
    local.put(layout.record_path("labels", "alabels"), b"{")
    planned = collecting.plan_removal(local, ["alabels"])
    assert keys(planned) == ["areport", "amodel", "apatches", "alabels"]
    collecting.collect(local, planned)
    assert {one.key for one in records.listing(local)} == {"raw", "aclean"}
    assert images.listed_labels(local, "aclean") == []


def test_a_key_that_is_nobodys_or_several_is_an_error(local: Objects) -> None:
    add(local, "raw", "raw1")
    add(local, "raw", "raw2")
    for start in ("x", "raw"):
        with pytest.raises(InputError):
            collecting.plan_removal(local, [start])
    assert len(records.listing(local)) == 2


@pytest.mark.parametrize("call", range(1, 11))
def test_a_kill_leaves_no_record_without_its_artifact_or_parents(
    local: Objects, monkeypatch: pytest.MonkeyPatch, call: int
) -> None:
    raw = add(local, "raw", "raw", days=90)
    chain(local, "old", 60, raw)
    planned = collecting.plan_collection(local, older_than=MONTH)
    whole, calls = Objects.delete, []

    def dying(objects: Objects, names: list[str]) -> None:
        if not any("lease" in name for name in names):
            calls.append(names)
            if len(calls) == call:
                whole(objects, names[: len(names) // 2])
                raise KeyboardInterrupt
        whole(objects, names)

    monkeypatch.setattr(Objects, "delete", dying)
    with pytest.raises(KeyboardInterrupt):
        collecting.collect(local, planned)
    monkeypatch.undo()
    problems = checking.check_store(local, older_than=timedelta(0)).problems
    assert {one.what for one in problems} <= {"unfinished", "wrong list of labels"}
    checking.repair(local, problems)
    collecting.collect(local, collecting.plan_collection(local, older_than=MONTH))
    assert [one.key for one in records.listing(local)] == ["raw"]
    assert list(local.names("artifacts")) == []


def test_what_another_process_is_making_anew_is_spared_with_its_ancestors(
    local: Objects, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = add(local, "raw", "raw", days=90)
    chain(local, "old", 60, raw)
    planned = collecting.plan_collection(local, older_than=MONTH)
    monkeypatch.setattr(leases, "_stands_still", lambda *_: False)
    local.put(
        "progress/patches/oldpatches/lease.json", leases._text(leases.Holder("theirs", "elsewhere", 1, 0.0))
    )
    assert keys(collecting.collect(local, planned)) == ["oldreport", "oldmodel"]
    standing = {one.key for one in records.listing(local)}
    assert standing == {"raw", "oldclean", "oldlabels", "oldpatches"}
