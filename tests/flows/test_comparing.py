"""compare as a flow: the same held-out cells for all, the gate, the aliases, and back."""

import shutil

import pytest

from flows import comparing
from storage.errors import InputError
from storage.objects import open_store
from tasks import compare as judging
from tasks.compare import passes
from tasks.compare_settings import CompareSettings
from tasks.kernels.judging import Gain
from tasks.settings import Settings, SweepSettings
from tasks.sweep import sweep
from tasks.tracking import Tracking, runs
from tasks.tracking.champions import find_champion, versions
from tasks.tracking.server import make_client
from tests.support import QUICK
from tests.tasks.conftest import learned, tracking  # noqa: F401 - fixtures
from tests.tasks.test_delivery import MODEL

NAME = "chipcyte-vae-compared"
SETTINGS = QUICK.model_copy(
    update={"sweep": SweepSettings(latents=(2, 3)), "compare": CompareSettings(draws=20)}
)


@pytest.fixture(scope="module")
def compared(learned, tmp_path_factory):  # noqa: F811
    """A store with two models of one experiment, registered without being traced, and where they are."""
    folder = tmp_path_factory.mktemp("compared")
    shutil.copytree(learned.objects.url, folder / "store")
    place = Tracking(f"sqlite:///{folder}/mlflow.db", "compared")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs, "traced", lambda *_: MODEL)
        patch.setattr(judging, "alarms_of", lambda *_: [])  # two epochs leave latents that say little
        sweep.fn(patches=learned.patches, store=str(folder / "store"), settings=SETTINGS, tracking=place)
        yield open_store(str(folder / "store")), place.uri


@pytest.fixture
def gains(monkeypatch):
    """Make every model better than the champion by so much, from low to high."""

    def certain(low):
        monkeypatch.setattr(judging, "gain", lambda *_, **__: Gain(0.1, low, 0.2))

    return certain


def ranked(compared, settings: Settings = SETTINGS, **options):
    objects, uri = compared
    return comparing.compare_models(
        store=objects.url, name="compared", tracking_uri=uri, settings=settings, **options
    )


@pytest.mark.usefixtures("prefect_server")
def test_models_are_ranked_promoted_challenged_and_rolled_back(compared, gains):
    objects, uri = compared
    found = ranked(compared)
    rows = found.found.rows
    assert [row["version"] for row in sorted(rows, key=lambda row: row["version"])] == [1, 2]
    assert rows[0]["score"] >= rows[1]["score"]
    assert all(row["low"] <= row["score"] <= row["high"] for row in rows)
    assert (found.champion, found.promoted) == (None, False)
    client = make_client(uri)
    (run,) = client.search_runs(
        [client.get_experiment_by_name("compared").experiment_id], "tags.`chipcyte.stage` = 'compare'"
    )
    assert run.data.metrics["held_out_ari"] == pytest.approx(rows[0]["score"])
    assert {one.path for one in client.list_artifacts(run.info.run_id)} == {"pictures", "tables"}

    best, other = rows[0]["version"], rows[1]["version"]
    first = ranked(compared, models=[str(other)], promotes=True)  # nothing stands: any sound model may
    assert (first.promoted, first.champion.version) == (True, other)
    gains(-0.1)
    doubtful = ranked(compared, promotes=True)
    assert (doubtful.promoted, doubtful.challenger, doubtful.champion.version) == (False, best, other)
    assert versions(uri, NAME)[best - 1].aliases == ("challenger",)
    gains(0.05)
    second = ranked(compared, models=["challenger"], promotes=True)  # the champion is always compared too
    assert (second.promoted, second.champion.version) == (True, best)
    assert {one.version: one.aliases for one in versions(uri, NAME)} == {best: ("champion",), other: ()}
    assert not ranked(compared, promotes=True).promoted  # it stands already
    left, now = comparing.roll_back("compared", uri)
    assert (left.version, now.version) == (best, other)
    assert find_champion(uri, NAME).version == other

    with pytest.raises(InputError, match="expected keys of models"):
        ranked(compared, models=[objects_key(objects, "clusters")])


def objects_key(objects, kind):
    from storage import records

    return records.listing(objects, kind)[0].key


SOUND = {"alarms": "", "score": 0.5, "certain": False}


@pytest.mark.parametrize(
    ("row", "standing", "expected"),
    [
        (SOUND, None, True),
        (SOUND, SOUND, False),
        (SOUND | {"certain": True}, SOUND, True),
        (SOUND | {"certain": True, "alarms": "posterior collapse"}, SOUND, False),
        (SOUND | {"alarms": "posterior collapse"}, None, False),
        (SOUND | {"score": None}, None, False),
        (SOUND, SOUND | {"alarms": "posterior collapse"}, True),
    ],
)
def test_the_gate(row, standing, expected):
    assert passes(row, standing) is expected


def test_models_that_hold_out_different_chips_are_compared_on_what_all_hold_out(compared, monkeypatch):
    import numpy as np

    from storage import records
    from tasks.compare import Candidate, common_cells
    from tasks.stage import handle

    objects, _ = compared
    every = [Candidate(handle(objects, one), None) for one in records.listing(objects, "model")]
    whole = common_cells(objects, every, SETTINGS.compare)
    few = common_cells(objects, every, SETTINGS.compare.model_copy(update={"most_cells": 10}))
    assert len(few) == 10 < len(whole)
    assert set(few.index) < set(whole.index)
    monkeypatch.setattr(judging, "held_out", lambda cells, _: np.zeros(len(cells), bool))
    with pytest.raises(InputError, match="split_seed"):
        common_cells(objects, every, SETTINGS.compare)
    with pytest.raises(InputError, match="chipcyte train"):
        common_cells(objects, [], SETTINGS.compare)
