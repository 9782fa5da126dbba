import threading
from pathlib import Path

import pytest

from flows.services import logs


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "LARGEST_BYTES", 100)
    monkeypatch.setattr(logs, "FOLLOW_EVERY_S", 0.01)


@pytest.mark.usefixtures("small")
def test_a_log_does_not_grow_and_its_writer_goes_on(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    with log.open("ab") as writer:  # as a process that holds it open
        for number in range(100):
            writer.write(f"line {number}\n".encode())
            writer.flush()
            logs.bound(log)
    assert log.stat().st_size <= 110
    assert logs.old(log).stat().st_size <= 110
    assert logs.last_lines(log, 15) == [f"line {number}" for number in range(85, 100)]


def test_the_last_lines_of_nothing_and_of_a_short_log(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    assert logs.last_lines(log, 5) == []
    log.write_text("one\ntwo\n")
    assert logs.last_lines(log, 5) == ["one", "two"]
    assert logs.last_lines(log, 1) == ["two"]
    assert logs.last_lines(log, 0) == []


@pytest.mark.usefixtures("small")
def test_following_gives_each_whole_line_once_also_when_a_log_is_begun_anew(tmp_path: Path) -> None:
    files = {name: tmp_path / f"{name}.log" for name in ("a", "b")}
    files["a"].write_text("before\n")
    lines, heard = logs.follow(files), []
    go_on = threading.Event()

    def listen() -> None:
        for one in lines:
            heard.append(one)
            go_on.set()
            if one[1] == "end":
                return

    listener = threading.Thread(target=listen, daemon=True)
    listener.start()
    pause = threading.Event()
    pause.wait(0.1)  # it has seen how long the log is
    with files["a"].open("a") as stream:
        stream.write("first\nhal")
    assert go_on.wait(5)
    with files["a"].open("a") as stream:
        stream.write("f\n")
    pause.wait(0.1)
    files["a"].write_text("anew\n")
    pause.wait(0.1)
    files["b"].write_text("end\n")
    listener.join(5)
    assert heard == [("a", "first"), ("a", "half"), ("a", "anew"), ("b", "end")]
