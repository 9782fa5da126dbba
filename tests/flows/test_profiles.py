"""A profile is data: what it sets, what wins over it, and what those that come with chipcyte hold."""

import os
import re
import tomllib
from pathlib import Path

import pytest

from flows.cli.common import Common
from flows.profiles import read_profile
from storage.errors import InputError
from tasks.settings import load_settings
from tests.support import ROOT

SHIPPED = sorted((ROOT / "deployments" / "profiles").glob("*.toml"))
OURS = re.compile(r"CHIPCYTE_|PREFECT_|MLFLOW_|AWS_|PG|OMP_NUM_THREADS|OPENCV_FOR_THREADS_NUM")


@pytest.fixture
def profile(tmp_path: Path) -> Path:
    path = tmp_path / "lab.toml"
    path.write_text('[environment]\nCHIPCYTE_STORE="/data"\n[resources]\nworkers=3\n[train]\nepochs=7\n')
    return path


def test_the_users_variables_win(profile: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", {"CHIPCYTE_STORE": "/mine"})
    read_profile(profile).apply()
    assert os.environ == {"CHIPCYTE_STORE": "/mine"}
    del os.environ["CHIPCYTE_STORE"]
    read_profile(profile).apply()
    assert os.environ == {"CHIPCYTE_STORE": "/data"}


def test_a_settings_file_wins_over_the_profile_and_set_over_both(profile: Path, tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text("[train]\nepochs = 8\nbatch_size = 5\n")
    common = Common(
        store="s", config=config, set=["train.batch_size=6"], profile=profile, json=False, debug=False
    )
    settings = common.settings()
    assert (settings.resources.workers, settings.train.epochs, settings.train.batch_size) == (3, 8, 6)


@pytest.mark.parametrize(
    ("text", "said"),
    [("environment = 3", "hold variables"), ("[environment]\nPORT = 4200", "text in quotes"), ("[", "TOML")],
)
def test_what_is_no_profile_is_said(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "bad.toml").write_text(text)
    with pytest.raises(InputError, match=said):
        read_profile(tmp_path / "bad.toml")


def test_there_is_one_for_each_kind_of_place() -> None:
    assert {path.stem for path in SHIPPED} == {"laptop", "workstation", "cluster", "slurm"}


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_what_is_shipped_is_understood_and_holds_no_secret(path: Path) -> None:
    profile = read_profile(path)
    load_settings(None, under=profile.settings)
    for name, value in profile.environment.items():
        assert OURS.match(name), name
        assert not re.search(r"PASSWORD|SECRET|AUTH_STRING", name)
        assert not re.search(r"//[^/]*:[^/]*@", value), f"{name} has a password in it"
    comments = path.read_text().split("\n[")[0]
    assert comments.startswith("# ")
    assert tomllib.loads(path.read_text())
