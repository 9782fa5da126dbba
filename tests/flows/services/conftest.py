import dataclasses
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from flows.services import down, launching, lifecycle, processes, recipes
from tests.flows.services.support import ROOT, free_port, marked

STAND_IN = """
import socket, subprocess, sys
port = sys.argv[1]
if sys.argv[2:] == ["parent"]:  # like mlflow's, which serves from a child
    raise SystemExit(subprocess.call([sys.executable, "-S", __file__, port]))
server = socket.create_server(("127.0.0.1", int(port)))
while True:
    visitor, _ = server.accept()
    visitor.recv(4096)
    visitor.sendall(b"HTTP/1.0 200 OK\\r\\n\\r\\nwell")
    visitor.close()
"""


@pytest.fixture(autouse=True)
def no_user_servers(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "MLFLOW_"))}
    monkeypatch.setattr(os, "environ", {**kept, "PYTHONPATH": str(ROOT)})


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    home = tmp_path / "home"
    yield home
    down(home)
    assert marked(home) == []


@pytest.fixture
def stand_ins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "stand_in.py"
    script.write_text(STAND_IN)
    monkeypatch.syspath_prepend(str(tmp_path))
    os.environ["PYTHONPATH"] = str(tmp_path)
    fakes = [
        dataclasses.replace(
            recipe,
            default_port=free_port(),
            health_path="/",
            command=lambda _folder, port, _access, extra=extra: ["stand_in", str(port), *extra],
        )
        for recipe, extra in ((recipes.PREFECT, []), (recipes.MLFLOW, ["parent"]))
    ]
    worker = dataclasses.replace(
        recipes.WORKER,
        default_port=free_port(),
        health_path="/",
        command=lambda _folder, port, _access: ["stand_in", str(port)],
    )
    monkeypatch.setattr(lifecycle, "PREFECT", fakes[0])
    monkeypatch.setattr(lifecycle, "MLFLOW", fakes[1])
    monkeypatch.setattr(lifecycle, "WORKER", worker)
    monkeypatch.setattr(lifecycle, "RECIPES", tuple(fakes))
    monkeypatch.setattr(lifecycle, "PARTS", (*fakes, worker))
    monkeypatch.setattr(lifecycle, "employ", lambda *_, **__: None)  # it would start the real servers again
    monkeypatch.setattr(processes, "GRACE_S", 0.5)
    monkeypatch.setattr(processes, "HEALTH_TIMEOUT_S", 0.5)
    monkeypatch.setattr(launching, "POLL_S", 0.02)
