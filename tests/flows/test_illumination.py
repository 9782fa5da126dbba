"""How the pipeline shares flat-fields between acquisitions, without Prefect."""

import pytest

from flows import pipeline
from flows.pipeline import Job, Start
from storage.errors import InputError
from storage.samples import Sample
from tasks.preprocess_settings import FlatField
from tasks.samples import attach_sample
from tasks.settings import PreprocessSettings
from tasks.train import Tracking
from tests.support import QUICK, ingested
from tests.tasks.test_illumination import a_position

ON = QUICK.model_copy(update={"preprocess": PreprocessSettings(illumination=FlatField())})


@pytest.fixture
def starts(store, tmp_path):
    """Two positions of chip a, one of chip b, one of no chip."""
    made = []
    for seed, chip in enumerate(["a", "b", "a", ""]):
        raw = ingested(store, a_position(tmp_path / f"{seed}.tif", seed, (64, 64)))
        sample = Sample(file=raw.name, chip=chip)
        made.append(Start(raw, attach_sample(store, raw, sample, None), None))
    return made


@pytest.fixture
def asked(monkeypatch):
    """What is asked of the stages; chip b cannot be estimated."""
    calls = []

    def estimate(*, raws, name, **_):
        calls.append((name, [raw.name for raw in raws]))
        if name == "b":
            raise InputError("b: too few frames")
        return f"the light of {name}"

    def preprocess(raw, store, settings, resources, illumination):
        calls.append((raw.name, illumination))
        return raw

    monkeypatch.setattr(pipeline, "estimate_illumination", estimate)
    monkeypatch.setattr(pipeline, "preprocess", preprocess)
    return calls


def carried(store, settings, starts):
    result = pipeline.Result()
    pipeline._nuclei(Job(store, settings, Tracking("", "", ""), "preprocess"), starts, result)


def test_off_nothing_is_estimated(store, starts, asked):
    carried(store, QUICK, starts)
    assert sorted(asked) == [(f"{n}.tif", None) for n in range(4)]


def test_one_flat_field_serves_a_chip_and_one_failure_stops_its_own_chip_alone(store, starts, asked):
    with pytest.raises(InputError, match="b: too few frames"):
        carried(store, ON, starts)
    estimates = [call for call in asked if isinstance(call[1], list)]
    assert sorted(estimates) == [("3.tif", ["3.tif"]), ("a", ["0.tif", "2.tif"]), ("b", ["1.tif"])]
    assert sorted(call for call in asked if isinstance(call[1], str)) == [
        ("0.tif", "the light of a"),
        ("2.tif", "the light of a"),
        ("3.tif", "the light of 3.tif"),
    ]
