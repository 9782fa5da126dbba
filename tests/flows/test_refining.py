"""refine train as a flow: who becomes champion, and back."""

import itertools

import numpy as np
import pytest

from flows import refining
from storage import records
from storage.errors import InputError
from storage.objects import open_store
from tasks.models.cellpose_checkpoints import load_cellpose
from tasks.settings import Settings
from tasks.tracking.champions import KEY
from tests.tasks.test_refine import SIX, TINY, keep

pytestmark = pytest.mark.usefixtures("prefect_server")


@pytest.fixture(scope="module")
def tracking_uri(tmp_path_factory):
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow')}/mlflow.db"


def registered(run, net, name, key):
    """Register a version without tracing a network for it, which takes seconds."""
    if not run.client.search_registered_models(f"name = '{name}'"):
        run.client.create_registered_model(name)
    made = run.client.create_model_version(name, "file:///nowhere", run_id=run.id, tags={KEY: key})
    return int(made.version)


@pytest.fixture
def objects(store, monkeypatch):
    """Annotations; networks are registered without being traced, and learn next to nothing."""
    keep(store, SIX)

    monkeypatch.setattr("tasks.refine.log_network", registered)
    return store


@pytest.fixture
def gains(monkeypatch):
    """Make the next networks better or worse than what is in use by so much."""
    wanted: list[float] = []
    ours = itertools.count()

    def judged(found):
        return 0.5 + (wanted[0] if next(ours) % 2 == 0 else 0.0)

    monkeypatch.setattr("tasks.refine._judged", judged)
    monkeypatch.setattr("tasks.refine._watch_score", lambda *_: 0.0)
    return wanted


def refined(objects, tracking_uri, seed=0, **options):
    settings = Settings(refine=TINY.model_copy(update={"seed": seed, "steps": 2, "margin": 0.02}))
    return refining.refine_train(
        store=objects.url, name="tiny", tracking_uri=tracking_uri, settings=settings, **options
    )


def test_only_a_better_network_is_promoted_and_one_step_leads_back(objects, tracking_uri, gains):
    gains[:] = [0.01]
    worse = refined(objects, tracking_uri, seed=0)
    assert (worse.promoted, worse.champion) == (False, None)
    gains[:] = [0.3]
    first = refined(objects, tracking_uri, seed=1)
    second = refined(objects, tracking_uri, seed=2)
    assert (first.promoted, second.promoted) == (True, True)
    assert second.champion.key == second.segmenter.key
    record = records.read(objects, "segmenter", second.segmenter.key)
    assert record.details["champion"] == first.segmenter.key
    gains[:] = [-0.3]
    assert refined(objects, tracking_uri, seed=3).champion == second.champion

    used = refining.with_champion(objects, Settings(), tracking_uri).segment.method.model
    assert used == f"segmenter/{second.champion.key}"

    left, now = refining.roll_back(objects.url, tracking_uri)
    assert (left.key, now.key) == (second.segmenter.key, first.segmenter.key)
    assert now.key in refining.with_champion(objects, Settings(), tracking_uri).segment.method.model
    again = refined(objects, tracking_uri, seed=2)  # the same question: nothing is learned, nothing promoted
    assert (again.segmenter.reused, again.promoted, again.champion) == (True, False, now)


def test_the_network_goes_where_it_is_wanted_and_replaces_nothing(objects, tracking_uri, gains, tmp_path):
    gains[:] = [0.0]
    made = refined(objects, tracking_uri, out=str(tmp_path / "net.pt"))
    net = load_cellpose(tmp_path / "net.pt")
    assert net.config.widths == TINY.widths
    assert np.isfinite(made.segmenter.metrics["gain"])
    with pytest.raises(InputError, match="exists already"):
        refined(objects, tracking_uri, out=str(tmp_path / "net.pt"))


def test_a_lost_mlflow_loses_no_champion(objects, tracking_uri, gains, tmp_path):
    gains[:] = [0.3]
    first = refined(objects, tracking_uri, seed=6)
    second = refined(objects, tracking_uri, seed=7)
    assert (first.promoted, second.promoted) == (True, True)
    new = f"sqlite:///{tmp_path}/new.db"
    assert refining.champion_of(objects, new) is None
    again = refined(objects, new, seed=7)
    assert (again.segmenter.reused, again.promoted) == (True, True)
    assert refining.champion_of(objects, new).key == second.segmenter.key


def test_a_champion_of_another_store_of_the_same_name(objects, tracking_uri, gains, tmp_path, caplog):
    gains[:] = [0.3]
    assert refined(objects, tracking_uri, seed=5).promoted
    other = open_store(str(tmp_path / "elsewhere" / "store"), create=True)
    assert refining.champion_of(objects, tracking_uri) is not None
    assert refining.champion_of(other, tracking_uri) is None


def test_without_a_champion_the_shipped_network_segments(store, tmp_path):
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    assert refining.with_champion(store, Settings(), uri).segment.method.model == "nuclei-small"
    named = Settings.model_validate({"segment": {"method": {"kind": "network", "model": "cyto3"}}})
    assert refining.with_champion(store, named, "http://127.0.0.1:9/unreachable") is named
