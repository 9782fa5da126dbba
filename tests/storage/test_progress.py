import pytest

from storage import progress
from storage.arrays import digest
from storage.objects import Objects
from storage.progress import Done, Ledger


@pytest.fixture
def ledger(store: Objects) -> Ledger:
    return Ledger(store, "clean", "aa11", "planes")


def unit(objects: Objects, name: str, content: bytes = b"shard") -> Done:
    path = f"artifacts/clean/aa11/{name}"
    objects.put(path, content)
    return Done({"name": name, "angles": [1.5, None]}, {path: digest(content)})


def test_what_is_marked_is_done(ledger: Ledger, store: Objects) -> None:
    assert ledger.done() == {}
    marked = {name: unit(store, name) for name in ("000000.000001", "000001.000000")}
    for name, done in marked.items():
        ledger.mark(name, done)
    assert ledger.done() == marked
    assert Ledger(store, "clean", "aa11", "planes").done() == marked


def test_steps_kinds_and_keys_have_markers_of_their_own(ledger: Ledger, store: Objects) -> None:
    ledger.mark("0", Done(1, {}))
    others = [("clean", "aa11", "angles"), ("clean", "aa12", "planes"), ("labels", "aa11", "planes")]
    for kind, key, step in others:
        assert Ledger(store, kind, key, step).done() == {}


@pytest.mark.parametrize(
    "torn", [b"", b'{"result": 1', b"[]", b'{"result": 1, "written": {"a": 3}}', b"\xff"]
)
def test_a_torn_marker_is_no_marker(ledger: Ledger, store: Objects, torn: bytes) -> None:
    ledger.mark("0", Done(7, {}))
    store.put(f"{ledger.folder}/1.json", torn)
    assert ledger.done() == {"0": Done(7, {})}


@pytest.mark.parametrize("torn", [b"", b"shar", None])
def test_a_unit_whose_bytes_are_torn_or_gone_is_not_done(
    ledger: Ledger, store: Objects, torn: bytes | None
) -> None:
    for name in ("0", "1"):
        ledger.mark(name, unit(store, name))
    store.delete(["artifacts/clean/aa11/1"])
    if torn is not None:
        store.put("artifacts/clean/aa11/1", torn)
    assert list(ledger.done()) == ["0"]


def test_clearing_removes_markers_and_scratch_of_one_artifact_only(ledger: Ledger, store: Objects) -> None:
    ledger.mark("0", Done(1, {}))
    store.put("progress/clean/aa11/scratch/zarr.json", b"{}")
    other = Ledger(store, "clean", "bb22", "planes")
    other.mark("0", Done(2, {}))
    progress.clear(store, "clean", "aa11")
    assert ledger.done() == {}
    assert store.sizes("progress/clean/aa11") == []
    assert other.done() == {"0": Done(2, {})}
