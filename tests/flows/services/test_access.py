"""Who may reach the servers, with stand-ins; test_real_access.py has the real ones."""

import os
from pathlib import Path

import psutil
import pytest

from flows.services import connect, down, recipes, up
from flows.services.access import PASSWORD, Access, chosen_access, write_users
from flows.services.records import read_records
from storage.errors import InputError
from tests.flows.services.support import NAMES, marked

SECRET = "correct horse battery"
EVERYWHERE = "0.0.0.0"


@pytest.fixture
def password(monkeypatch: pytest.MonkeyPatch) -> str:
    os.environ[PASSWORD] = SECRET
    return SECRET


@pytest.mark.parametrize("host", [EVERYWHERE, "192.0.2.7", "::", "lab.example"])
def test_another_address_wants_a_password(host: str, home: Path) -> None:
    with pytest.raises(InputError, match="expected a password in the variable CHIPCYTE_PASSWORD"):
        up(home, host=host)
    assert marked(home) == []
    assert chosen_access("127.0.0.1") == Access()


@pytest.mark.parametrize("given", ["short", "a\nlonger password", "пароль пароль"])
def test_a_poor_password_is_refused_and_not_shown(given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    os.environ[PASSWORD] = given
    with pytest.raises(InputError, match="at least 12 printable ASCII letters") as failure:
        chosen_access(EVERYWHERE)
    assert given not in str(failure.value)


def test_each_server_is_told_to_ask_and_gets_nobody_elses_secret(tmp_path: Path, password: str) -> None:
    access = chosen_access(EVERYWHERE)
    assert SECRET not in repr(access)
    user = {PASSWORD: SECRET, "MLFLOW_TRACKING_PASSWORD": SECRET, "PREFECT_API_AUTH_STRING": SECRET}
    prefect = recipes.PREFECT.full_environment(tmp_path, 4321, user, access)
    mlflow = recipes.MLFLOW.full_environment(tmp_path, 4321, user, access)
    holding = [{name for name, value in one.items() if SECRET in value} for one in (prefect, mlflow)]
    assert holding == [{"PREFECT_SERVER_API_AUTH_STRING"}, {"MLFLOW_AUTH_ADMIN_PASSWORD"}]
    for recipe in recipes.RECIPES:
        words = recipe.full_command(tmp_path, 4321, access)
        assert words[words.index("--host") + 1] == EVERYWHERE
        assert SECRET not in " ".join(words)
        assert recipe.url(4321, access) == "http://127.0.0.1:4321"
    assert "basic-auth" in recipes.MLFLOW.full_command(tmp_path, 4321, access)
    assert "basic-auth" not in recipes.MLFLOW.full_command(tmp_path, 4321)


def test_mlflows_users_are_made_anew_so_that_a_new_password_holds(tmp_path: Path, password: str) -> None:
    (tmp_path / "users.db").write_text("the old password")
    write_users(chosen_access(EVERYWHERE), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["users.ini"]
    assert SECRET not in (tmp_path / "users.ini").read_text()
    assert f"sqlite:///{tmp_path}/users.db" in (tmp_path / "users.ini").read_text()


@pytest.mark.usefixtures("stand_ins")
def test_the_password_is_in_no_file_and_no_command_line(home: Path, password: str) -> None:
    connect(up(home, host=EVERYWHERE))
    assert {one.host for one in read_records(home).values()} == {EVERYWHERE}
    assert os.environ["PREFECT_API_AUTH_STRING"] == f"chipcyte:{SECRET}"
    assert os.environ["MLFLOW_TRACKING_PASSWORD"] == SECRET
    for process in marked(home):
        assert SECRET not in " ".join(psutil.Process(process.pid).cmdline())
        assert PASSWORD not in process.environ()
    for path in home.rglob("*"):
        assert not path.is_file() or SECRET.encode() not in path.read_bytes()


@pytest.mark.usefixtures("stand_ins")
def test_servers_that_ask_are_never_replaced_by_open_ones(home: Path, password: str) -> None:
    up(home, host=EVERYWHERE)
    assert not any(up(home).started.values())  # where they listen need not be said again
    del os.environ[PASSWORD]
    for host in (None, "127.0.0.1"):
        with pytest.raises(InputError, match="the servers of this home ask for a password"):
            up(home, host=host)
    os.environ[PASSWORD] = SECRET
    with pytest.raises(InputError, match="chipcyte down"):
        up(home, host="127.0.0.1")
    assert down(home) == NAMES
    del os.environ[PASSWORD]
    assert {read_records(home)[name].host for name in up(home).started} == {"127.0.0.1"}


@pytest.mark.usefixtures("stand_ins")
def test_open_servers_give_way_to_such_that_ask(home: Path) -> None:
    up(home)
    os.environ[PASSWORD] = SECRET
    assert up(home).started == dict.fromkeys(NAMES, True)
    assert all(one.protected for one in read_records(home).values())
