"""The command line as a user runs it: a process of its own, with a home and servers of its own."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.support import ROOT

Command = Callable[..., SimpleNamespace]
START = "from flows.cli import main; main()"


@pytest.fixture(scope="session")
def command_line(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Command]:
    """Run `chipcyte WORDS...`; at the end the servers it started are stopped."""
    run = commands(tmp_path_factory.mktemp("home"))
    yield run
    assert run("down").code == 0


def commands(home: Path) -> Command:
    """Run `chipcyte WORDS...` with a home of its own."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "MLFLOW_", "CHIPCYTE_"))}
    environment = {**kept, "CHIPCYTE_HOME": str(home), "PYTHONPATH": str(ROOT)}

    def run(*words: object) -> SimpleNamespace:
        result = subprocess.run(
            [sys.executable, "-c", START, *map(str, words)],
            cwd=home,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert "Traceback" not in result.stderr, result.stderr
        found = json.loads(result.stdout) if "--json" in words and result.returncode == 0 else None
        return SimpleNamespace(code=result.returncode, out=result.stdout, err=result.stderr, found=found)

    return run
