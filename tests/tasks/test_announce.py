import logging
import time

import pytest

from tasks import announce


@pytest.fixture
def heard():
    news = []
    announce.on_terminal(lambda *args: news.append(args))
    yield news
    announce.on_terminal(None)


@pytest.fixture
def artifacts(monkeypatch):
    """What would have gone to Prefect."""
    sent = []
    monkeypatch.setattr(
        announce,
        "create_progress_artifact",
        lambda percent, **facts: sent.append((percent, facts["description"])) or "identity",
    )
    monkeypatch.setattr(
        announce,
        "update_progress_artifact",
        lambda identity, *, progress: sent.append((progress, identity)),
    )
    for kind in ("table", "link"):
        monkeypatch.setattr(announce, f"create_{kind}_artifact", lambda **facts: sent.append(facts))
    return sent


@pytest.fixture
def inside_a_task(monkeypatch):
    monkeypatch.setattr("prefect.context.TaskRunContext.get", classmethod(lambda _cls: object()))


def test_the_terminal_hears_every_unit(heard, artifacts):
    tell = announce.listener("ingest a.tif")
    for done in range(4):
        tell(done, 3)
    assert heard == [("ingest a.tif", done, 3) for done in range(4)]
    assert artifacts == []


def test_after_none_nobody_hears(heard):
    announce.on_terminal(None)
    announce.listener("x")(1, 1)
    assert heard == []


def test_prefect_hears_the_first_and_the_last_unit_of_a_task(artifacts, inside_a_task):
    tell = announce.listener("ingest a.tif")
    for done in range(1, 5):
        tell(done, 4)
    assert artifacts == [(25.0, "ingest a.tif: 4 units"), (100.0, "identity")]


def test_no_units_are_no_news_for_prefect(artifacts, inside_a_task):
    announce.listener("x")(0, 0)
    assert artifacts == []


@pytest.mark.parametrize("where", ["outside", "inside"])
def test_tables_and_links_go_to_prefect_only_from_a_run(where, artifacts, request):
    if where == "inside":
        request.getfixturevalue("inside_a_task")
    announce.table("t", [{"a": 1}], "about")
    announce.table("empty", [], "about")
    announce.link("l", "http://127.0.0.1/x", "text")
    assert [one["key"] for one in artifacts] == (["t", "l"] if where == "inside" else [])


@pytest.fixture
def refusing(monkeypatch):
    """A Prefect that answers nothing; the list holds what it was asked."""
    asked = []

    def refuse(*words, **_):
        asked.append(words)
        raise ConnectionError("no server")

    for name in ("create_progress", "update_progress", "create_table", "create_link", "create_image"):
        monkeypatch.setattr(announce, f"{name}_artifact", refuse)
    return asked


def test_what_prefect_refuses_to_show_is_warned_of_and_the_work_goes_on(refusing, inside_a_task, caplog):
    announce.table("t", [{"a": 1}], "about")
    announce.link("l", "http://127.0.0.1/x", "text")
    announce.image("i", lambda: b"png", "about")
    assert [one.message for one in caplog.records] == [
        f"the {what} is not in the Prefect UI: no server" for what in ("table t", "link l", "picture i")
    ]


def test_progress_that_prefect_refuses_is_offered_once(refusing, heard, inside_a_task, caplog):
    tell = announce.listener("ingest a.tif")
    for done in range(3):
        tell(done, 2)
    assert len(heard) == 3
    assert len(refusing) == 1
    assert [one.message for one in caplog.records] == [
        "the progress of ingest a.tif is not in the Prefect UI: no server"
    ]


def test_a_warning_is_logged_as_chipcytes(caplog):
    with caplog.at_level(logging.WARNING, "chipcyte"):
        announce.warn("mind the gap")
    assert [(one.name, one.levelname, one.message) for one in caplog.records] == [
        ("chipcyte", "WARNING", "mind the gap")
    ]


def test_a_throttle_lets_through_the_first_and_the_last():
    heard = []
    throttle = announce.Throttle(lambda *news: heard.append(news), seconds=60)
    for done in range(1, 6):
        throttle(done, 5)
    assert heard == [(1, 5), (5, 5)]


def test_a_throttle_speaks_again_after_its_time():
    heard = []
    throttle = announce.Throttle(lambda *news: heard.append(news), seconds=0.01)
    throttle(1, 9)
    time.sleep(0.02)
    throttle(2, 9)
    assert heard == [(1, 9), (2, 9)]
