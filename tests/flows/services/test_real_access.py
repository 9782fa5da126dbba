"""The real servers ask for the password; start with `pytest -m services`."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from flows.services import up
from flows.services.access import PASSWORD
from tests.flows.services.support import free_port

pytestmark = pytest.mark.services
SECRET = "correct horse battery"
CLIENTS = """
import sys
from pathlib import Path
from flows.environment import prepare_environment
home = Path(sys.argv[1])
prepare_environment(home)
from flows.services import connect, up
servers = up(home)
connect(servers)
from prefect import flow
from tasks.tracking import tracked_run

@flow
def nothing():
    with tracked_run("guarded", "run", tracking_uri=servers.mlflow_url, tags={}) as run:
        run.metrics({"a": 1.0})

nothing()
"""


def test_without_the_password_nothing_is_told_and_with_it_all_works(home: Path) -> None:
    import httpx

    pytest.importorskip("flask_wtf")
    os.environ[PASSWORD] = SECRET
    servers = up(home, free_port(), free_port(), host="0.0.0.0")
    asked = {
        f"{servers.prefect_url}/flows/filter": {},
        f"{servers.mlflow_url}/api/2.0/mlflow/experiments/search": {"max_results": 5},
    }
    for url, body in asked.items():
        for auth, code in ((None, 401), (("chipcyte", "a wrong password"), 401), (("chipcyte", SECRET), 200)):
            assert httpx.post(url, json=body, auth=auth, timeout=30).status_code == code, url
    done = subprocess.run(
        [sys.executable, "-c", CLIENTS, str(home)],
        capture_output=True,
        text=True,
        timeout=250,
        env=os.environ,
    )
    assert done.returncode == 0, done.stderr
    assert SECRET not in done.stdout + done.stderr
    for path in home.rglob("*"):
        if path.is_file():
            assert SECRET.encode() not in path.read_bytes(), path
