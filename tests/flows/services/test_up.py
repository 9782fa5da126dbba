"""The command `up`: what it needs is looked for first, and what it started does not stay when it fails."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from flows import deploying, services
from flows.cli.app import app
from flows.services.addresses import Servers
from tests.support import ROOT

WORKSTATION = (ROOT / "deployments" / "profiles" / "workstation.toml").read_text()
Both = tuple[int, int]  # Prefect's server and MLflow's
ADDRESSES = ("http://127.0.0.1:1/api", "http://127.0.0.1:1", "http://127.0.0.1:2")


def up(*words: object, expected: int) -> str:
    done = CliRunner().invoke(app, ["up", *map(str, words)])
    assert done.exit_code == expected, done.output
    return " ".join(done.output.split())


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home and an inbox; no server is to be started."""
    monkeypatch.setenv("CHIPCYTE_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(services, "up", lambda *_: pytest.fail("servers were started"))
    (tmp_path / "inbox").mkdir()
    return tmp_path


def test_a_profile_whose_inbox_is_not_there_starts_nothing(lab: Path) -> None:
    profile = lab / "workstation.toml"
    profile.write_text(WORKSTATION.replace('"/data/', f'"{lab}/data/').replace("/var/lib", f"{lab}/lib"))
    assert f"expected a folder to watch, found none at {lab}/data/inbox" in up(
        "--profile", profile, expected=2
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "expected deployments at"),
        ("deployments: [{parameters: {store: '{{ $NOBODY }}'}}]", "expected a value for NOBODY"),
    ],
)
def test_deployments_that_cannot_be_made_start_nothing(lab: Path, text: str | None, said: str) -> None:
    file = lab / "own.yaml"
    if text is not None:
        file.write_text(text)
    words = ("--inbox", lab / "inbox", "--store", lab / "store", "--deployments", file)
    assert said in up(*words, expected=2)


@pytest.mark.parametrize(
    ("started", "given", "stopped"),
    [((1, 1), (0, 0), True), ((1, 0), (0, 1), True), ((1, 0), (0, 0), False), ((0, 0), (1, 1), False)],
    ids=["both started", "started beside a given one", "one ran before", "both given"],
)
def test_what_was_started_for_deployments_that_fail_is_stopped(
    lab: Path,
    monkeypatch: pytest.MonkeyPatch,
    started: tuple[int, int],
    given: tuple[int, int],
    stopped: bool,
) -> None:
    def by_name(both: tuple[int, int]) -> dict[str, bool]:
        return dict(zip(("prefect", "mlflow"), map(bool, both), strict=True))

    def refuses(*_: object) -> list[str]:
        raise OSError("the server has gone")

    downs: list[Path] = []
    monkeypatch.setattr(services, "up", lambda *_: Servers(*ADDRESSES, by_name(started), by_name(given)))
    monkeypatch.setattr(services, "connect", lambda _: None)
    monkeypatch.setattr(services, "down", downs.append)
    monkeypatch.setattr(deploying, "deploy", refuses)
    said = up("--inbox", lab / "inbox", "--store", lab / "store", expected=1)
    assert "the server has gone" in said
    assert downs == ([lab / "home"] if stopped else [])
