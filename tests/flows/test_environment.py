import os
import subprocess
import sys
from pathlib import Path

import pytest

from flows.environment import DEFAULTS, home_folder, prepare_environment


@pytest.fixture(autouse=True)
def own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME")}
    monkeypatch.setattr(os, "environ", kept)


def test_home_is_what_the_user_says_first(tmp_path: Path) -> None:
    os.environ["XDG_DATA_HOME"] = str(tmp_path / "data")
    assert home_folder() == tmp_path / "data" / "chipcyte"
    os.environ["CHIPCYTE_HOME"] = str(tmp_path / "own")
    assert home_folder() == tmp_path / "own"


@pytest.mark.parametrize("empty", ["CHIPCYTE_HOME", "XDG_DATA_HOME"])
def test_an_empty_variable_counts_as_unset(empty: str) -> None:
    os.environ[empty] = ""
    assert home_folder() == Path.home() / ".local" / "share" / "chipcyte"


def test_home_does_not_move_with_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    os.environ["CHIPCYTE_HOME"] = "here"
    assert home_folder() == tmp_path / "here"


def test_all_defaults_are_set_and_prefect_lives_in_the_home(tmp_path: Path) -> None:
    prepare_environment(tmp_path)
    assert os.environ.items() >= DEFAULTS.items()
    assert os.environ["PREFECT_HOME"] == str(tmp_path / "prefect")


def test_the_home_is_there_before_prefect_looks_for_it(tmp_path: Path) -> None:
    prepare_environment(tmp_path / "new" / "home")
    assert (tmp_path / "new" / "home").is_dir()


def test_a_home_that_cannot_be_made_is_not_yet_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    prepare_environment(tmp_path / "file" / "home")
    assert os.environ["PREFECT_HOME"] == str(tmp_path / "file" / "home" / "prefect")


@pytest.mark.parametrize("name", [*DEFAULTS, "PREFECT_HOME"])
def test_the_user_wins(name: str, tmp_path: Path) -> None:
    os.environ[name] = "the user's"
    prepare_environment(tmp_path)
    assert os.environ[name] == "the user's"


def test_a_chosen_log_level_is_not_silenced(tmp_path: Path) -> None:
    os.environ["PREFECT_LOGGING_LEVEL"] = "DEBUG"
    prepare_environment(tmp_path)
    assert "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL" not in os.environ


def test_a_proxy_is_not_asked_for_our_own_servers(tmp_path: Path) -> None:
    os.environ.update(HTTP_PROXY="http://proxy.example:3128", no_proxy="intranet.example")
    prepare_environment(tmp_path)
    prepare_environment(tmp_path)
    assert os.environ["no_proxy"] == "intranet.example,127.0.0.1,localhost"
    assert os.environ["NO_PROXY"] == "127.0.0.1,localhost"


def test_without_a_proxy_nothing_is_said_about_it(tmp_path: Path) -> None:
    prepare_environment(tmp_path)
    assert "no_proxy" not in os.environ


READ_BACK = """
from flows.environment import prepare_environment
prepare_environment()
from mlflow.telemetry.utils import is_telemetry_disabled
from prefect._internal.analytics.enabled import is_telemetry_enabled
from prefect.settings import get_current_settings
settings = get_current_settings()
print(is_telemetry_disabled(), is_telemetry_enabled(), settings.server.analytics_enabled,
      settings.server.ephemeral.enabled, settings.server.ui.show_promotional_content,
      settings.client.retry_extra_codes, settings.home)
"""


def test_the_installed_libraries_understand_the_words(tmp_path: Path) -> None:
    """Misspelt variables would fail silently, so the libraries themselves are asked."""
    root = Path(__file__).parents[2]
    answer = subprocess.run(
        [sys.executable, "-c", READ_BACK],
        cwd=root,
        env={**os.environ, "CHIPCYTE_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    told = ["True", "False", "False", "False", "False", "{500}", str(tmp_path / "prefect")]
    assert answer.stdout.split() == told
