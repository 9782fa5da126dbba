import pytest
from prefect import flow, task
from prefect.states import Failed

from storage.errors import (
    BusyError,
    ChipcyteError,
    DamagedStoreError,
    FormatError,
    InputError,
    MemoryBudgetError,
    MissingInputError,
    StoreError,
)
from tasks.cluster import cluster
from tasks.compare import compare
from tasks.embed import embed
from tasks.extract import extract
from tasks.illumination import estimate_illumination
from tasks.ingest import ingest
from tasks.passing import may_pass
from tasks.preprocess import preprocess
from tasks.refine import refine_segmenter
from tasks.report import report
from tasks.segment import segment
from tasks.sweep import sweep
from tasks.train import train

STAGES = (
    ingest,
    estimate_illumination,
    preprocess,
    segment,
    extract,
    train,
    embed,
    cluster,
    report,
    compare,
    refine_segmenter,
    sweep,
)


@pytest.mark.parametrize("error", [StoreError, BusyError, ConnectionResetError, TimeoutError])
def test_what_was_away_is_tried_again(error):
    assert may_pass(None, None, Failed(data=error("away")))


@pytest.mark.parametrize(
    "error",
    [
        InputError,
        MissingInputError,
        FormatError,
        MemoryBudgetError,
        DamagedStoreError,
        ChipcyteError,
        KeyError,
        FileNotFoundError,
    ],
)
def test_bad_input_and_damage_stay_as_they_are(error):
    assert not may_pass(None, None, Failed(data=error("bad")))


def test_every_stage_knows_which_failures_pass():
    assert all(stage.retry_condition_fn is may_pass for stage in STAGES)


@pytest.mark.usefixtures("prefect_server")
@pytest.mark.parametrize(("error", "tries"), [(StoreError, 3), (InputError, 1)])
def test_prefect_tries_again_what_may_pass_and_nothing_else(error, tries):
    calls = []

    @task(retries=5, retry_delay_seconds=0, retry_condition_fn=may_pass)
    def stage():
        calls.append(1)
        if len(calls) < 3:
            raise error("the share is away")

    @flow
    def run():
        stage(return_state=True)

    run(return_state=True)
    assert len(calls) == tries
