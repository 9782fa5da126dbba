"""compare as a flow: the same held-out cells for all, the gate, the aliases, and back."""

import numpy as np
import pytest

from flows import comparing
from storage import records
from storage.errors import InputError
from tasks import compare as judging
from tasks.compare import Candidate, common_cells, passes
from tasks.kernels.judging import Gain
from tasks.stage import handle
from tasks.tracking.champions import find_champion, versions
from tasks.tracking.server import make_client

NAME = "chipcyte-vae-swept"


@pytest.fixture
def compared(swept, monkeypatch):
    """The two models of the sweep; the flow's tasks are called without Prefect, as a debugger would."""
    for name in ("embed", "cluster", "compare"):
        monkeypatch.setattr(comparing, name, getattr(comparing, name).fn)
    monkeypatch.setattr(judging, "alarms_of", lambda *_: [])  # two epochs leave latents that say little
    return swept


@pytest.fixture
def gains(monkeypatch):
    """Make every model better than the champion by so much, from low to high."""

    def certain(low):
        monkeypatch.setattr(judging, "gain", lambda *_, **__: Gain(0.1, low, 0.2))

    return certain


def ranked(compared, **options):
    return comparing.compare_models.fn(
        store=compared.objects.url,
        name="swept",
        tracking_uri=compared.tracking.uri,
        settings=compared.settings,
        **options,
    )


def test_models_are_ranked_promoted_challenged_and_rolled_back(compared, gains):
    objects, uri = compared.objects, compared.tracking.uri
    found = ranked(compared)
    rows = found.found.rows
    assert [row["version"] for row in sorted(rows, key=lambda row: row["version"])] == [1, 2]
    assert rows[0]["score"] >= rows[1]["score"]
    assert all(row["low"] <= row["score"] <= row["high"] for row in rows)
    assert (found.champion, found.promoted) == (None, False)
    client = make_client(uri)
    (run,) = client.search_runs(
        [client.get_experiment_by_name("swept").experiment_id], "tags.`chipcyte.stage` = 'compare'"
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
    left, now = comparing.roll_back("swept", uri)
    assert (left.version, now.version) == (best, other)
    assert find_champion(uri, NAME).version == other

    with pytest.raises(InputError, match="expected keys of models"):
        ranked(compared, models=[objects_key(objects, "clusters")])


def objects_key(objects, kind):
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
    objects, settings = compared.objects, compared.settings.compare
    every = [Candidate(handle(objects, one), None) for one in records.listing(objects, "model")]
    whole = common_cells(objects, every, settings)
    few = common_cells(objects, every, settings.model_copy(update={"most_cells": 10}))
    assert len(few) == 10 < len(whole)
    assert set(few.index) < set(whole.index)
    monkeypatch.setattr(judging, "judging", lambda cells, _: np.zeros(len(cells), bool))
    with pytest.raises(InputError, match="split_seed"):
        common_cells(objects, every, settings)
    with pytest.raises(InputError, match="chipcyte train"):
        common_cells(objects, [], settings)
