"""The lock file covers what pyproject.toml asks for; offline. `make audit` asks for known weaknesses."""

import re
import tomllib

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from tests.test_rooms import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"].values()
ASKED = [
    asked
    for asked in map(Requirement, [*PROJECT["dependencies"], *(one for extra in EXTRAS for one in extra)])
    if asked.name != PROJECT["name"]
]
LOCK = (ROOT / "requirements.lock").read_text()
ENTRIES = re.split(r"\n(?=[a-zA-Z0-9])", LOCK.strip())
PINNED = {canonicalize_name(re.split(r"[\[=]", one)[0]): one for one in ENTRIES}


@pytest.mark.parametrize("asked", ASKED, ids=lambda one: one.name)
def test_what_is_asked_for_is_locked_at_a_version_that_fits(asked: Requirement) -> None:
    entry = PINNED[canonicalize_name(asked.name)]
    version = re.match(r"\S+==([^\s;\\]+)", entry)
    assert version, entry.splitlines()[0]
    assert asked.specifier.contains(Version(version[1]), prereleases=True)


def test_every_line_is_one_version_with_digests() -> None:
    assert len(ENTRIES) > 200
    for entry in ENTRIES:
        assert re.match(r"[A-Za-z0-9._-]+(\[\S+\])?==\S+ ", entry), entry.splitlines()[0]
        assert "--hash=sha256:" in entry, entry.splitlines()[0]
