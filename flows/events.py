"""What the watcher meets and what it says of it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from storage.inbox import Snapshot
from storage.sources.base import Acquisition

What = Literal["ingested", "known", "quarantined", "waiting", "ignored"]
SETTLED = ("ingested", "known", "quarantined")


@dataclass(frozen=True)
class Event:
    """What happened to one acquisition: one line for people."""

    what: What
    place: str
    key: str = ""
    reason: str = ""

    @property
    def line(self) -> str:
        """The event in one line."""
        parts = [f"{self.what:<11} {self.place}", self.key[:12], " ".join(self.reason.split())]
        return "  ".join(part for part in parts if part)

    @property
    def answer(self) -> str:
        """What a mark of its files says."""
        return f"{'quarantine' if self.what == 'quarantined' else 'raw'}/{self.key}"


@dataclass(frozen=True)
class Arrival:
    """An acquisition, its place in the inbox, and the state of each of its files when it was listed."""

    acquisition: Acquisition
    root: Path
    place: str
    states: Snapshot
