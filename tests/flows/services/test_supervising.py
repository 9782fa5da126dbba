"""The supervisor in this process, over stand-ins that start at once; test_real_group.py has the real one."""

import dataclasses
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from flows.services import down, lifecycle, processes, start_worker, status, supervising, up
from flows.services.recipes import Recipe
from flows.services.records import ServerRecord, locked, read_records, write_records
from flows.services.supervising import SUPERVISOR, Supervisor, enlist
from storage.errors import ChipcyteError
from tests.flows.services.support import NAMES, ROOT, free_port, marked, read

pytestmark = pytest.mark.usefixtures("stand_ins")


class Watch:
    """A group that is up, its supervisor, and what that said."""

    def __init__(self, home: Path) -> None:
        self.home, self.said = home.resolve(), []
        self.supervisor = Supervisor(self.home, lifecycle.PARTS, self.said.append)
        with locked(self.home):
            enlist(self.home, read_records(self.home), os.getpid())

    def kill(self, name: str) -> None:
        process = psutil.Process(read_records(self.home)[name].pid)
        process.kill()
        psutil.wait_procs([process], 10)


@pytest.fixture
def watch(home: Path) -> Watch:
    up(home)
    return Watch(home)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_killed_is_started_again_where_others_know_it(watch: Watch, name: str) -> None:
    before = read_records(watch.home)
    watch.kill(name)
    assert watch.supervisor.look()
    after = read_records(watch.home)
    assert (after[name].url, after[name].restarts) == (before[name].url, 1)
    assert after[name].pid != before[name].pid
    assert read(after[name].url)[0] == 200
    assert {**after, name: None} == {**before, name: None}
    assert len(marked(watch.home)) == 3
    assert f"{name} has ended (process {before[name].pid})" in watch.said[0]
    assert up(watch.home).started == {"prefect": False, "mlflow": False}


def test_a_well_group_is_left_alone_and_nothing_is_said(watch: Watch) -> None:
    before = read_records(watch.home)
    assert all(watch.supervisor.look() for _ in range(3))
    assert read_records(watch.home) == before
    assert watch.said == []


def test_what_dies_again_at_once_is_tried_after_ever_longer_pauses(
    watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    begun = []

    def dies_at_once(
        _self: Supervisor, _recipe: Recipe, record: ServerRecord, _records: object
    ) -> ServerRecord:
        begun.append(now[0])
        return record

    monkeypatch.setattr(Supervisor, "_launch", dies_at_once)
    watch.kill("prefect")
    for _ in range(100):
        watch.supervisor.look()
        now[0] += 0.5
    assert begun == [1000.0, 1001.0, 1003.0, 1007.0, 1015.0, 1031.0]


def test_what_was_steady_for_long_is_started_without_a_pause(
    watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch.kill("prefect")
    assert watch.supervisor.look()
    known = watch.supervisor.watched["prefect"]
    known.deaths, known.not_before_s = 9, 0.0
    known.begin_s -= supervising.STEADY_AFTER_S
    watch.kill("prefect")
    assert watch.supervisor.look()
    assert watch.supervisor.watched["prefect"].deaths == 1


def test_a_stranger_at_the_port_is_named_and_waited_for(watch: Watch) -> None:
    record = read_records(watch.home)["prefect"]
    watch.kill("prefect")
    with socket.create_server(("127.0.0.1", record.port)):
        assert watch.supervisor.look()
        assert str(record.port) in watch.said[-1]
        assert f"process {os.getpid()}" in watch.said[-1]
    watch.supervisor.watched["prefect"].not_before_s = 0.0
    assert watch.supervisor.look()
    assert read(record.url)[0] == 200


def test_what_hangs_is_started_again(watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervising, "ASK_EVERY_S", 0.0)
    monkeypatch.setattr(supervising, "SILENT_TOO_LONG_S", 0.3)
    assert watch.supervisor.look()
    pid = read_records(watch.home)["prefect"].pid
    os.kill(pid, signal.SIGSTOP)
    give_up_s = time.monotonic() + 20
    while read_records(watch.home)["prefect"].pid == pid:
        assert watch.supervisor.look()
        assert time.monotonic() < give_up_s
    assert "has not answered for" in watch.said[0]


def test_a_server_that_has_grown_is_started_again_and_a_worker_with_its_runs_is_not(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervising, "ASK_EVERY_S", 0.0)
    monkeypatch.setattr(supervising, "LARGEST_BYTES", 2**20)
    up(home)
    start_worker(home)
    watch = Watch(home)
    before = read_records(home)
    assert watch.supervisor.look()
    after = read_records(home)
    assert {name: after[name].restarts for name in (*NAMES, "worker")} == dict.fromkeys(NAMES, 1) | {
        "worker": 0
    }
    assert [after[name].url for name in NAMES] == [before[name].url for name in NAMES]
    assert "prefect holds" in watch.said[0]


def test_after_a_restart_of_the_machine_strangers_with_our_numbers_are_left_alone(home: Path) -> None:
    """The state file is that of the last start; its process numbers belong to others now."""
    up(home)
    before = read_records(home)
    down(home)
    stranger = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        stale = {
            name: dataclasses.replace(record, pid=stranger.pid, created_s=record.created_s - 5000)
            for name, record in before.items()
        }
        write_records(home, stale)
        assert [one.state for one in status(home)] == ["stopped", "stopped"]
        assert up(home).started == {"prefect": True, "mlflow": True}
        after = read_records(home)
        assert [after[name].port for name in NAMES] == [before[name].port for name in NAMES]
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_it_ends_when_another_is_written_down_or_none_or_the_home_is_gone(
    watch: Watch, tmp_path: Path
) -> None:
    records = read_records(watch.home)
    write_records(watch.home, {**records, SUPERVISOR: dataclasses.replace(records[SUPERVISOR], pid=1)})
    assert not watch.supervisor.look()
    write_records(watch.home, {name: records[name] for name in NAMES})
    assert not watch.supervisor.look()
    assert not Supervisor(tmp_path / "gone").look()


def test_the_worker_is_told_where_the_servers_are_and_is_watched_as_they_are(home: Path) -> None:
    servers = up(home)
    assert start_worker(home)
    assert not start_worker(home)
    watch = Watch(home)
    for _ in range(2):
        record = read_records(home)["worker"]
        told = psutil.Process(record.pid).environ()
        assert told["PREFECT_API_URL"] == servers.prefect_url
        assert told["MLFLOW_TRACKING_URI"] == servers.mlflow_url
        assert told["CHIPCYTE_HOME"] == str(home.resolve())
        assert told["PREFECT_WORKER_WEBSERVER_PORT"] == str(record.port)
        watch.kill("worker")
        watch.supervisor.watched.clear()  # no pause
        assert watch.supervisor.look()
    assert [one.name for one in status(home)] == [*NAMES, "worker", SUPERVISOR]
    assert down(home) == [*NAMES, "worker"]
    assert marked(home) == []


SUPERVISES_A_WORKER = """
import dataclasses, os, sys, time
from pathlib import Path
from flows.services import launching, recipes
from flows.services.records import read_records
from flows.services.supervising import enlist

home, port = Path(sys.argv[1]), int(sys.argv[2])
records = read_records(home)
fake = dataclasses.replace(recipes.WORKER, command=lambda folder, port, access: ["stand_in", str(port)])
records["worker"] = launching.launch(fake, home, port).record
enlist(home, records, os.getpid())
print("ready", flush=True)
time.sleep(60)
"""


def test_what_a_supervisor_started_does_not_end_with_it(home: Path) -> None:
    """It is a child of the supervisor then."""
    up(home)
    words = [sys.executable, "-c", SUPERVISES_A_WORKER, str(home.resolve()), str(free_port())]
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{os.environ['PYTHONPATH']}"}
    with subprocess.Popen(words, env=environment, stdout=subprocess.PIPE) as supervisor:
        assert supervisor.stdout is not None
        assert supervisor.stdout.readline() == b"ready\n"
        records = read_records(home)
        supervising.dismiss(home.resolve(), dict(records))
        assert supervisor.wait(10) is not None
    assert processes.leader(records["worker"]) is not None
    assert down(home) == [*NAMES, "worker"]


@pytest.mark.parametrize("how", ["signal", "down"])
def test_one_that_stays_stops_the_group_when_it_is_told_to_end(how: str, home: Path) -> None:
    up(home)
    words = [sys.executable, "-m", "flows.services", str(home), lifecycle.STAY]
    with subprocess.Popen(words, env={**os.environ, "PYTHONPATH": str(ROOT)}) as stays:
        give_up_s = time.monotonic() + 60
        while SUPERVISOR not in read_records(home):
            assert time.monotonic() < give_up_s
            time.sleep(0.05)
        assert read_records(home)[SUPERVISOR].pid == stays.pid
        assert len(marked(home)) == 3
        if how == "signal":
            stays.terminate()
        else:
            down(home)
        assert stays.wait(60) == 0
    assert read_records(home) == {}
    assert marked(home) == []


def test_a_server_that_moves_takes_the_worker_along(home: Path) -> None:
    up(home)
    start_worker(home)
    watch, port = Watch(home), read_records(home)["prefect"].port
    watch.kill("prefect")
    with socket.create_server(("127.0.0.1", port)):
        servers = up(home)
        watch.supervisor.look()
    told = psutil.Process(read_records(home)["worker"].pid).environ()
    assert told["PREFECT_API_URL"] == servers.prefect_url
    assert str(port) not in servers.prefect_url


def test_a_supervisor_outlives_a_look_that_fails(
    watch: Watch, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    looks = iter([ChipcyteError("the lock is held"), OSError("no space left"), False])

    def look(_self: Supervisor) -> bool:
        what = next(looks)
        if isinstance(what, Exception):
            raise what
        return what

    monkeypatch.setattr(Supervisor, "look", look)
    monkeypatch.setattr(supervising, "LOOK_EVERY_S", 0.0)
    supervising.supervise(watch.home)
    said = capsys.readouterr().out
    assert "no space left" in said
    assert "the lock is held" in said


def test_employing_keeps_a_supervisor_that_is_of_this_installation(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[subprocess.Popen[bytes]] = []

    def spawn(_command: list[str], **_given: object) -> subprocess.Popen[bytes]:
        started.append(subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]))
        return started[-1]

    monkeypatch.setattr(processes, "spawn", spawn)
    home.mkdir()
    records: dict[str, ServerRecord] = {}
    try:
        for anew in (False, False, True):
            supervising.employ(home, records, anew=anew)
        assert len(started) == 2
        assert started[0].poll() is not None
        records[SUPERVISOR] = dataclasses.replace(records[SUPERVISOR], prefix="/other")
        supervising.employ(home, records, anew=False)
        assert len(started) == 3
        assert read_records(home) == records
    finally:
        for one in started:
            one.kill()
            one.wait()
