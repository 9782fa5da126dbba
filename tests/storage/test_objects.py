import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import obstore
import pytest

from storage.errors import ChipcyteError, InputError, MissingInputError, StoreError
from storage.objects import MARKER, MARKER_TEXT, Objects, normal_url, open_store


def test_what_is_put_is_got(store: Objects) -> None:
    store.put("a/b.bin", b"\x00\xff" * 1000)
    assert store.get("a/b.bin") == b"\x00\xff" * 1000
    store.put("a/b.bin", b"")
    assert store.get("a/b.bin") == b""


def test_an_object_larger_than_one_part_comes_back(store: Objects) -> None:
    content = bytes(range(256)) * (12 << 12)  # 12 MiB: obstore sends parts of 5 MiB
    store.put("large", content)
    assert store.get("large") == content
    assert store.sizes("") == [(MARKER, 40), ("large", len(content))]


def test_a_name_that_is_not_there_is_named(store: Objects) -> None:
    with pytest.raises(MissingInputError, match=r"expected records/raw/aa\.json in .*, found nothing"):
        store.get("records/raw/aa.json")
    assert not store.exists("records/raw/aa.json")
    assert not store.exists("records")


def test_a_name_is_created_once(store: Objects) -> None:
    assert store.create("x/one", b"first")
    assert not store.create("x/one", b"second")
    assert store.get("x/one") == b"first"
    assert store.exists("x/one")


def test_of_many_creating_at_once_one_wins_and_its_bytes_stay(store: Objects) -> None:
    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(lambda number: store.create("race", str(number).encode()), range(16)))
    assert won.count(True) == 1
    assert store.get("race") == str(won.index(True)).encode()


def test_listing_goes_by_folder_and_is_sorted(store: Objects) -> None:
    for name in ("raw/b/2", "raw/b/10", "raw/a", "rawer/c", "raw"):
        store.put(f"k/{name}" if name != "raw" else "z", name.encode())
    assert list(store.names("k/raw")) == ["k/raw/a", "k/raw/b/10", "k/raw/b/2"]
    assert store.sizes("k/rawer") == [("k/rawer/c", 7)]
    assert store.sizes("nothing/here") == []
    assert list(store.names("")) == [MARKER, "k/raw/a", "k/raw/b/10", "k/raw/b/2", "k/rawer/c", "z"]


def test_more_names_than_one_answer_holds_are_all_listed(store: Objects) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: store.put(f"many/{number:04d}", b""), range(1100)))
    assert [name for name, _ in store.sizes("many")] == [f"many/{number:04d}" for number in range(1100)]


def test_deleting_twice_is_no_error(store: Objects) -> None:
    store.put("a", b"1")
    store.put("b", b"2")
    store.delete(["a", "never/was"])
    store.delete(["a"])
    assert list(store.names("")) == ["b", MARKER]


def test_a_store_is_opened_again(store: Objects) -> None:
    store.put("a", b"1")
    assert open_store(store.url).get("a") == b"1"
    assert open_store(store.url + "/", create=True).get("a") == b"1"


@pytest.mark.parametrize("create", [True, False])
def test_a_store_that_another_process_makes_meanwhile_is_opened(create, tmp_path, monkeypatch) -> None:
    place, look = tmp_path / "new", Objects._entries
    place.mkdir()

    def made_meanwhile(self: Objects, prefix: str):
        (place / MARKER).write_bytes(MARKER_TEXT)
        return look(self, prefix)

    monkeypatch.setattr(Objects, "_entries", made_meanwhile)
    assert open_store(str(place), create=create).url == str(place)


def test_a_store_travels_to_other_processes_without_credentials(store: Objects) -> None:
    store.put("a", b"1")
    sent = pickle.dumps(store)
    assert b"a-secret-of-the-tests" not in sent
    assert pickle.loads(sent).get("a") == b"1"


def test_an_s3_place_that_holds_other_things_is_not_taken(bucket: str) -> None:
    open_store(f"s3://{bucket}/other", create=True).put("notes.txt", b"mine")
    with pytest.raises(InputError, match="is not a chipcyte store"):
        open_store(f"s3://{bucket}", create=True)
    with pytest.raises(MissingInputError, match="there is no store at s3"):
        open_store(f"s3://{bucket}/empty")


def test_a_bucket_that_does_not_exist_is_said_in_one_line(bucket: str) -> None:
    with pytest.raises(StoreError, match=r"does not exist \(NoSuchBucket\)") as caught:
        open_store("s3://no-such-bucket/store", create=True)
    assert "\n" not in str(caught.value)


def test_an_endpoint_without_encryption_needs_consent(
    bucket: str, s3_environment: pytest.MonkeyPatch
) -> None:
    s3_environment.delenv("AWS_ALLOW_HTTP")
    with pytest.raises(InputError, match="AWS_ALLOW_HTTP=true"):
        open_store(f"s3://{bucket}/s", create=True)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("/data/store", "/data/store"),
        ("/data/store/", "/data/store"),
        ("file:///data/my%20store", "/data/my store"),
        ("s3://bucket/prefix/", "s3://bucket/prefix"),
        ("s3a://bucket/prefix", "s3://bucket/prefix"),
        ("s3://bucket", "s3://bucket"),
    ],
)
def test_a_place_has_one_spelling(given: str, expected: str) -> None:
    assert normal_url(given) == expected


def test_relative_and_home_folders_become_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/anna")
    assert normal_url("here/store") == f"{tmp_path}/here/store"
    assert normal_url("~/store") == "/home/anna/store"


@pytest.mark.parametrize("given", ["gs://bucket/x", "https://host/x", "s3://", ""])
def test_a_place_of_another_kind_is_refused(given: str) -> None:
    with pytest.raises(InputError, match=r"expected (a folder or )?s3://bucket/prefix"):
        normal_url(given)


@pytest.mark.parametrize("name", ["with space", "100%", "a#1", "ünï", "[x]*?"])
def test_folders_with_odd_names_work(tmp_path: Path, name: str) -> None:
    objects = open_store(str(tmp_path / name), create=True)
    objects.put("a/b", b"1")
    assert (tmp_path / name / "a" / "b").read_bytes() == b"1"
    assert open_store(str(tmp_path / name)).sizes("a") == [("a/b", 1)]


def test_a_missing_folder_is_not_made_by_looking(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError, match="there is no store at"):
        open_store(str(tmp_path / "nowhere"))
    assert not (tmp_path / "nowhere").exists()


def test_an_empty_folder_becomes_a_store_only_on_request(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError, match="there is no store at"):
        open_store(str(tmp_path))
    assert list(tmp_path.iterdir()) == []
    open_store(str(tmp_path), create=True)
    assert (tmp_path / MARKER).read_bytes() == b'{"format":"chipcyte store","version":1}\n'


def test_a_folder_with_other_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(InputError, match=r"is not a chipcyte store: expected chipcyte\.json"):
        open_store(str(tmp_path), create=True)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_file_is_no_store(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="expected a folder as the store, found the file"):
        open_store(str(tmp_path / "file"), create=True)
    with pytest.raises(StoreError, match="could not make the store's folder"):
        open_store(str(tmp_path / "file" / "below"), create=True)


def test_a_name_in_the_way_of_a_folder_is_a_clear_error(local: Objects) -> None:
    local.put("a", b"1")
    for attempt in (
        lambda: local.put("a/b", b"2"),
        lambda: local.create("a/b", b"2"),
        lambda: local.get("a/b"),
        lambda: local.exists("a/b"),
    ):
        with pytest.raises(ChipcyteError) as caught:
            attempt()
        assert "\n" not in str(caught.value)
        assert local.url in str(caught.value)


def test_what_a_killed_put_left_is_found_and_removed(local: Objects) -> None:
    """Obstore writes NAME#1 and renames it; a killed process leaves it, and no listing shows it."""
    local.put("a/b", b"1")
    (Path(local.url) / "a" / "b#1").write_bytes(b"half")
    assert local.sizes("a") == [("a/b", 1)]
    assert [(entry.name, entry.size_bytes) for entry in local.leftovers()] == [("a/b#1", 4)]
    local.delete(["a/b#1"])
    assert local.leftovers() == []
    assert local.get("a/b") == b"1"


def test_a_folder_is_walked_as_obstore_lists_it(local: Objects) -> None:
    for name in ("a/b/c.json", "a/b.json", "a/ü.json", "x#1.json"):
        local.put(name, b"12")
    assert local.folder is not None
    (local.folder / "a" / "b.json#7").write_bytes(b"torn")
    assert [one.name for one in local.leftovers()] == ["a/b.json#7"]
    (local.folder / "empty").mkdir()
    (local.folder / "linked").symlink_to(local.folder / "a")
    for prefix in ("", "a", "a/b", "linked", "a/b.json", "nothing"):
        every = [one for batch in obstore.list(local.backend, prefix or None) for one in batch]
        assert list(local.names(prefix)) == sorted(one["path"] for one in every)
        assert local.sizes(prefix) == sorted((one["path"], one["size"]) for one in every)
        moments = {one["path"]: one["last_modified"] for one in every}
        assert all(
            abs((moments[one.name] - one.modified).total_seconds()) < 1e-3 for one in local.entries(prefix)
        )
