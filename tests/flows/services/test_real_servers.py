"""The real Prefect and MLflow servers on loopback; start with `pytest -m services`."""

import json
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest

from flows.services import down, ports, status, up
from flows.services.records import ServerRecord, read_records
from flows.services.supervising import log_file
from tests.flows.services.support import NAMES, free_port, marked, read


@pytest.fixture(scope="module")
def real_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    home = tmp_path_factory.mktemp("höme with a blank")
    yield home
    down(home)
    assert marked(home) == []


def kill(records: list[ServerRecord]) -> None:
    killed = [psutil.Process(record.pid) for record in records]
    for process in killed:
        process.kill()
    psutil.wait_procs(killed, timeout=30)  # on a busy machine they still answer for a moment


UP = """
import json, sys
from pathlib import Path
from flows.environment import prepare_environment
from flows.services import up
home, prefect_port, mlflow_port = sys.argv[1:]
prepare_environment(Path(home))
print(json.dumps(dict(up(Path(home), int(prefect_port), int(mlflow_port)).started)))
"""


def post(api: str, path: str, **body: object) -> Any:
    """Ask once, unlike Prefect's clients, which ask again."""
    content = json.dumps(body).encode()
    request = urllib.request.Request(api + path, content, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as response:
        return json.load(response)


@pytest.mark.services
class TestRealServers:
    PORTS = (free_port(), free_port())

    def test_two_commands_at_once_start_one_pair(self, real_home: Path) -> None:
        command = [sys.executable, "-c", UP, str(real_home), *map(str, self.PORTS)]
        both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
        started = [json.loads(one.communicate(timeout=200)[0]) for one in both]
        assert sorted(one["prefect"] for one in started) == [False, True]
        assert sorted(one["mlflow"] for one in started) == [False, True]
        assert len(marked(real_home)) == 4  # mlflow's command line and its server are two, and the supervisor

    def test_up_again_reuses(self, real_home: Path) -> None:
        begin_s = time.monotonic()
        assert not any(up(real_home, *self.PORTS).started.values())
        assert time.monotonic() - begin_s < 2

    @pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
    def test_both_pages_open(self, host: str, real_home: Path) -> None:
        servers = up(real_home)
        for page in (servers.prefect_ui_url, servers.mlflow_url):
            code, html = read(page.replace("127.0.0.1", host), accept="text/html")
            assert code == 200
            assert "<script" in html

    def test_prefects_page_asks_the_right_api_and_sends_no_statistics(self, real_home: Path) -> None:
        servers = up(real_home)
        assert json.loads(read(f"{servers.prefect_ui_url}/ui-settings")[1])["api_url"] == servers.prefect_url
        settings = json.loads(read(f"{servers.prefect_url}/admin/settings")[1])
        assert settings["server"]["analytics_enabled"] is False
        config = json.loads(read(f"{servers.mlflow_url}/ajax-api/3.0/mlflow/ui-telemetry")[1])
        assert config["disable_ui_telemetry"] is True

    def test_a_schedule_makes_runs(self, real_home: Path) -> None:
        api = up(real_home).prefect_url
        flow = post(api, "/flows/", name="watch")
        every_hour = {"active": True, "schedule": {"interval": 3600}}
        post(api, "/deployments/", name="hourly", flow_id=flow["id"], schedules=[every_hour])
        give_up_s = time.monotonic() + 60
        while not (runs := post(api, "/flow_runs/filter")) and time.monotonic() < give_up_s:
            time.sleep(0.5)
        assert {run["state_type"] for run in runs} == {"SCHEDULED"}

    def test_runs_that_begin_at_once_wait_for_each_other(self, real_home: Path) -> None:
        """As Prefect begins its transactions, three of four are refused: "database is locked"."""
        api = up(real_home).prefect_url

        def begin(number: int) -> Any:
            flow = post(api, "/flows/", name=f"at once {number % 4}")
            return post(api, "/flow_runs/", flow_id=flow["id"], state={"type": "PENDING"})

        with ThreadPoolExecutor(8) as pool:
            begun = list(pool.map(begin, range(40)))
        assert len({run["id"] for run in begun}) == 40

    def test_a_killed_supervisor_takes_nothing_with_it_and_up_brings_another(self, real_home: Path) -> None:
        before = read_records(real_home)
        kill([before["supervisor"]])
        assert [one.state for one in status(real_home)] == ["running", "running", "stopped"]
        assert not any(up(real_home).started.values())
        after = read_records(real_home)
        assert {name: after[name] for name in NAMES} == {name: before[name] for name in NAMES}
        assert after["supervisor"].pid != before["supervisor"].pid
        assert len(marked(real_home)) == 4

    def test_killed_servers_are_started_again_at_the_same_ports(self, real_home: Path) -> None:
        before = read_records(real_home)
        kill([before[name] for name in NAMES])
        give_up_s = time.monotonic() + 200
        while any((one.state, one.restarts) != ("running", 1) for one in status(real_home)[:2]):
            assert time.monotonic() < give_up_s, log_file(real_home).read_text()
            time.sleep(0.5)
        after = read_records(real_home)
        assert [after[name].url for name in NAMES] == [before[name].url for name in NAMES]
        assert after["supervisor"] == before["supervisor"]
        assert len(marked(real_home)) == 4
        said = log_file(real_home).read_text()
        for name in NAMES:
            assert f"{name} has ended (process {before[name].pid}); starting it again" in said

    def test_down_leaves_no_process_and_the_ports_free(self, real_home: Path) -> None:
        records = read_records(real_home)
        assert down(real_home) == NAMES
        assert marked(real_home) == []
        assert all(ports.is_free(records[name].port) for name in NAMES)


OFFLINE = """
import socket, subprocess, sys, time
from pathlib import Path
home = Path(sys.argv[1])
subprocess.run(["ip", "link", "set", "lo", "up"], check=True)

def tries():
    lines = Path("/proc/net/snmp").read_text().splitlines()
    rows = [line.split()[1:] for line in lines if line.startswith("Ip:")]
    sixes = dict(line.split() for line in Path("/proc/net/snmp6").read_text().splitlines())
    return int(dict(zip(*rows))["OutNoRoutes"]) + int(sixes["Ip6OutNoRoutes"])

from flows.environment import prepare_environment
from flows.services import connect, down, up
prepare_environment(home)
from prefect import flow  # before connect, which then has to tell it
servers = up(home)
connect(servers)
from tasks.tracking import tracked_run

@flow
def nothing():
    with tracked_run("offline", "run", tracking_uri=servers.mlflow_url, tags={}) as run:
        run.metrics({"a": 1.0})

before = tries()
try:
    nothing()
    time.sleep(3)
finally:
    print(down(home))
print("tried to leave:", tries())
socket.socket(socket.AF_INET, socket.SOCK_DGRAM).connect_ex(("192.0.2.1", 53))
print("control:", tries() - before)
"""


@pytest.mark.services
def test_no_connection_leaves_the_machine(tmp_path: Path) -> None:
    """In a network with nothing but loopback the kernel counts every try to go further."""
    alone = ["unshare", "--map-root-user", "--net"]
    possible = shutil.which("ip") and shutil.which("unshare")
    if not possible or subprocess.run([*alone, "true"], capture_output=True).returncode:
        pytest.skip("this system lets nobody make a network namespace")
    command = [*alone, sys.executable, "-c", OFFLINE, str(tmp_path / "home")]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=250)
    assert "tried to leave: 0" in answer.stdout, answer.stdout + answer.stderr
    assert "control: 1" in answer.stdout
