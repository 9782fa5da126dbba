"""A full disk, a read-only one, a store that vanishes: a clear error, nothing harmed, the rerun finishes."""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from storage import leases, progress
from storage.errors import StoreError
from storage.objects import Objects, open_store
from tests.support import Carried, carry, contents, found_in

TOTAL_UNITS = 15  # of all steps of one tiny acquisition
DISK_BYTES = 8 * 2**20


def _mount(*arguments: str) -> bool:
    return subprocess.run(["mount", *arguments], capture_output=True, check=False).returncode == 0


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """Give the folder of a small disk of its own."""
    place = tmp_path / "disk"
    place.mkdir()
    if not _mount("-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(place)):
        pytest.skip("a disk of a chosen size needs the right to mount one")
    yield place
    subprocess.run(["umount", str(place)], capture_output=True, check=True)


def committed(objects: Objects) -> dict[str, bytes]:
    """Every object of a store but markers and scratch; of artifacts only those with a record."""
    whole = contents(objects)
    finished = {name.split("/")[2].removesuffix(".json") for name in whole if name.startswith("records/")}
    return {name: content for name, content in whole.items() if any(key in name for key in finished)}


def same(objects: Objects, carried: tuple[Objects, list[Carried]], first: Carried) -> bool:
    """Whether a store holds what the undisturbed one holds of its acquisitions, and nothing else."""
    reference = contents(carried[0])
    strange = [name for name, content in contents(objects).items() if reference.get(name) != content]
    keys = [one.key for one in first.made]
    return not strange and keys == [one.key for one in carried[1][0].made]


@pytest.mark.parametrize("free_kib", [4, 60, 150, 250, 350, 450, 600])
def test_a_full_disk(
    disk: Path, experiment: Path, carried: tuple[Objects, list[Carried]], free_kib: int
) -> None:
    objects = open_store(str(disk / "store"), create=True)
    ballast = disk / "ballast"
    ballast.write_bytes(b"x" * (DISK_BYTES - 4096 * 4 - free_kib * 1024))
    found = found_in(experiment)[0]
    with pytest.raises(StoreError, match="No space left on device") as caught:
        carry(objects, found)
    assert "\n" not in str(caught.value)
    before = committed(objects)
    ballast.unlink()
    made = carry(objects, found)
    assert {name: content for name, content in contents(objects).items() if name in before} == before
    assert same(objects, carried, made)
    assert objects.leftovers() == []


def test_a_read_only_disk(disk: Path, experiment: Path, carried: tuple[Objects, list[Carried]]) -> None:
    objects = open_store(str(disk / "store"), create=True)
    first, second = found_in(experiment)[:2]
    made = carry(objects, first)
    before = contents(objects)
    assert _mount("-o", "remount,ro", str(disk))
    assert [one.reused for one in carry(objects, first).made] == [True] * 4
    with pytest.raises(StoreError, match="Read-only file system") as caught:
        carry(objects, second)
    assert "\n" not in str(caught.value)
    with pytest.raises(StoreError, match="could not make the store's folder"):
        open_store(str(disk / "new"), create=True)
    assert contents(objects) == before
    assert _mount("-o", "remount,rw", str(disk))
    carry(objects, second)
    assert same(objects, carried, made)


def _leave(folder: Path, *, empty: bool) -> Path:
    away = folder.with_name("away")
    folder.rename(away)
    if empty:
        folder.mkdir()  # what is left of a mount point when its disk is taken away
    return away


@pytest.mark.parametrize("empty", [False, True], ids=["folder gone", "disk unmounted"])
@pytest.mark.parametrize("unit", [1, 2, 4, 6, 9, 12])
def test_a_store_that_vanishes_in_the_middle(
    tmp_path: Path,
    experiment: Path,
    carried: tuple[Objects, list[Carried]],
    monkeypatch: pytest.MonkeyPatch,
    unit: int,
    empty: bool,
) -> None:
    objects = open_store(str(tmp_path / "store"), create=True)
    calls: list[str] = []
    mark: Callable[..., None] = progress.Ledger.mark

    def vanishing(ledger: progress.Ledger, name: str, done: progress.Done) -> None:
        mark(ledger, name, done)
        calls.append(f"{ledger.folder}/{name}")
        if len(calls) == unit:
            _leave(tmp_path / "store", empty=empty)

    monkeypatch.setattr(progress.Ledger, "mark", vanishing)
    found = found_in(experiment)[0]
    with pytest.raises(StoreError, match=r"has gone: its chipcyte\.json is not there any more"):
        carry(objects, found)
    assert len(calls) == unit
    left = tmp_path / "store"
    assert not left.exists() or not list(left.iterdir())
    if empty:
        left.rmdir()
    (tmp_path / "away").rename(left)
    # The run that died held a lease, which came back with the store; its process is this one, still alive.
    monkeypatch.setattr(leases.Holder, "is_gone", property(lambda _: True))
    assert same(objects, carried, carry(objects, found))
    assert len(calls) == len(set(calls)) == TOTAL_UNITS
