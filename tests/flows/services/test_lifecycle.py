"""The servers' life, with small stand-ins that start at once; test_real_servers.py has the real ones."""

import dataclasses
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from flows.services import connect, down, lifecycle, ports, status, up
from flows.services.launching import last_lines
from flows.services.records import ServerRecord, read_records, state_file, write_records
from storage.errors import ChipcyteError, InputError
from tests.flows.services.support import NAMES, ROOT, free_port, marked, read

pytestmark = pytest.mark.usefixtures("stand_ins")

RECORD = ServerRecord("prefect", 1, 2.5, 4200, "http://127.0.0.1:4200", "/venv", "3", 7)


def test_the_end_of_a_log(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    assert "nothing" in last_lines(log)
    log.write_text("\n".join(f"line {number}" for number in range(100)))
    assert last_lines(log, 2) == "    line 98\n    line 99"


def test_up_starts_both_and_up_again_reuses_them(home: Path) -> None:
    first = up(home)
    assert first.started == {"prefect": True, "mlflow": True}
    assert first.notes == ()
    assert first.prefect_url == first.prefect_ui_url + "/api"
    assert read(first.prefect_ui_url)[0] == read(first.mlflow_url)[0] == 200
    before = read_records(home)
    again = up(home)
    assert again == dataclasses.replace(first, started={"prefect": False, "mlflow": False})
    assert read_records(home) == before


def test_down_leaves_no_process_and_the_ports_free(home: Path) -> None:
    up(home)
    records = read_records(home)
    assert down(home) == NAMES
    assert marked(home) == []
    assert all(ports.is_free(record.port) for record in records.values())
    assert read_records(home) == {}
    assert down(home) == []


def test_down_without_a_home_makes_none(home: Path) -> None:
    assert down(home) == []
    assert not home.exists()


@pytest.mark.parametrize("name", NAMES)
def test_a_killed_server_is_replaced_and_the_other_stays(name: str, home: Path) -> None:
    up(home)
    before = read_records(home)
    os.kill(before[name].pid, signal.SIGKILL)
    assert up(home).started == {one: one == name for one in NAMES}
    after = read_records(home)
    assert after[name].pid != before[name].pid
    assert after[name].port == before[name].port  # the orphaned child does not keep it
    assert len(marked(home)) == 3


def test_a_server_that_hangs_is_replaced(home: Path) -> None:
    up(home)
    pid = read_records(home)["prefect"].pid
    os.kill(pid, signal.SIGSTOP)
    assert [one.state for one in status(home)] == ["silent", "running"]
    assert up(home).started == {"prefect": True, "mlflow": False}
    assert not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


@pytest.mark.parametrize("change", [{"prefix": "/other"}, {"version": "0.1"}, {"network": 12}])
def test_a_server_of_another_installation_or_network_is_replaced(
    change: dict[str, str | int], home: Path
) -> None:
    up(home)
    records = read_records(home)
    write_records(home, {**records, "mlflow": dataclasses.replace(records["mlflow"], **change)})
    assert up(home).started == {"prefect": False, "mlflow": True}
    assert len(marked(home)) == 3


def test_a_lost_state_file_does_not_leave_servers_behind(home: Path) -> None:
    up(home)
    state_file(home).unlink()
    assert up(home).started == {"prefect": True, "mlflow": True}
    assert len(marked(home)) == 3


def test_a_stranger_with_the_recorded_process_id_is_left_alone(home: Path) -> None:
    home.mkdir()
    stranger = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        record = dataclasses.replace(RECORD, pid=stranger.pid, created_s=time.time() - 5000)
        write_records(home, {"prefect": record})
        assert [one.state for one in status(home)] == ["stopped", "stopped"]
        assert down(home) == []
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_a_taken_default_port_gives_way_and_says_so(home: Path) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", lifecycle.PREFECT.default_port))
        listener.listen()
        servers = up(home)
    port = read_records(home)["prefect"].port
    assert port > lifecycle.PREFECT.default_port
    assert len(servers.notes) == 1
    assert f"process {os.getpid()}" in servers.notes[0]
    assert str(port) in servers.notes[0]


def test_a_taken_port_that_was_asked_for_starts_nothing(home: Path) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        with pytest.raises(InputError, match="mlflow"):
            up(home, mlflow_port=listener.getsockname()[1])
    assert marked(home) == []


def test_ports_asked_for_are_used_and_must_differ(home: Path) -> None:
    one, other = free_port(), free_port()
    with pytest.raises(InputError, match="two different ports"):
        up(home, one, one)
    assert up(home, one, other).mlflow_url == f"http://127.0.0.1:{other}"
    assert up(home, one, other).started == {"prefect": False, "mlflow": False}
    with pytest.raises(InputError, match="chipcyte down"):
        up(home, prefect_port=free_port())
    assert len(marked(home)) == 3


def test_a_port_lost_in_the_race_is_tried_once_more(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", lifecycle.PREFECT.default_port))
        listener.listen()
        honest = ports.is_free
        calls = iter([True])  # the first look comes a moment too early
        monkeypatch.setattr(ports, "is_free", lambda port, *host: next(calls, False) or honest(port, *host))
        assert up(home).started == {"prefect": True, "mlflow": True}


def test_a_server_that_ends_shows_its_log(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = dataclasses.replace(
        lifecycle.MLFLOW, command=lambda _folder, _port, _access: ["stand_in", "no number"]
    )
    monkeypatch.setattr(lifecycle, "RECIPES", (lifecycle.PREFECT, broken))
    with pytest.raises(ChipcyteError, match="no number") as failure:
        up(home)
    assert str(home / "logs" / "mlflow.log") in str(failure.value)
    assert "ended with code 1" in str(failure.value)
    assert marked(home) == []
    assert read_records(home) == {}


def test_many_ups_at_once_give_one_pair(home: Path) -> None:
    gate = threading.Barrier(4)

    def start(_number: int) -> dict[str, bool]:
        gate.wait()
        return dict(up(home).started)

    with ThreadPoolExecutor(4) as pool:
        started = list(pool.map(start, range(4)))
    assert sum(one["prefect"] for one in started) == sum(one["mlflow"] for one in started) == 1
    assert len(marked(home)) == 3


def test_a_server_outlives_its_caller_and_holds_none_of_its_pipes(home: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from flows.services import launching, recipes;"
        "import dataclasses, time;"
        "fake = dataclasses.replace(recipes.PREFECT, command=lambda f, p, a: ['stand_in', str(p)]);"
        f"print(launching.launch(fake, Path({str(home)!r}), {free_port()}).record.pid)"
    )
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{os.environ['PYTHONPATH']}"}
    caller = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, timeout=60)
    server = psutil.Process(int(caller.stdout))  # run() came back although the server lives
    assert server.status() != psutil.STATUS_ZOMBIE
    assert os.getsid(server.pid) == server.pid


def test_servers_of_the_user_are_used_and_nothing_is_started(home: Path) -> None:
    os.environ["PREFECT_API_URL"] = "https://prefect.example/api"
    os.environ["MLFLOW_TRACKING_URI"] = "https://mlflow.example"
    servers = up(home)
    assert servers.prefect_ui_url == "https://prefect.example"
    assert servers.mlflow_url == "https://mlflow.example"
    assert servers.given == {"prefect": True, "mlflow": True}
    assert servers.started == {"prefect": False, "mlflow": False}
    assert marked(home) == []
    assert [(one.state, one.pid) for one in status(home)] == [("given", 0), ("given", 0)]


def test_an_address_that_connect_set_is_not_taken_for_the_users(home: Path) -> None:
    connect(up(home))
    assert os.environ["PREFECT_API_URL"].endswith("/api")
    again = up(home)
    assert again.given == {"prefect": False, "mlflow": False}
    assert again.mlflow_url == os.environ["MLFLOW_TRACKING_URI"]
    down(home)
    assert up(home).started == {"prefect": True, "mlflow": True}


def test_status_tells_memory_and_log(home: Path) -> None:
    up(home)
    for one in status(home):
        assert one.state == "running"
        assert one.resident_bytes > 5_000_000
        assert one.log.is_file()
    down(home)
    assert [one.state for one in status(home)] == ["stopped", "stopped"]
