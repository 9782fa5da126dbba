import os
import time
from pathlib import Path

import pytest

from storage.arrivals import Stillness, pending_units, unit_place
from storage.errors import MissingInputError, StoreError
from storage.inbox import FileState, FolderInbox, PrefixInbox, Unit, open_inbox
from storage.known import MOST_BATCHES, Known, answers_standing
from storage.objects import open_store

STATE = FileState(1, 2)


def put(folder: Path, *paths: str) -> None:
    for path in paths:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(b"bytes")


def place(path: str, *, depth: int = 0, root_is_unit: bool = False) -> str:
    return unit_place(path, depth=depth, root_is_unit=root_is_unit)


def test_a_folder_lists_recordings_with_size_and_time(tmp_path):
    put(tmp_path, "a.tif", "b.nd2", "notes.txt", ".c.tif.part", ".hidden.tif", "day/c.png", "day/deep/d.tif")
    os.utime(tmp_path / "a.tif", ns=(5, 7_000_000_001))
    inbox = open_inbox(str(tmp_path))
    near = inbox.snapshot(recursive=False)
    assert set(near) == {"a.tif", "b.nd2", "day/c.png"}
    assert near["a.tif"] == FileState(5, 7_000_000_001)
    assert set(inbox.snapshot(recursive=True)) == {*near, "day/deep/d.tif"}


def test_all_of_a_zarr_or_plate_folder_is_listed(tmp_path):
    inside = (
        "x.zarr/zarr.json",
        "x.zarr/.zattrs",
        "x.zarr/0/c/0/0",
        "plate/TimePoint_1/ZStep_1/p_B02_w1.TIF",
    )
    put(tmp_path, *inside)
    assert set(FolderInbox(str(tmp_path)).snapshot(recursive=False)) == set(inside)


def test_links_are_followed_but_no_folder_is_walked_twice(tmp_path):
    put(tmp_path, "inbox/day/a.tif", "elsewhere/b.tif")
    (tmp_path / "inbox" / "day" / "loop").symlink_to(tmp_path / "inbox")
    (tmp_path / "inbox" / "itself").symlink_to(tmp_path / "inbox" / "itself")
    (tmp_path / "inbox" / "itself.tif").symlink_to(tmp_path / "inbox" / "itself.tif")
    (tmp_path / "inbox" / "nothing.tif").symlink_to(tmp_path / "gone")
    (tmp_path / "inbox" / "linked").symlink_to(tmp_path / "inbox" / "day")
    inbox = FolderInbox(str(tmp_path / "inbox"))
    (found,) = inbox.snapshot(recursive=True)
    assert found in ("day/a.tif", "linked/a.tif")


def test_links_that_lead_out_of_the_inbox_are_left_out_and_said_once(tmp_path, monkeypatch):
    """Whoever may drop files there could have the watcher read what is not theirs."""
    put(tmp_path, "inbox/a.tif", "private/b.tif")
    (tmp_path / "inbox" / "linked").symlink_to(tmp_path / "private")
    (tmp_path / "inbox" / "b.tif").symlink_to(tmp_path / "private" / "b.tif")
    (tmp_path / "inbox" / "up").symlink_to("..")
    (tmp_path / "inbox" / "same.tif").symlink_to("a.tif")
    inbox = FolderInbox(str(tmp_path / "inbox"))
    said = []
    monkeypatch.setattr("storage.inbox.log.warning", lambda _text, path: said.append(path))
    for _ in range(2):
        assert set(inbox.snapshot(recursive=True)) == {"a.tif", "same.tif"}
    assert sorted(said) == ["b.tif", "linked", "up"]


def test_a_store_inside_the_inbox_is_not_a_recording(tmp_path):
    store = open_store(str(tmp_path / "store"), create=True)
    store.put("acquisitions/k/image.ome.zarr/zarr.json", b"{}")
    put(tmp_path, "a.tif")
    assert set(FolderInbox(str(tmp_path)).snapshot(recursive=True)) == {"a.tif"}


def test_an_inbox_that_is_not_there_is_an_error_that_names_it(tmp_path):
    with pytest.raises(MissingInputError, match="nowhere"):
        open_inbox(str(tmp_path / "nowhere"))
    with pytest.raises(StoreError, match="has gone"):
        FolderInbox(str(tmp_path / "nowhere")).snapshot(recursive=False)


@pytest.mark.parametrize(
    ("path", "unit"),
    [
        ("a.tif", "a.tif"),
        ("day/a.tif", "day"),
        ("day/b/a.tif", "day/b"),
        ("x.ome.zarr/0/c/0", "x.ome.zarr"),
        ("day/x.zarr/0", "day/x.zarr"),
        ("plate/TimePoint_2/ZStep_1/p.tif", "plate"),
    ],
)
def test_a_file_is_judged_alone_and_a_folder_as_a_whole(path, unit):
    assert place(path) == unit


def test_a_pattern_with_folders_is_judged_from_the_folder_it_starts_in():
    assert place("chip/pos1/t1.tif", depth=1) == "chip"
    assert place("pos1/t1.tif", depth=1, root_is_unit=True) == ""
    assert place("t1.tif", root_is_unit=True) == ""


def test_units_hold_all_their_files_and_match_the_pattern():
    snapshot = {"a.tif": STATE, "d/1.tif": STATE, "d/2.tif": STATE, "e/1.tif": STATE}
    units = pending_units(snapshot, {"a.tif", "d/2.tif"}, place)
    assert units == [
        Unit("a.tif", {"a.tif": STATE}, frozenset({"a.tif"})),
        Unit("d", {"d/1.tif": STATE, "d/2.tif": STATE}, frozenset({"d/2.tif"})),
    ]
    assert [unit.place for unit in pending_units(snapshot, set(snapshot), place, "d/*")] == ["d"]


def test_a_file_is_still_after_a_quiet_period_of_our_own_clock():
    moments = iter([0.0, 5.0, 9.0, 14.0, 15.0, 30.0])
    stillness = Stillness(10.0, clock=lambda: next(moments))
    far = FileState(1, 2**62)  # a file server whose clock is centuries ahead
    assert stillness.observe({"a": STATE}) == {"a"}
    assert stillness.observe({"a": FileState(2, 2), "far": far}) == {"a", "far"}  # it grew
    assert stillness.observe({"a": FileState(2, 2), "far": far}) == {"a", "far"}
    assert stillness.observe({"a": FileState(2, 3), "far": far}) == {"a", "far"}  # written anew
    assert stillness.observe({"a": FileState(2, 3), "far": far}) == {"a"}
    assert stillness.observe({"a": FileState(2, 3), "b": STATE}) == {"b"}


def test_two_watchers_marks_are_all_kept(local):
    one, other = Known(local, "/inbox"), Known(local, "/inbox")
    one.note([("a.tif", STATE, ("raw/1",))])
    other.note([("b.tif", STATE, ("raw/2", "quarantine/3"))])
    one.flush()
    other.flush()
    one.refresh()
    fresh = Known(local, "/inbox")
    fresh.refresh()
    for known in (one, fresh):
        assert known.answers("a.tif", STATE) == ("raw/1",)
        assert known.answers("b.tif", STATE) == ("raw/2", "quarantine/3")
        assert known.answers("a.tif", FileState(1, 3)) is None
        assert known.has_answer("raw/2")
    assert Known(local, "/other inbox").folder != one.folder


def test_marks_survive_merging_by_two_watchers_at_once(local):
    watchers = [Known(local, "/inbox") for _ in range(2)]
    for number in range(3 * MOST_BATCHES):
        watcher = watchers[number % 2]
        watcher.note([(f"{number}.tif", STATE, ())])
        watcher.flush()
        if number % 5 == 0:
            watcher.refresh()
    fresh = Known(local, "/inbox")
    fresh.refresh()
    assert all(fresh.answers(f"{number}.tif", STATE) == () for number in range(3 * MOST_BATCHES))
    assert len(list(local.names(fresh.folder))) <= MOST_BATCHES + 1


def test_a_batch_that_another_watcher_merges_while_we_read_is_read_merged(local, monkeypatch):
    ours, theirs = Known(local, "/inbox"), Known(local, "/inbox")
    for number in range(MOST_BATCHES + 1):
        theirs.note([(f"{number}.tif", STATE, ())])
        theirs.flush()
    get, merged = type(local).get, []

    def merge_first(self, name):
        if not merged:
            merged.append(True)
            theirs.refresh()
        return get(self, name)

    monkeypatch.setattr(type(local), "get", merge_first)
    ours.refresh()
    assert all(ours.answers(f"{number}.tif", STATE) == () for number in range(MOST_BATCHES + 1))


def test_a_torn_batch_is_forgotten(local):
    known = Known(local, "/inbox")
    local.put(f"{known.folder}/torn.json", b'[["a.tif", 1')
    known.note([("b.tif", STATE, ())])
    known.flush()
    fresh = Known(local, "/inbox")
    fresh.refresh()
    assert fresh.answers("b.tif", STATE) == ()


def test_answers_stand_while_their_records_do(store):
    store.put("records/raw/k1.json", b"")
    store.put("quarantine/q1.json", b"")
    assert answers_standing(store) == {"raw/k1", "quarantine/q1"}


@pytest.fixture
def prefix(bucket):
    """An S3 inbox and the store objects behind it."""
    import obstore

    from storage.backends import backend

    url = f"s3://{bucket}/inbox"

    def upload(path: str, content: bytes) -> None:
        obstore.put(backend(url), path, content)

    return url, upload


def test_a_prefix_lists_as_a_folder_does_and_lends_copies(prefix):
    url, upload = prefix
    for path in ("a.tif", "day/b.tif", "day/deep/c.tif", "notes.txt", ".x.tif", "samples.csv"):
        upload(path, path.encode())
    inbox = open_inbox(url)
    assert isinstance(inbox, PrefixInbox)
    snapshot = inbox.snapshot(recursive=False)
    assert {path: state.size_bytes for path, state in snapshot.items()} == {
        "a.tif": 5,
        "day/b.tif": 9,
        "samples.csv": 11,
    }
    assert abs(snapshot["a.tif"].mtime_ns / 1e9 - time.time()) < 60
    (unit,) = pending_units(snapshot, {"day/b.tif"}, place)
    with inbox.fetched(unit) as root:
        assert (root / "day/b.tif").read_bytes() == b"day/b.tif"
        assert (root / "samples.csv").is_file()
        assert not (root / "a.tif").exists()
    assert not root.exists()


def test_an_object_that_changed_after_the_listing_is_not_taken(prefix):
    from storage.errors import BusyError

    url, upload = prefix
    upload("a.tif", b"first")
    inbox = open_inbox(url)
    snapshot = inbox.snapshot(recursive=False)
    upload("a.tif", b"and now longer")
    (unit,) = pending_units(snapshot, {"a.tif"}, place)
    with pytest.raises(BusyError, match="changed"), inbox.fetched(unit):
        pass
