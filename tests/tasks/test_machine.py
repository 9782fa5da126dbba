import pytest

from tasks import machine
from tasks.settings import ROOM_OF_A_WORKER, Resources


@pytest.fixture
def container(tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "_CONTAINER", tmp_path / "memory.max")
    return tmp_path / "memory.max"


def test_a_container_gives_less_than_the_machine(container):
    whole = machine.memory_bytes()
    container.write_text("max\n")
    assert machine.memory_bytes() == whole
    container.write_text(f"{2**30}\n")
    assert machine.memory_bytes() == 2**30 < whole


def test_this_process_has_a_core():
    assert machine.cores() >= 1


@pytest.mark.parametrize(
    ("cores", "memory_bytes", "workers"),
    [(2, 24 * 2**30, 2), (16, 16 * 2**30, 8), (8, 2**30, 1), (64, 256 * 2**30, 64)],
)
def test_workers_and_memory_follow_the_machine(monkeypatch, cores, memory_bytes, workers):
    monkeypatch.setattr(machine, "cores", lambda: cores)
    monkeypatch.setattr(machine, "memory_bytes", lambda: memory_bytes)
    found = Resources()
    assert (found.workers, found.memory_bytes) == (workers, memory_bytes * 3 // 4)
    assert workers in (1, cores) or found.memory_bytes // workers >= ROOM_OF_A_WORKER
