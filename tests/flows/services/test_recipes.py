import sys
from pathlib import Path

from flows.services import recipes


def test_the_users_variables_win_but_not_over_the_address(tmp_path: Path) -> None:
    user = {
        "PREFECT_API_DATABASE_CONNECTION_URL": "postgresql+asyncpg://db/prefect",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "true",
        "PREFECT_SERVER_API_PORT": "9999",
        "PREFECT_API_URL": "http://elsewhere/api",
        "PATH": "/bin",
    }
    environment = recipes.PREFECT.full_environment(tmp_path, 4321, user)
    for name in ("PREFECT_API_DATABASE_CONNECTION_URL", "PREFECT_SERVER_ANALYTICS_ENABLED", "PATH"):
        assert environment[name] == user[name]
    assert environment["PREFECT_SERVER_API_PORT"] == "4321"
    assert environment["PREFECT_SERVER_UI_API_URL"] == "http://127.0.0.1:4321/api"
    assert environment["MLFLOW_DISABLE_TELEMETRY"] == "true"
    assert "PREFECT_API_URL" not in environment


def test_both_servers_listen_on_loopback_and_write_below_the_home(tmp_path: Path) -> None:
    for recipe in recipes.RECIPES:
        command = recipe.full_command(tmp_path, 4321)
        assert command[0] == sys.executable
        assert command[command.index("--host") + 1] == "127.0.0.1"
    environment = recipes.MLFLOW.full_environment(tmp_path, 1, {})
    assert environment["MLFLOW_BACKEND_STORE_URI"] == f"sqlite:///{tmp_path}/mlflow/mlflow.db"
    assert environment["MLFLOW_ARTIFACTS_DESTINATION"] == f"file://{tmp_path}/mlflow/artifacts"


def test_a_server_is_not_told_what_clients_are_and_the_worker_is(tmp_path: Path) -> None:
    user = {"PREFECT_API_URL": "http://a/api", "PREFECT_API_AUTH_STRING": "b", "CHIPCYTE_PASSWORD": "c"}
    for recipe in recipes.RECIPES:
        assert not user.keys() & recipe.full_environment(tmp_path, 1, user).keys()
    told = recipes.WORKER.full_environment(tmp_path, 4201, user)
    assert (told["PREFECT_API_URL"], told["PREFECT_API_AUTH_STRING"]) == ("http://a/api", "b")
    assert "CHIPCYTE_PASSWORD" not in told
    assert told["PREFECT_WORKER_WEBSERVER_HOST"] == "127.0.0.1"
