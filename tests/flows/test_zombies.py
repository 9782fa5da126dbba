from datetime import timedelta

import pytest
from prefect import flow, get_client
from prefect.states import Completed, Running

from flows.zombies import mark_dead_runs


@flow
def nothing():
    pass


@pytest.fixture
def client(prefect_server):
    with get_client(sync_client=True) as client:
        yield client


def states(client, runs):
    return [client.read_flow_run(run.id).state.name for run in runs]


def test_runs_that_nobody_runs_are_marked_and_those_that_are_over_or_young_are_not(client):
    dead, asking = (client.create_flow_run(nothing, state=Running()) for _ in range(2))
    over = client.create_flow_run(nothing, state=Completed())
    assert mark_dead_runs(timedelta(hours=1)) == []
    assert mark_dead_runs(timedelta(seconds=-5), but=asking.id) == [dead.name]
    assert states(client, [dead, asking, over]) == ["Crashed", "Running", "Completed"]
    assert "No sign of life since" in client.read_flow_run(dead.id).state.message


def test_a_run_whose_heart_beats_is_left_alone(client, monkeypatch):
    from types import SimpleNamespace

    from prefect.client.orchestration import SyncPrefectClient

    alive, dead = (client.create_flow_run(nothing, state=Running()) for _ in range(2))

    def read_events(_self, **asked):
        beats = [alive] if asked["filter"].resource.id == [f"prefect.flow-run.{alive.id}"] else []
        assert asked["filter"].event.name == ["prefect.flow-run.heartbeat"]
        return SimpleNamespace(events=beats)

    monkeypatch.setattr(SyncPrefectClient, "read_events", read_events)
    marked = mark_dead_runs(timedelta(seconds=-5))
    assert dead.name in marked
    assert alive.name not in marked
