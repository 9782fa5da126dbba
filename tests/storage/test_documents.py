import pytest

from storage import documents
from storage.errors import MissingInputError


@pytest.fixture
def gets(local, monkeypatch):
    """The names that are read from the store."""
    names, get = [], type(local).get

    def counted(objects, name):
        names.append(name)
        return get(objects, name)

    monkeypatch.setattr(type(local), "get", counted)
    return names


def test_a_document_is_read_once_in_all_blocks_of_a_step(local, gets):
    local.put("a/zarr.json", b"1")
    for _ in range(3):
        with documents.final("one"):
            assert documents.read(local, "a/zarr.json") == b"1"
    assert gets == ["a/zarr.json"]


def test_outside_a_step_and_in_the_next_a_document_is_read_as_it_is_now(local):
    for number, step in enumerate([None, "two", None, "three"]):
        local.put("a/zarr.json", str(number).encode())
        if step is None:
            assert documents.read(local, "a/zarr.json") == str(number).encode()
        else:
            with documents.final(step):
                assert documents.read(local, "a/zarr.json") == str(number).encode()


def test_what_is_missing_is_looked_for_again(local):
    with documents.final("four"):
        with pytest.raises(MissingInputError):
            documents.read(local, "a/zarr.json")
        local.put("a/zarr.json", b"1")
        assert documents.read(local, "a/zarr.json") == b"1"


def test_stores_and_steps_at_once_are_kept_apart(local, tmp_path):
    from storage.objects import open_store

    other = open_store(str(tmp_path / "other"), create=True)
    local.put("a/zarr.json", b"1")
    other.put("a/zarr.json", b"2")
    with documents.final("five"):
        assert documents.read(local, "a/zarr.json") == b"1"
        with documents.final("six"):
            local.put("a/zarr.json", b"3")
            assert documents.read(local, "a/zarr.json") == b"3"
            assert documents.read(other, "a/zarr.json") == b"2"
        assert documents.read(local, "a/zarr.json") == b"1"


def test_only_the_last_steps_are_kept(local):
    for number in range(3 * documents.MOST_STEPS):
        with documents.final(f"step {number}"):
            local.put("a/zarr.json", b"1")
            documents.read(local, "a/zarr.json")
    assert len(documents._kept.steps) <= documents.MOST_STEPS
