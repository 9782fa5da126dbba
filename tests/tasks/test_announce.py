import logging
from types import SimpleNamespace

import pytest
from prefect import artifacts

from tasks import announce


@pytest.fixture
def heard():
    news = []
    announce.on_terminal(lambda *args: news.append(args))
    yield news
    announce.on_terminal(None)


@pytest.fixture
def shown(monkeypatch):
    """What would have gone to Prefect."""
    sent = []
    monkeypatch.setattr(
        artifacts,
        "create_progress_artifact",
        lambda percent, **facts: sent.append((percent, facts["description"])) or "identity",
    )
    monkeypatch.setattr(
        artifacts,
        "update_progress_artifact",
        lambda identity, *, progress: sent.append((progress, identity)),
    )
    for kind in ("table", "link"):
        monkeypatch.setattr(artifacts, f"create_{kind}_artifact", lambda **facts: sent.append(facts))
    return sent


@pytest.fixture
def clock(monkeypatch):
    """The seconds that have passed, as the test sets them."""
    clock = SimpleNamespace(moment=0.0)
    monkeypatch.setattr(announce, "time", SimpleNamespace(monotonic=lambda: clock.moment))
    return clock


@pytest.fixture
def inside_a_task(monkeypatch):
    monkeypatch.setattr("prefect.context.TaskRunContext.get", classmethod(lambda _cls: object()))


def test_the_terminal_hears_every_unit(heard, shown):
    tell = announce.listener("ingest a.tif")
    for done in range(4):
        tell(done, 3)
    assert heard == [("ingest a.tif", done, 3) for done in range(4)]
    assert shown == []


def test_after_none_nobody_hears(heard):
    announce.on_terminal(None)
    announce.listener("x")(1, 1)
    assert heard == []


def test_prefect_hears_of_a_long_step_now_and_then_and_at_its_end(shown, inside_a_task, clock):
    tell = announce.listener("ingest a.tif")
    for done, seconds in enumerate((0.0, 1.9, 2.1, 3.9, 4.2, 4.3)):
        clock.moment = seconds
        tell(done, 5)
    assert shown == [(40.0, "ingest a.tif: 5 units"), (80.0, "identity"), (100.0, "identity")]


def test_prefect_hears_nothing_of_a_short_step(shown, inside_a_task, clock):
    tell = announce.listener("ingest a.tif")
    for done, seconds in enumerate((0.0, 0.5, 2.5)):
        clock.moment = seconds
        tell(done, 2)
    assert shown == []


def test_no_units_are_no_news_for_prefect(shown, inside_a_task):
    announce.listener("x")(0, 0)
    assert shown == []


@pytest.mark.parametrize("where", ["outside", "inside"])
def test_tables_and_links_go_to_prefect_only_from_a_run(where, shown, request):
    if where == "inside":
        request.getfixturevalue("inside_a_task")
    announce.table("t", [{"a": 1}], "about")
    announce.table("empty", [], "about")
    announce.link("l", "http://127.0.0.1/x", "text")
    assert [one["key"] for one in shown] == (["t", "l"] if where == "inside" else [])


@pytest.fixture
def refusing(monkeypatch):
    """A Prefect that answers nothing; the list holds what it was asked."""
    asked = []

    def refuse(*words, **_):
        asked.append(words)
        raise ConnectionError("no server")

    for name in ("create_progress", "update_progress", "create_table", "create_link", "create_image"):
        monkeypatch.setattr(artifacts, f"{name}_artifact", refuse)
    return asked


def test_what_prefect_refuses_to_show_is_warned_of_and_the_work_goes_on(refusing, inside_a_task, caplog):
    announce.table("t", [{"a": 1}], "about")
    announce.link("l", "http://127.0.0.1/x", "text")
    announce.image("i", lambda: b"png", "about")
    assert [one.message for one in caplog.records] == [
        f"the {what} is not in the Prefect UI: no server" for what in ("table t", "link l", "picture i")
    ]


def test_progress_that_prefect_refuses_is_offered_once(refusing, heard, inside_a_task, caplog, clock):
    tell = announce.listener("ingest a.tif")
    for done in range(4):
        clock.moment += 3.0
        tell(done, 3)
    assert len(heard) == 4
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
