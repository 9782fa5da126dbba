"""What is known of an inbox's files, so that a look at ten thousand of them opens none.

A mark says: the file at this path, of this size and time, led to these answers (`raw/KEY`, `quarantine/KEY`).
Marks lie in batches, each an object that is created once and never changed. Two watchers add batches side by
side and lose nothing: the marks of all batches together hold. Many batches are merged into one, which is
written before the merged ones are removed. A lost mark costs only another look at its file.
"""

import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from threading import Lock
from uuid import uuid4

from storage import layout, quarantine
from storage.errors import MissingInputError
from storage.inbox import FileState
from storage.keys import digest_text
from storage.objects import Objects

MOST_BATCHES = 24
MARKS_A_BATCH = 200
SECONDS_A_BATCH = 5.0

Mark = tuple[str, FileState, tuple[str, ...]]


@dataclass
class Known:
    """The marks of one inbox. Several threads may note marks."""

    objects: Objects
    inbox_url: str
    _marks: dict[tuple[str, FileState], tuple[str, ...]] = field(default_factory=dict)
    _answers: set[str] = field(default_factory=set)
    _batches: set[str] = field(default_factory=set)
    _unwritten: list[Mark] = field(default_factory=list)
    _written_at: float = field(default_factory=time.monotonic)
    _lock: Lock = field(default_factory=Lock)

    @property
    def folder(self) -> str:
        """Where the batches lie."""
        return layout.known_folder(digest_text(self.inbox_url)[:16])

    def answers(self, path: str, state: FileState) -> tuple[str, ...] | None:
        """Return what a file in this state led to; None if it is not known."""
        return self._marks.get((path, state))

    def has_answer(self, answer: str) -> bool:
        """Return whether any file led to this answer."""
        return answer in self._answers

    def refresh(self) -> None:
        """Read the batches that this process has not read yet, those of other watchers among them."""
        names = set(self.objects.names(self.folder))
        for name in sorted(names - self._batches):
            try:
                self._learn(_read(self.objects.get(name)))
            except MissingInputError:  # merged by another watcher since we listed: look for the merged one
                self.refresh()
                return
        self._batches = names
        if len(names) > MOST_BATCHES:
            self._merge(names)

    def note(self, marks: Iterable[Mark]) -> None:
        """Remember marks; they are written when there are many, when some time has passed, or by `flush`."""
        with self._lock:
            fresh = list(marks)
            self._learn(fresh)
            self._unwritten += fresh
            late = time.monotonic() - self._written_at > SECONDS_A_BATCH
            if len(self._unwritten) >= MARKS_A_BATCH or late:
                self._write_unwritten()

    def flush(self) -> None:
        """Write what is not written."""
        with self._lock:
            self._write_unwritten()

    def _learn(self, marks: Sequence[Mark]) -> None:
        for path, state, answers in marks:
            self._marks[path, state] = answers
            self._answers.update(answers)

    def _write_unwritten(self) -> None:
        if self._unwritten:
            self._batches.add(self._write(self._unwritten))
            self._unwritten = []
        self._written_at = time.monotonic()

    def _write(self, marks: Iterable[Mark]) -> str:
        text = json.dumps([[path, *state, list(answers)] for path, state, answers in marks])
        name = f"{self.folder}/{uuid4().hex}.json"
        self.objects.create(name, text.encode())
        return name

    def _merge(self, names: set[str]) -> None:
        marks = [(path, state, answers) for (path, state), answers in self._marks.items()]
        self._batches = {self._write(marks)}
        self.objects.delete(sorted(names))


def _read(content: bytes) -> list[Mark]:
    """Return a batch's marks; none of a batch that a power cut tore."""
    try:
        rows = json.loads(content)
        return [(path, FileState(size, mtime), tuple(answers)) for path, size, mtime, answers in rows]
    except (ValueError, TypeError):
        return []


def answers_standing(objects: Objects) -> set[str]:
    """Return all answers that a mark may give and that still hold, from two listings."""
    raw = (name.rpartition("/")[2].removesuffix(".json") for name in objects.names(f"{layout.RECORDS}/raw"))
    return {f"raw/{key}" for key in raw} | {f"quarantine/{key}" for key in quarantine.keys(objects)}
