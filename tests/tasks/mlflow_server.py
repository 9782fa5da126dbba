"""A real MLflow server that a test starts, kills and starts again."""

import time
from pathlib import Path

from flows.services import processes
from flows.services.launching import launch
from flows.services.recipes import MLFLOW
from tasks.tracking.server import is_reachable
from tests.flows.services.support import free_port

PATIENCE_S = 240.0


class MlflowServer:
    def __init__(self, home: Path) -> None:
        self.home, self.port = home.resolve(), free_port()
        self.uri = MLFLOW.url(self.port)

    def start(self) -> "MlflowServer":
        launch(MLFLOW, self.home, self.port)
        give_up_s = time.monotonic() + PATIENCE_S
        while not is_reachable(self.uri):
            assert time.monotonic() < give_up_s, MLFLOW.log(self.home).read_text()
            time.sleep(0.2)
        return self

    def kill(self) -> None:
        for process in processes._marked(processes.mark(self.home, MLFLOW.name)):
            process.kill()
            process.wait(20)
