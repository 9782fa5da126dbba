"""The reference is made from the code, and leaves nothing out."""

import importlib.util
import sys
from typing import get_args

import pytest
from pydantic import BaseModel
from typer.main import get_command

from flows.cli.app import app
from tasks.settings import Settings
from tests.support import ROOT


def hook(name):
    """A hook of MkDocs, imported from its file as MkDocs does."""
    spec = importlib.util.spec_from_file_location(f"hook_{name}", ROOT / "docs" / "hooks" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


settings, commands = hook("settings"), hook("commands")


def models_in(annotation):
    """The models that a field's type names, however deep."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for one in get_args(annotation) for model in models_in(one)]


def fields_below(model, place):
    """Place, kind and name of every field."""
    kind = getattr(model.model_fields.get("kind"), "default", "")
    for name, field in model.model_fields.items():
        if name != "kind":
            yield place, kind, name
        for inner in models_in(field.annotation):
            yield from fields_below(inner, f"{place}.{name}" if place else name)


def test_every_setting_is_there_once():
    found = [(one.place, one.kind, row.name) for one in settings.sections() for row in one.settings]
    expected = [row for row in fields_below(Settings, "") if row[0]]
    assert len(found) > 100
    assert sorted(found) == sorted(expected)


def test_every_setting_has_a_default_what_it_accepts_and_a_sentence():
    for section in settings.sections():
        assert section.text.endswith("."), section.place
        for row in section.settings:
            assert row.default, (section.place, row)
            assert row.accepts, (section.place, row)
            assert row.text.endswith("."), (section.place, row)


def test_known_rows_of_the_page():
    page = settings.page()
    assert "| `epochs` | `20` | whole number at least 1 | Passes over the training patches. |" in page
    assert '| `contrast` | `kind = "profile"` | kind `profile`, `clahe`, `off` |' in page
    assert "| `scan_interval_s` | `10` | number above 0; in s |" in page
    assert r"Names of planes, as \{position\}\_\{t\}" in page


def test_the_profiles_own_defaults_are_shown_where_the_model_has_none():
    (dense,) = [one for one in settings.sections() if one.place == "preprocess.profiles.dense"]
    assert {row.name: row.default for row in dense.settings}["clip_limit"] == "`0.02`"


@pytest.mark.parametrize("place", ["preprocess.contrast", "cluster.n_clusters", "extract.area"])
def test_a_link_leads_to_the_heading_of_its_place(place):
    page = settings.page()
    assert f"](#{settings.anchor(place)})" in page
    assert f"\n### {place}\n" in page


def test_every_command_and_each_of_its_parameters_is_there():
    page = commands.page()
    head, *parts = page.split("\n## ")
    by_words = {part.splitlines()[0]: part for part in parts}
    assert by_words.keys() == commands.commands().keys()
    assert {"refine train", "quarantine why", "run", "status"} <= by_words.keys()
    top = get_command(app)
    assert {words.split()[0] for words in by_words} == set(top.commands)
    for words, one in commands.commands().items():
        for parameter in one.params:
            if not parameter.hidden:
                where = head if parameter.name in commands.COMMON else by_words[words]
                assert f"| `{commands.spelled(parameter)}` |" in where


def test_every_command_s_example_is_code():
    _, *parts = commands.page().split("\n## ")
    for part in parts:
        assert "```bash\n" in part
        assert "Example:" not in part
