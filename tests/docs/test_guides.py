"""What the guides tell people to type exists: commands, options, settings, places in the reference."""

import re
import shlex

import pytest
from typer.main import get_command

from flows.cli.app import app
from flows.cli.common import _assignment
from tasks.settings import load_settings
from tests.docs.pages import blocks
from tests.support import ROOT

PAGES = sorted((ROOT / "docs").rglob("*.md"))
WRITTEN = re.compile(r"`(chipcyte [^`]+)`")
SETTING = re.compile(r"--set '?([a-z_.]+=[^`' ]+)")


def ids(path):
    return str(path.relative_to(ROOT / "docs"))


def typed(page):
    """Every command line of chipcyte's in a page, in its blocks and in its text."""
    for language, _, text in blocks(page):
        if language == "bash":
            whole = text.replace("\\\n", "")
            yield from (line for line in whole.splitlines() if line.startswith("chipcyte "))
    yield from WRITTEN.findall(page.read_text())


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_commands_and_options_in_a_page_exist(page):
    for line in typed(page):
        words = shlex.split(line.partition(" | ")[0], comments=True)[1:]
        one = get_command(app)
        while words and hasattr(one, "commands") and words[0] in one.commands:
            one = one.commands[words.pop(0)]
        whole = not hasattr(one, "commands")
        assert whole or words[0] in ("COMMAND", "--install-completion"), line
        known = {name for parameter in one.params for name in parameter.opts} | {"--help"}
        assert {word.partition("=")[0] for word in words if word.startswith("--")} <= known, line


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_settings_in_a_page_are_accepted(page, tmp_path):
    path = tmp_path / "lab.toml"
    for language, _, text in blocks(page):
        if language == "toml":
            path.write_text(text)
            load_settings(path)
    pairs = SETTING.findall(page.read_text())
    load_settings(None, dict(_assignment(pair) for pair in pairs))


def test_the_readme_is_short_and_shows_one_picture():
    text = (ROOT / "README.md").read_text()
    assert len(text.splitlines()) < 150
    (picture,) = re.findall(r"!\[[^\]]*\]\(([^)]+)\)", text)
    assert (ROOT / picture).is_file()
