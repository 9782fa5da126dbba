from pathlib import Path

import pytest

from flows.services.records import ServerRecord, locked, read_records, state_file, write_records
from storage.errors import ChipcyteError

RECORD = ServerRecord("prefect", 1, 2.5, 4200, "http://127.0.0.1:4200", "/venv", "3", 7)


def test_records_come_back_as_written(tmp_path: Path) -> None:
    write_records(tmp_path, {"prefect": RECORD})
    assert read_records(tmp_path) == {"prefect": RECORD}
    assert [path.name for path in tmp_path.iterdir()] == ["servers.json"]


@pytest.mark.parametrize("content", ["", "{", "[]", '{"prefect": 3}', '{"prefect": {"pid": 1}}'])
def test_a_damaged_state_file_counts_as_no_record(content: str, tmp_path: Path) -> None:
    state_file(tmp_path).write_text(content)
    assert read_records(tmp_path) == {}


def test_the_lock_lets_one_in_and_is_given_back(tmp_path: Path) -> None:
    refused = pytest.raises(ChipcyteError, match=r"servers\.lock")
    with locked(tmp_path), refused, locked(tmp_path, timeout_s=0.2):
        pytest.fail("two held the lock")
    with locked(tmp_path, timeout_s=0.2):
        pass
