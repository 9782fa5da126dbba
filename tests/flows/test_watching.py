import builtins
import multiprocessing
import os
import shutil
import signal
import sys
import time
from multiprocessing.synchronize import Event
from pathlib import Path

import numpy as np
import obstore
import pytest
import tifffile

from flows import intake
from flows.watching import open_watcher, watch, watch_plainly
from storage import images, layout, quarantine, records
from storage.backends import backend
from storage.errors import BusyError, StoreError
from storage.inbox import FileState
from storage.objects import open_store
from storage.quarantine import Refusal
from tasks.ingest import ingest
from tasks.samples import standing_samples
from tasks.settings import Settings, WatchSettings
from tests.storage.conftest import bucket, s3_environment, s3_server  # noqa: F401 - fixtures
from tests.storage.sources import test_ome_sets
from tests.support import QUICK
from tests.support import write_tiff as write_any_tiff

QUIET_S = 10.0


class Clock:
    """A clock that stands still between looks, and that a pause sets forward."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def pause(self, seconds: float) -> None:
        self.now += seconds


class Lab:
    """An inbox, a store and a watcher without Prefect whose clock the test holds."""

    def __init__(self, folder: Path, **settings) -> None:
        self.inbox, self.store, self.settings = folder / "inbox", str(folder / "store"), settings
        self.inbox.mkdir()
        self.announced: list[str] = []
        self.restart()

    def restart(self) -> None:
        self.clock = Clock()
        self.watcher = open_watcher(
            str(self.inbox),
            self.store,
            QUICK.model_copy(update={"watch": WatchSettings(quiet_period_s=QUIET_S), **self.settings}),
            announce=lambda raw: self.announced.append(raw.name),
            ingesting=ingest.fn,
        )
        self.watcher.stillness.clock = self.clock
        self.watcher.pause = self.clock.pause

    def look(self) -> list[tuple[str, str]]:
        """What one look takes, right now."""
        return sorted((event.what, event.place) for event in self.watcher.take(self.watcher.look()))

    def settle(self) -> list[tuple[str, str]]:
        """What two looks a quiet period apart take."""
        return sorted((event.what, event.place) for event in watch_plainly(self.watcher))

    @property
    def raws(self) -> list[records.Record]:
        return records.listing(self.watcher.objects, "raw")

    @property
    def refusals(self) -> list[Refusal]:
        return quarantine.listing(self.watcher.objects)


@pytest.fixture
def lab(tmp_path):
    return Lab(tmp_path)


def pixels(seed=0, shape=(2, 24, 32)):
    return np.random.default_rng(seed).integers(0, 4000, shape).astype(np.uint16)


def write_tiff(path: Path, pixels: np.ndarray) -> Path:
    return write_any_tiff(path, pixels, photometric="minisblack")


def tear(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-600])


def pixels_of(objects, key):
    image = images.open_image(objects, layout.image_path("raw", key))
    return image.levels[0].read(images.Region((0,) * 5, image.shape))[:, 0, 0]


def test_a_file_that_still_grows_is_taken_when_it_is_still(lab):
    whole = write_tiff(lab.inbox.parent / "whole.tif", pixels()).read_bytes()
    growing = lab.inbox / "growing.tif"
    for size in (100, 1000, len(whole)):
        growing.write_bytes(whole[:size])
        assert lab.look() == []
        lab.clock.pause(QUIET_S - 1)
    assert lab.look() == []
    lab.clock.pause(1)
    assert lab.look() == [("ingested", "growing.tif")]
    assert lab.look() == []
    np.testing.assert_array_equal(pixels_of(lab.watcher.objects, lab.raws[0].key), pixels())


def test_what_is_still_being_written_is_left_to_the_next_time(lab):
    write_tiff(lab.inbox / "done.tif", pixels())
    busy = write_tiff(lab.inbox / "busy.tif", pixels(1))

    def meanwhile(seconds: float) -> None:
        lab.clock.pause(seconds)
        write_tiff(busy, pixels(2, (3, 24, 32)))

    lab.watcher.pause = meanwhile
    assert lab.settle() == [("ingested", "done.tif"), ("waiting", "busy.tif")]


def test_renamed_copied_and_rearrived_files_are_ingested_once(lab):
    first = write_tiff(lab.inbox / "a.tif", pixels())
    assert lab.settle() == [("ingested", "a.tif")]
    shutil.copy(first, lab.inbox / "copy.tif")
    assert lab.settle() == [("known", "copy.tif")]
    content = first.read_bytes()
    first.rename(lab.inbox / "renamed.tif")
    assert lab.settle() == [("known", "renamed.tif")]
    first.write_bytes(content)
    assert lab.settle() == [("known", "a.tif")]
    assert lab.settle() == []
    assert (len(lab.raws), lab.announced) == (1, ["a.tif"])


def test_a_bad_file_is_refused_with_its_reason_and_stops_no_other(lab):
    for number in range(3):
        write_tiff(lab.inbox / f"{number}.tif", pixels(number))
    tear(lab.inbox / "1.tif")
    (lab.inbox / "text.tif").write_text("not an image")
    (lab.inbox / "broken.nd2").write_bytes(b"nothing of the kind")
    (lab.inbox / "empty.tif").touch()
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in lab.inbox.iterdir()}
    assert lab.settle() == [
        ("ingested", "0.tif"),
        ("ingested", "2.tif"),
        ("quarantined", "1.tif"),
        ("quarantined", "broken.nd2"),
        ("quarantined", "empty.tif"),
        ("quarantined", "text.tif"),
    ]
    reasons = {one.place: one.reason for one in lab.refusals}
    assert "incomplete" in reasons["1.tif"]
    assert "expected a TIFF" in reasons["text.tif"]
    assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in lab.inbox.iterdir()} == before


def test_a_refused_file_is_tried_again_only_when_its_bytes_change(lab, monkeypatch):
    opened = []
    check = intake.check_last_plane
    monkeypatch.setattr(intake, "check_last_plane", lambda one: (opened.append(one.name), check(one)))
    bad = write_tiff(lab.inbox / "bad.tif", pixels())
    tear(bad)
    assert lab.settle() == [("quarantined", "bad.tif")]
    (refusal,) = lab.refusals
    assert lab.settle() == []
    os.utime(bad, ns=(1, 1))  # touched
    assert lab.settle() == [("quarantined", "bad.tif")]
    shutil.copy(bad, lab.inbox / "copy of bad.tif")
    assert lab.settle() == [("quarantined", "copy of bad.tif")]
    lab.restart()
    assert lab.settle() == []
    assert opened == ["bad.tif"]
    assert lab.refusals == [refusal]
    write_tiff(bad, pixels())
    assert lab.settle() == [("ingested", "bad.tif")]
    assert opened == ["bad.tif"] * 2


def test_a_refusal_is_tried_again_on_request(lab):
    bad = lab.inbox / "bad.tif"
    bad.write_text("not an image")
    lab.settle()
    quarantine.clear(lab.watcher.objects, lab.refusals[0].key)
    assert lab.settle() == [("quarantined", "bad.tif")]
    assert len(lab.refusals) == 1


def test_bytes_that_changed_for_other_bad_bytes_have_one_new_reason(lab):
    bad = lab.inbox / "bad.tif"
    bad.write_text("not an image")
    lab.settle()
    write_tiff(bad, pixels())
    tear(bad)
    assert lab.settle() == [("quarantined", "bad.tif")]
    assert ["incomplete" in one.reason for one in lab.refusals] == [True]


@pytest.mark.parametrize("years", [-60, 60])
def test_the_clock_of_the_file_server_does_not_matter(lab, years):
    path = write_tiff(lab.inbox / "a.tif", pixels())
    moment = time.time_ns() + years * 365 * 86400 * 10**9
    os.utime(path, ns=(moment, moment))
    assert lab.look() == []
    lab.clock.pause(QUIET_S)
    assert lab.look() == [("ingested", "a.tif")]
    assert lab.look() == []


def test_a_file_that_shrinks_while_it_is_read_is_neither_taken_nor_blamed(lab):
    path = write_tiff(lab.inbox / "a.tif", pixels())
    whole = path.read_bytes()

    def shrinking(acquisition):
        tear(path)
        return ingest.fn(acquisition, lab.store, QUICK.ingest, QUICK.resources)

    lab.watcher.ingest, good = shrinking, lab.watcher.ingest
    assert lab.settle() == [("waiting", "a.tif")]
    assert (lab.raws, lab.refusals) == ([], [])
    lab.watcher.ingest = good
    path.write_bytes(whole)
    assert lab.settle() == [("ingested", "a.tif")]


def test_a_file_that_is_replaced_while_it_is_copied_leaves_no_mixture(lab, monkeypatch):
    path = write_tiff(lab.inbox / "a.tif", pixels(shape=(4, 24, 32)))
    old = path.read_bytes()
    copy_unit, done = sys.modules["tasks.ingest"].copy_unit, []

    def replaced_after_two(unit, **given):
        if len(done) == 2:
            write_tiff(path, pixels(9, (4, 24, 32)))
        done.append(unit)
        return copy_unit(unit, **given)

    monkeypatch.setattr("tasks.ingest.copy_unit", replaced_after_two)
    assert lab.settle() == [("waiting", "a.tif")]
    assert (lab.raws, lab.refusals) == ([], [])
    monkeypatch.undo()
    path.write_bytes(old)
    lab.settle()
    np.testing.assert_array_equal(pixels_of(lab.watcher.objects, lab.raws[0].key), pixels(shape=(4, 24, 32)))


def test_a_folder_of_planes_is_taken_as_one_when_all_of_it_is_still(lab):
    for t in range(3):
        write_tiff(lab.inbox / "position1" / f"img_t{t}.tif", pixels(t, (24, 32)))
    assert lab.look() == []
    lab.clock.pause(QUIET_S)
    write_tiff(lab.inbox / "position1" / "img_t3.tif", pixels(3, (24, 32)))
    assert lab.look() == []
    lab.clock.pause(QUIET_S)
    assert lab.look() == [("ingested", "position1")]
    assert lab.look() == []
    (raw,) = lab.raws
    assert (raw.counts["frames"], raw.name) == (4, "position1")


def test_a_folder_of_stacks_is_several_and_only_new_ones_are_taken(lab):
    for name in ("a", "b"):
        write_tiff(lab.inbox / "day" / f"{name}.tif", pixels(ord(name)))
    assert lab.settle() == [("ingested", "day/a.tif"), ("ingested", "day/b.tif")]
    write_tiff(lab.inbox / "day" / "c.tif", pixels(7))
    assert lab.settle() == [("ingested", "day/c.tif")]
    assert lab.settle() == []


def test_a_bad_file_in_a_folder_stops_no_other(lab):
    write_tiff(lab.inbox / "day" / "a.tif", pixels())
    (lab.inbox / "day" / "b.nd2").write_bytes(b"nothing of the kind")
    assert lab.settle() == [("ingested", "day/a.tif"), ("quarantined", "day/b.nd2")]
    assert lab.settle() == []


def test_a_file_of_several_scenes_becomes_several(lab):
    with tifffile.TiffWriter(lab.inbox / "two.ome.tif", ome=True) as file:
        for seed in range(2):
            file.write(pixels(seed), metadata={"axes": "TYX"})
    assert lab.settle() == [("ingested", "two.ome.tif#0"), ("ingested", "two.ome.tif#1")]
    assert lab.settle() == []


def test_samples_are_stated_and_a_silent_copy_does_not_unsay_them(lab):
    (lab.inbox / "samples.csv").write_text("file,condition\na.tif,wild type\n")
    path = write_tiff(lab.inbox / "a.tif", pixels())
    lab.settle()
    shutil.copy(path, lab.inbox / "copy.tif")
    lab.settle()
    (sample,) = standing_samples(lab.watcher.objects).values()
    assert sample.settings["condition"] == "wild type"


def test_a_wrong_samples_table_makes_files_wait_and_is_named(lab):
    (lab.inbox / "samples.csv").write_text("file,colour\na.tif,red\n")
    write_tiff(lab.inbox / "a.tif", pixels())
    lab.look()
    lab.clock.pause(QUIET_S)
    events = list(lab.watcher.take(lab.watcher.look()))
    assert [(one.what, one.place) for one in events] == [("waiting", "a.tif"), ("waiting", "samples.csv")]
    assert all("colour" in one.reason for one in events)
    assert (lab.refusals, lab.raws) == ([], [])
    (lab.inbox / "samples.csv").write_text("file,condition\na.tif,wild type\n")
    assert lab.settle() == [("ingested", "a.tif")]


def conditions(lab):
    return {
        records.read(lab.watcher.objects, "raw", key).name: one.settings["condition"]
        for key, one in standing_samples(lab.watcher.objects).items()
    }


def test_a_table_that_comes_or_is_edited_later_is_stated_and_then_left_alone(lab, monkeypatch):
    for name in ("a.tif", "b.tif", "day/c.tif"):
        write_tiff(lab.inbox / name, pixels(ord(name[-5])))
    for t in range(2):
        write_tiff(lab.inbox / "position1" / f"img_t{t}.tif", pixels(t, (24, 32)))
    lab.settle()
    table = lab.inbox / "samples.csv"
    table.write_text("file,condition\na.tif,wild type\nposition1,BRAF\n")
    assert lab.look() == []  # not still yet
    lab.clock.pause(QUIET_S)
    assert lab.look() == [("known", "a.tif"), ("known", "position1/img_t0.tif")]
    expected = {"a.tif": "wild type", "b.tif": "unlabelled", "c.tif": "unlabelled", "position1": "BRAF"}
    assert conditions(lab) == expected
    (lab.inbox / "day" / "samples.csv").write_text("file,condition\nc.tif,BRAF\nb.tif,BRAF\n")
    table.write_text("file,condition\na.tif,BRAF\nc.tif,wild type\n")
    assert lab.settle() == [("known", "a.tif"), ("known", "day/c.tif")]
    assert conditions(lab) == expected | {"a.tif": "BRAF", "c.tif": "BRAF"}
    lab.restart()
    monkeypatch.setattr("flows.restating.read_samples", lambda path: pytest.fail(f"{path} was read again"))
    assert lab.settle() == []


def test_a_renamed_copy_may_be_named_in_a_later_table(lab):
    path = write_tiff(lab.inbox / "a.tif", pixels())
    lab.settle()
    path.rename(lab.inbox / "renamed.tif")
    lab.settle()
    (lab.inbox / "samples.csv").write_text("file,condition\nrenamed.tif,BRAF\n")
    assert lab.settle() == [("known", "renamed.tif")]
    assert conditions(lab) == {"a.tif": "BRAF"}


def test_a_wrong_table_that_comes_later_changes_nothing_until_it_is_right(lab):
    write_tiff(lab.inbox / "a.tif", pixels())
    lab.settle()
    (lab.inbox / "samples.csv").write_text("file,colour\na.tif,red\n")
    assert lab.settle() == [("waiting", "samples.csv")]
    assert lab.settle() == [("waiting", "samples.csv")]
    (lab.inbox / "samples.csv").write_text("file,condition\na.tif,BRAF\n")
    assert lab.settle() == [("known", "a.tif")]
    assert conditions(lab) == {"a.tif": "BRAF"}


def test_planes_that_come_slowly_make_a_new_acquisition_that_names_the_shorter(lab):
    for t in range(2):
        write_tiff(lab.inbox / "position1" / f"img_t{t}.tif", pixels(t, (24, 32)))
    lab.settle()
    (short,) = lab.raws
    write_tiff(lab.inbox / "position1" / "img_t3.tif", pixels(3, (24, 32)))
    write_tiff(lab.inbox / "position1" / "img_t2.tif", pixels(2, (24, 32)))
    (event,) = watch_plainly(lab.watcher)
    assert (event.what, event.place) == ("ingested", "position1")
    assert f"chipcyte gc {short.key}" in event.reason
    assert sorted(one.counts["frames"] for one in lab.raws) == [2, 4]
    assert lab.settle() == []


def test_a_folder_of_planes_with_a_gap_is_refused_until_it_is_filled(lab):
    for t, c in ((0, 0), (0, 1), (1, 0)):
        write_tiff(lab.inbox / "position1" / f"img_t{t}_c{c}.tif", pixels(t, (24, 32)))
    assert lab.settle() == [("quarantined", "position1")]
    write_tiff(lab.inbox / "position1" / "img_t1_c1.tif", pixels(5, (24, 32)))
    assert lab.settle() == [("ingested", "position1")]
    assert lab.refusals == []


def test_of_many_known_files_only_the_new_one_is_opened(lab, monkeypatch):
    for number in range(12):
        write_tiff(lab.inbox / "day" / f"recording_{number}.ome.tif", pixels(number))
    write_tiff(lab.inbox / "day" / "plain.tif", pixels(99, (3, 24, 32)))
    lab.settle()
    write_tiff(lab.inbox / "day" / "new.ome.tif", pixels(100))
    opened, whole = set(), tifffile.TiffFile

    def counted(path, *args, **kwargs):
        opened.add(Path(path).name)
        return whole(path, *args, **kwargs)

    monkeypatch.setattr(tifffile, "TiffFile", counted)
    assert lab.settle() == [("ingested", "day/new.ome.tif")]
    assert len(opened - {"new.ome.tif"}) <= 3  # those by which a folder of planes is told from one of files


def test_a_file_that_a_refused_one_waited_for_completes_its_set(lab):
    folder = lab.inbox / "day"
    folder.mkdir()
    first, second = test_ome_sets.write_set(folder)[:2]
    third, held = folder / "part2.ome.tif", (folder / "part2.ome.tif").read_bytes()
    third.unlink()
    assert {what for what, _ in lab.settle()} == {"quarantined"}
    third.write_bytes(held)
    assert lab.settle() == [("ingested", f"day/{first.name}")]
    assert lab.refusals == []
    assert second.exists()


def test_an_acquisition_that_left_the_store_is_taken_again(lab):
    write_tiff(lab.inbox / "a.tif", pixels())
    lab.settle()
    lab.watcher.objects.delete([layout.record_path("raw", lab.raws[0].key)])
    assert [what for what, _ in lab.settle()] == ["ingested"]


def test_links_that_lead_in_a_circle_end(lab):
    write_tiff(lab.inbox / "day" / "a.tif", pixels())
    (lab.inbox / "day" / "loop").symlink_to(lab.inbox)
    assert lab.settle() == [("ingested", "day/a.tif")]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_refused(lab):
    write_tiff(lab.inbox / "a.tif", pixels()).chmod(0)
    assert lab.settle() == [("quarantined", "a.tif")]


def test_a_store_that_fails_blames_no_file(lab):
    write_tiff(lab.inbox / "a.tif", pixels())

    def failing(acquisition):
        raise StoreError("the disk is full")

    lab.watcher.ingest, good = failing, lab.watcher.ingest
    with pytest.raises(StoreError, match="full"):
        lab.settle()
    assert lab.refusals == []
    lab.watcher.ingest = good
    assert lab.settle() == [("ingested", "a.tif")]


def test_ten_thousand_known_files_are_seen_in_three_seconds_and_none_is_opened(lab, monkeypatch):
    folder, marks = lab.inbox / "day", []
    folder.mkdir()
    (Path(lab.store) / "records" / "raw").mkdir(parents=True)
    for number in range(10_000):
        path = folder / f"recording_{number:05}.ome.tif"
        path.write_bytes(b"II")
        stat = path.stat()
        marks.append((f"day/{path.name}", FileState(stat.st_size, stat.st_mtime_ns), (f"raw/{number:020x}",)))
        (Path(lab.store) / "records" / "raw" / f"{number:020x}.json").write_bytes(b"{}")
    lab.watcher.known.note(marks)
    lab.watcher.known.flush()
    lab.restart()
    opened = []
    for owner, name in ((builtins, "open"), (Path, "open"), (tifffile, "TiffFile"), (os, "open")):
        whole = getattr(owner, name)

        def counted(path, *args, whole=whole, **kwargs):
            opened.append(str(path))
            return whole(path, *args, **kwargs)

        monkeypatch.setattr(owner, name, counted)
    start = time.monotonic()
    look = lab.watcher.look()
    elapsed_s = time.monotonic() - start
    assert (look.ready, look.restless, len(look.states)) == ([], frozenset(), 10_000)
    assert elapsed_s < 3
    assert [path for path in opened if str(lab.inbox) in path] == []


def watch_slowly(inbox: str, store: str, slow_s: float, ready: Event, go: Event) -> None:
    """What the other processes do: each unit takes its time."""
    stage = sys.modules["tasks.ingest"]
    copy_unit = stage.copy_unit

    def slowly(unit, **given):
        time.sleep(slow_s)
        return copy_unit(unit, **given)

    stage.copy_unit = slowly
    settings = QUICK.model_copy(update={"watch": WatchSettings(quiet_period_s=0.05)})
    watcher = open_watcher(inbox, store, settings, ingesting=ingest.fn, announce=lambda _: None)
    ready.set()
    go.wait(60)
    watch_plainly(watcher)


@pytest.fixture(scope="module")
def processes():
    """Processes that have imported everything, and never ran anything before they were forked."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.flows.test_watching"])
    return context


def started(processes, lab, slow_s: float, count: int):
    go = processes.Event()
    ready = [processes.Event() for _ in range(count)]
    watchers = [
        processes.Process(target=watch_slowly, args=(str(lab.inbox), lab.store, slow_s, one, go))
        for one in ready
    ]
    for watcher in watchers:
        watcher.start()
    assert all(one.wait(60) for one in ready)
    go.set()
    return watchers


def test_two_watchers_at_once_ingest_each_acquisition_once(lab, processes):
    for number in range(6):
        write_tiff(lab.inbox / f"{number}.tif", pixels(number))
    watchers = started(processes, lab, 0.02, 2)
    for watcher in watchers:
        watcher.join(60)
    assert [watcher.exitcode for watcher in watchers] == [0, 0]
    assert len(lab.raws) == 6
    assert lab.refusals == []
    assert {what for what, _ in lab.settle()} <= {"known"}  # what one of them left to the other
    assert lab.settle() == []
    for number in range(6):
        held = [pixels_of(lab.watcher.objects, raw.key) for raw in lab.raws if raw.name == f"{number}.tif"]
        np.testing.assert_array_equal(held[0], pixels(number))


def test_a_watcher_that_was_killed_is_finished_by_the_next(lab, processes):
    for number in range(4):
        write_tiff(lab.inbox / f"{number}.tif", pixels(number, (5, 24, 32)))
    (watcher,) = started(processes, lab, 0.1, 1)
    begun = Path(lab.store) / "progress" / "raw"
    deadline = time.monotonic() + 30
    while not list(begun.rglob("*.json")) and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.15)
    watcher.kill()
    watcher.join(10)
    assert watcher.exitcode == -signal.SIGKILL
    assert len(lab.raws) < 4
    lab.restart()
    settled = lab.settle()
    assert len(settled) == 4
    assert {what for what, _ in settled} <= {"ingested", "known"}
    assert len(lab.raws) == len(lab.announced) == 4
    for raw in lab.raws:
        np.testing.assert_array_equal(
            pixels_of(lab.watcher.objects, raw.key), pixels(int(raw.name[0]), (5, 24, 32))
        )
    assert lab.settle() == []


def test_the_loop_tells_each_thing_once_and_ends_when_interrupted(lab, monkeypatch):
    write_tiff(lab.inbox / "a.tif", pixels())
    monkeypatch.setattr("flows.watching.flow", lambda **_: lambda function: function)
    looks, told = [], []

    def pause(seconds: float) -> None:
        lab.clock.pause(seconds)
        looks.append(seconds)
        if len(looks) == 2:
            shutil.move(lab.inbox, lab.inbox.with_name("away"))
        if len(looks) == 4:
            shutil.move(lab.inbox.with_name("away"), lab.inbox)
        if len(looks) == 6:
            raise KeyboardInterrupt

    lab.watcher.pause = pause
    events = watch(lab.watcher, told.append)
    assert [(event.what, event.place) for event in events] == [("ingested", "a.tif")]
    assert looks == [10.0] * 6
    assert [event.what for event in told] == ["ingested", "waiting"]
    assert "has gone" in told[1].line


def test_the_loop_outlives_a_dead_prefect_server(lab, monkeypatch):
    write_tiff(lab.inbox / "a.tif", pixels())
    alive, told, pauses = [], [], []

    def dying(**_):
        def wrapped(function):
            def called():
                if not alive:
                    raise ConnectionError("no server at http://127.0.0.1:4200")
                function()

            return called

        return wrapped

    def pause(seconds: float) -> None:
        lab.clock.pause(seconds)
        pauses.append(seconds)
        if len(pauses) == 8:
            alive.append(True)
        if len(pauses) == 10:
            raise KeyboardInterrupt

    monkeypatch.setattr("flows.watching.flow", dying)
    lab.watcher.pause = pause
    assert [(event.what, event.place) for event in watch(lab.watcher, told.append)] == [("ingested", "a.tif")]
    assert pauses == [10.0, 20.0, 40.0, 80.0, 160.0, 300.0, 300.0, 300.0, 10.0, 10.0]
    assert [event.what for event in told] == ["waiting", "ingested"]
    assert "no server at http" in told[0].line


def test_watch_settings_are_no_part_of_a_key(tmp_path, lab):
    write_tiff(lab.inbox / "a.tif", pixels())
    lab.settle()
    other = Settings(watch=WatchSettings(quiet_period_s=0), resources=QUICK.resources)
    watcher = open_watcher(
        str(lab.inbox), str(tmp_path / "other"), other, announce=lambda _: None, ingesting=ingest.fn
    )
    (event,) = watcher.take(watcher.look())
    assert event.key == lab.raws[0].key
    assert open_store(str(tmp_path / "other")).exists(layout.record_path("raw", event.key))


def test_what_another_process_is_doing_is_left_to_it(lab):
    write_tiff(lab.inbox / "a.tif", pixels())

    def busy(acquisition):
        raise BusyError("raw 1 is already being done by process 7 on host")

    lab.watcher.ingest, good = busy, lab.watcher.ingest
    assert lab.settle() == [("waiting", "a.tif")]
    assert lab.refusals == []
    lab.watcher.ingest = good
    assert lab.settle() == [("ingested", "a.tif")]


def test_an_s3_prefix_is_watched_through_temporary_copies(lab, bucket, tmp_path, monkeypatch):  # noqa: F811
    copies = tmp_path / "copies"
    copies.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(copies))
    url = f"s3://{bucket}/inbox"
    for t in range(2):
        path = write_tiff(tmp_path / "plane.tif", pixels(t, (24, 32)))
        obstore.put(backend(url), f"position1/img_t{t}.tif", path.read_bytes())
    obstore.put(backend(url), "a.tif", write_tiff(tmp_path / "a.tif", pixels()).read_bytes())
    obstore.put(backend(url), "copy.tif", (tmp_path / "a.tif").read_bytes())
    obstore.put(backend(url), "bad.tif", b"not an image")
    obstore.put(backend(url), "samples.csv", b"file,condition\na.tif,BRAF\ncopy.tif,BRAF\n")
    lab.inbox = url
    lab.restart()
    whats = dict(reversed(one) for one in lab.settle())
    assert sorted([whats.pop("a.tif"), whats.pop("copy.tif")]) in (["ingested", "known"], ["ingested"] * 2)
    assert whats == {"position1": "ingested", "bad.tif": "quarantined"}
    assert sorted(raw.counts["frames"] for raw in lab.raws) == [2, 2]
    samples = standing_samples(lab.watcher.objects)
    assert sorted(one.settings["condition"] for one in samples.values()) == ["BRAF", "unlabelled"]
    assert list(copies.iterdir()) == []
    assert lab.settle() == []
    obstore.put(backend(url), "bad.tif", (tmp_path / "plane.tif").read_bytes())
    assert lab.settle() == [("ingested", "bad.tif")]
    assert lab.refusals == []
    obstore.put(backend(url), "samples.csv", b"file,condition\na.tif,wild type\ncopy.tif,wild type\n")
    assert [what for what, _ in lab.settle()] == ["known"]
    samples = standing_samples(lab.watcher.objects)
    assert sorted(one.settings["condition"] for one in samples.values())[-1] == "wild type"
    assert list(copies.iterdir()) == []
