"""The tutorial does what it says: its blocks are run as they stand, and what they print is what it shows."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.pages import blocks
from tests.support import ROOT

TUTORIAL = ROOT / "docs" / "tutorial.md"
COLUMNS = "100"


def plain(text):
    """Words parted by single spaces: how a table is drawn depends on its longest path."""
    return " ".join(text.split())


def shows(expected, printed):
    """Whether what was printed is what is shown, `...` standing for anything."""
    pattern = ".*".join(re.escape(plain(part)) for part in expected.split("..."))
    return re.fullmatch(pattern.replace(r"\ ", r"\s*"), plain(printed), flags=re.S) is not None


def test_what_is_shown_may_leave_out_but_not_differ():
    assert shows(
        "found ... cells\n...\nMLflow http://...", "found 12 cells\nmore\nMLflow   http://127.0.0.1:1\n"
    )
    assert not shows("found 116 cells ...", "found 115 cells in 2 frames")
    assert not shows("stopped", "stopped: nothing")


def test_every_block_is_of_a_kind_that_is_run_or_compared():
    install, *found = blocks(TUTORIAL)
    assert install[0] == "sh"
    assert {language for language, _, _ in found} == {"bash", "python", "text", "toml"}
    assert all(title for language, title, _ in found if language == "toml")
    assert sum(language == "bash" for language, _, _ in found) >= 6


@pytest.mark.long
@pytest.mark.services
@pytest.mark.timeout(1200)
def test_the_tutorial_does_what_it_says(tmp_path):
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "MLFLOW_", "CHIPCYTE_"))}
    environment = {
        **kept,
        "CHIPCYTE_HOME": str(tmp_path / "home"),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{kept['PATH']}",
        "PYTHONPATH": str(ROOT),
        "COLUMNS": COLUMNS,
    }
    folder = tmp_path / "tutorial"
    folder.mkdir()

    def run(*words):
        result = subprocess.run(
            words, cwd=folder, env=environment, capture_output=True, text=True, check=False
        )
        assert result.returncode == 0, (words[-1], result.stdout, result.stderr)
        return result.stdout

    try:
        printed = ""
        for language, title, text in blocks(TUTORIAL)[1:]:
            if language == "toml":
                (folder / title).write_text(text)
            elif language == "text":
                assert shows(text, printed), f"shown:\n{text}\nprinted:\n{printed}"
            elif language == "bash":
                printed = run("bash", "-euo", "pipefail", "-c", text)
            else:
                printed = run(sys.executable, "-c", text)
    finally:
        run("chipcyte", "down")
