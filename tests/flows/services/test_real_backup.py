"""Backup and restore of the real servers' databases; start with `pytest -m services`."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from flows.backup import back_up, restore
from flows.services import databases, down, up
from storage.objects import open_store
from tests.flows.services.support import free_port, marked, read
from tests.hosts import postgres

pytestmark = pytest.mark.services


@pytest.fixture
def homes(tmp_path: Path) -> Iterator[list[Path]]:
    both = [tmp_path / "first", tmp_path / "second"]
    yield both
    for home in both:
        down(home)
        assert marked(home) == []


def test_mlflows_registry_and_prefects_flows_come_back_while_servers_run(
    homes: list[Path], tmp_path: Path
) -> None:
    import httpx
    from mlflow import MlflowClient

    first, second = homes
    servers = up(first, free_port(), free_port())
    client = MlflowClient(servers.mlflow_url)
    run = client.create_run(client.create_experiment("chips"))
    client.log_metric(run.info.run_id, "ari", 0.75)
    client.log_text(run.info.run_id, "weights", "model.txt")
    client.create_registered_model("segmenter")
    version = client.create_model_version("segmenter", f"{run.info.artifact_uri}/model.txt", run.info.run_id)
    client.set_registered_model_alias("segmenter", "champion", version.version)
    httpx.post(f"{servers.prefect_url}/flows/", json={"name": "watch"}).raise_for_status()
    open_store(str(tmp_path / "store"), create=True)

    copied = back_up(str(tmp_path / "store"), first, tmp_path / "backup")
    assert copied.notes == []
    down(first)
    restore(tmp_path / "backup", str(tmp_path / "new store"), second)

    again = up(second, free_port(), free_port())
    there = MlflowClient(again.mlflow_url)
    champion = there.get_model_version_by_alias("segmenter", "champion")
    assert champion.version == version.version
    assert there.get_run(champion.run_id).data.metrics == {"ari": 0.75}
    local = there.download_artifacts(champion.run_id, "model.txt", str(tmp_path))
    assert Path(local).read_text() == "weights"
    assert '"watch"' in read(f"{again.prefect_url}/flows/name/watch")[1]


@pytest.fixture
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a PostgreSQL of our own, without a last name."""
    if reason := postgres.missing():
        pytest.skip(reason)
    with postgres.running(tmp_path_factory.mktemp("postgres"), free_port(), ["one", "two"]) as server:
        yield f"postgresql://{server.address}/"


def test_a_postgres_database_comes_back_in_an_empty_one_and_only_there(address: str, tmp_path: Path) -> None:
    one, two = (databases.Database("mlflow", f"{address}{name}") for name in ("one", "two"))

    def ask(which: databases.Database, sql: str) -> str:
        done = subprocess.run(["psql", which.url, "-qAtc", sql], capture_output=True, text=True, check=True)
        return done.stdout.strip()

    ask(one, "CREATE EXTENSION pg_trgm; CREATE TABLE runs (name text); INSERT INTO runs VALUES ('champion')")
    dumped = databases.dump(one, tmp_path)
    databases.load_postgres(two, dumped)
    assert ask(two, "SELECT name FROM runs") == "champion"
    with pytest.raises(Exception, match=r"pg_restore of .* failed"):
        databases.load_postgres(two, dumped)
    assert ask(two, "SELECT name FROM runs") == "champion"
