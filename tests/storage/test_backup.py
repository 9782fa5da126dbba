"""A store's way into a bucket; tests/flows/cli/test_backup.py has the rest."""

from pathlib import Path

import pytest

from storage import backup
from storage.arrays import digest
from storage.errors import InputError, MissingInputError
from storage.objects import Objects, open_store
from storage.records import Record, commit
from tests.support import dies_at


@pytest.fixture
def backed_up(store: Objects, tmp_path: Path) -> tuple[Path, backup.Contents]:
    """Three raw images of one object."""
    for key in ("aa", "bb", "cc"):
        path, content = f"acquisitions/{key}/image.ome.zarr/0", key.encode() * 50
        store.put(path, content)
        record = Record(kind="raw", key=key, name=key, path=f"acquisitions/{key}")
        commit(store, record, {path: digest(content)})
    copied = backup.copy_store(store, tmp_path / "backup" / "store")
    files = {f"store/{name}": one for name, one in copied.items()}
    return tmp_path / "backup", backup.write_contents(tmp_path / "backup", store.url, files)


def test_a_bucket_takes_it_and_only_once(
    store: Objects, backed_up: tuple[Path, backup.Contents], bucket: str
) -> None:
    url = f"s3://{bucket}/restored"
    with backup.fresh_store(url) as target:
        backup.restore_store(*backed_up, target, None)
    opened = open_store(url)
    assert {name: opened.get(name) for name in opened.names("")} == {
        name: store.get(name) for name in store.names("")
    }
    with pytest.raises(InputError, match="expected nothing"), backup.fresh_store(url):
        pass


def test_one_that_is_interrupted_leaves_no_store_in_a_bucket(
    backed_up: tuple[Path, backup.Contents], bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    dies_at(monkeypatch, "storage.backup._copy", 3)
    with pytest.raises(KeyboardInterrupt), backup.fresh_store(f"s3://{bucket}/new") as target:
        backup.restore_store(*backed_up, target, None)
    with pytest.raises(InputError, match="not a chipcyte store"):
        open_store(f"s3://{bucket}/new")


def test_a_folder_that_is_no_backup(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError, match="expected a backup"):
        backup.read_contents(tmp_path)
    (tmp_path / backup.CONTENTS).write_text('{"format": "a cake"}')
    with pytest.raises(InputError, match="expected a backup's list"):
        backup.read_contents(tmp_path)


def test_links_are_not_followed(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "a").write_text("a")
    (source / "link").symlink_to("/etc/passwd")
    assert list(backup.copy_folder(source, tmp_path / "target")) == ["a"]
