"""The alias `champion`: promoted, followed, rolled back; and a registry that knows nothing."""

import pytest

from storage.errors import InputError
from tasks.tracking import TrackingError, tracked_run
from tasks.tracking.champions import KEY, find_champion, promote, rollback, was_champion
from tests.flows.services.support import free_port

NAME = "chipcyte-segmenter-tests"


@pytest.fixture(scope="module")
def uri(tmp_path_factory):
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow')}/mlflow.db"


@pytest.fixture
def registered(uri, request):
    """A registered model with three versions, and no champion."""
    name = f"{NAME}-{request.node.name}"
    with tracked_run("tests", "x", tracking_uri=uri, tags={}) as run:
        run.client.create_registered_model(name)
        for number in range(1, 4):
            tags = {KEY: f"key-{number}"}
            run.client.create_model_version(name, f"file:///nowhere/{number}", run_id=run.id, tags=tags)
    return name


def test_no_model_and_no_champion(uri, registered):
    assert find_champion(uri, "chipcyte-segmenter-unheard-of") is None
    assert find_champion(uri, registered) is None
    with pytest.raises(InputError, match="found none"):
        rollback(uri, registered)


def test_a_champion_is_found_by_alias_and_names_its_artifact(uri, registered):
    promoted = promote(uri, registered, 2)
    assert (promoted.version, promoted.key) == (2, "key-2")
    assert find_champion(uri, registered) == promoted
    assert was_champion(uri, registered, 2)
    assert not was_champion(uri, registered, 1)


def test_back_step_by_step_to_none(uri, registered):
    for version in (1, 2, 2, 3):
        promote(uri, registered, version)
    steps = []
    while find_champion(uri, registered):
        left, now = rollback(uri, registered)
        steps.append((left.version, now.version if now else None))
    assert steps == [(3, 2), (2, 1), (1, None)]
    assert was_champion(uri, registered, 3)  # so that nothing promotes it by itself again


def test_rolled_back_and_followed_by_another(uri, registered):
    for version in (1, 2):
        promote(uri, registered, version)
    rollback(uri, registered)
    promote(uri, registered, 3)
    assert rollback(uri, registered)[1].version == 1


def test_a_missing_server(monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(TrackingError, match="chipcyte status"):
        find_champion(f"http://127.0.0.1:{free_port()}", NAME)
