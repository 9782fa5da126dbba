"""`--profile workstation` for real: both servers on PostgreSQL, some stages, down; `pytest -m services`."""

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.flows.conftest import commands
from tests.flows.services.support import free_port, marked
from tests.flows.test_two_hosts import SETTINGS
from tests.hosts import postgres
from tests.hosts.postgres import USER, Postgres
from tests.support import ROOT

pytestmark = [
    pytest.mark.long,
    pytest.mark.services,
    pytest.mark.timeout(900),
    pytest.mark.skipif(
        bool(postgres.missing()) or importlib.util.find_spec("psycopg2") is None,
        reason="this system has no PostgreSQL, or no psycopg2 to reach it",
    ),
]


@pytest.fixture
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    folder = tmp_path_factory.mktemp("postgres")
    with postgres.running(folder, free_port(), ["prefect", "mlflow"]) as server:
        yield server


@pytest.fixture
def profile(tmp_path: Path, database: Postgres) -> Path:
    """The shipped profile, but for the places and the size of the machine."""
    text = (ROOT / "deployments" / "profiles" / "workstation.toml").read_text()
    for there, here in (
        ("chipcyte@127.0.0.1:5432", f"{USER}@127.0.0.1:{database.port}"),
        ("/data/", f"{tmp_path}/"),
        ("workers = 12", "workers = 1"),
        ("memory_bytes = 51_539_607_552", "memory_bytes = 4_294_967_296"),
    ):
        assert there in text
        text = text.replace(there, here)
    path = tmp_path / "workstation.toml"
    path.write_text(text)
    return path


def count(database: Postgres, name: str, table: str) -> int:
    import psycopg2

    place = {"host": "127.0.0.1", "port": database.port, "user": USER, "dbname": name}
    connection = psycopg2.connect(**place)
    try:
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT count(*) FROM {table}")
            return int(cursor.fetchone()[0])
    finally:
        connection.close()


def test_the_workstations_profile_keeps_runs_in_postgres(
    profile: Path, database: Postgres, experiment: Path, tmp_path: Path
) -> None:
    config, home = tmp_path / "quick.toml", tmp_path / "home"
    config.write_text(SETTINGS)
    for folder in (home, tmp_path / "inbox"):
        folder.mkdir()
    command = commands(home)

    def chipcyte(*words: object) -> dict[str, Any]:
        done = command(*words, "--profile", profile, "--json")
        assert done.code == 0, done.err
        found: dict[str, Any] = done.found
        return found

    ports = ("--prefect-port", free_port(), "--mlflow-port", free_port())
    try:
        assert chipcyte("up", *ports)["counts"] == {"started": 3}  # a worker, too
        chipcyte("ingest", experiment, "--config", config)
        found = chipcyte("train", "--config", config)
        assert (tmp_path / "store" / "records" / "model" / f"{found['key']}.json").exists()
        assert count(database, "prefect", "flow_run WHERE deployment_id IS NULL") == 2
        assert count(database, "prefect", "deployment") > 4
        assert count(database, "mlflow", "runs") == 1
    finally:
        chipcyte("down")
    assert list(home.rglob("*.db")) == []
    assert marked(home) == []
