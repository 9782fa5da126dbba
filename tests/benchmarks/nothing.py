"""A unit that does nothing, and a segmenter that sleeps, importable by workers."""

import time
from dataclasses import dataclass
from typing import Any

from storage.progress import Done
from tasks.models.threshold import ThresholdSegmenter

_slept_s: list[float] = []


@dataclass(frozen=True)
class Nothing:
    """A unit without pixels."""

    number: int

    @property
    def name(self) -> str:
        """The number."""
        return f"{self.number:06d}"


def do_nothing(unit: Nothing) -> Done:
    """Return the unit's number."""
    return Done(unit.number, {})


def slow_down(pause_s: float) -> None:
    """Let the threshold segmenter of this process sleep at each call, as if a network were at work."""
    quick = ThresholdSegmenter.segment

    def slow(self: ThresholdSegmenter, *given: Any, **named: Any) -> Any:
        time.sleep(pause_s)
        _slept_s.append(pause_s)
        return quick(self, *given, **named)

    ThresholdSegmenter.segment = slow  # type: ignore[method-assign]


def slept_s() -> float:
    """Return for how many seconds the segmenter of this process has slept."""
    return sum(_slept_s)
