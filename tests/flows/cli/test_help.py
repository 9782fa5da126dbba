"""Help with examples, completion in the shell, and colours that can be switched off."""

import os
import pty
import re
import subprocess
import sys

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from flows.cli.app import app
from tests.support import ROOT

START = "from flows.cli import main; main()"
COLOUR = re.compile(r"\x1b\[(?:\d+;)*(?:3[0-8]|4[0-8]|9[0-7]|10[0-7])[;m]")


def leaves(group, words=()):
    for name, one in group.commands.items():
        if hasattr(one, "commands"):
            yield from leaves(one, (*words, name))
        else:
            yield (*words, name), one


COMMANDS = dict(leaves(get_command(app)))


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_command_s_help_has_an_example_that_names_options_it_has(words):
    examples = re.findall(r"^ *Example: (.+)$", COMMANDS[words].help, flags=re.MULTILINE)
    assert examples
    known = {name for one in COMMANDS[words].params for name in one.opts}
    for example in examples:
        assert " ".join(("chipcyte", *words)) in example
        assert set(re.findall(r"--[a-z-]+", example)) <= known
    shown = CliRunner().invoke(app, [*words, "--help"])
    assert shown.exit_code == 0
    assert "Example: " in shown.output


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("re", {"refine", "report", "reproduce"}),
        ("refine ", {"export", "import", "train", "rollback"}),
        ("simulate --se", {"--seed", "--set"}),
    ],
)
def test_bash_completes_commands_and_options(line, expected):
    asked = {
        "_CHIPCYTE_COMPLETE": "complete_bash",
        "COMP_WORDS": f"chipcyte {line}",
        "COMP_CWORD": str(len(f"chipcyte {line}".split(" ")) - 1),
    }
    result = CliRunner().invoke(app, prog_name="chipcyte", env=asked)
    assert expected <= set(result.output.split())
    assert all(word.startswith(line.split(" ")[-1]) for word in result.output.split())


def on_a_terminal(*words, **variables):
    """What a command writes to a terminal of its own."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm-256color", **variables}
    process = subprocess.Popen(
        [sys.executable, "-c", START, *words], stdout=theirs, stderr=theirs, stdin=theirs, env=environment
    )
    os.close(theirs)
    written = bytearray()
    while True:
        try:
            part = os.read(ours, 2**16)
        except OSError:  # how a terminal ends on Linux
            break
        if not part:
            break
        written += part
    os.close(ours)
    process.wait()
    return written.decode()


@pytest.mark.parametrize("words", [("list", "nonsense"), ("list", "--help")])
def test_colours_are_off_when_not_wanted(words):
    assert COLOUR.search(on_a_terminal(*words))
    plain = on_a_terminal(*words, NO_COLOR="1")
    assert "list" in plain or "nonsense" in plain
    assert not COLOUR.search(plain)
