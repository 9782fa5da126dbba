"""Quarantine: input that could not be ingested, why, and in which state. The files stay where they are."""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from storage import layout
from storage.errors import DamagedStoreError, InputError, MissingInputError
from storage.inbox import FileState
from storage.keys import artifact_key
from storage.objects import Objects
from storage.records import now


class Refusal(BaseModel):
    """What was refused.

    `place` is its path inside the inbox, with #SCENE for a part of a file; `files` hold size in bytes
    and time in ns; `digest` is the content's digest, empty if the content could not be read.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    key: str
    name: str
    inbox: str
    place: str
    reason: str
    files: dict[str, tuple[int, int]]
    digest: str = ""
    since: str = ""

    @property
    def size_bytes(self) -> int:
        """Size of all files together."""
        return sum(size for size, _ in self.files.values())


def refusal_key(digest: str, files: Mapping[str, FileState]) -> str:
    """Return the key of a refused content, or of the files' states where the content cannot be read."""
    known: dict[str, Any] = {"files": {path: list(state) for path, state in files.items()}}
    return artifact_key("quarantine", [], {"content": digest} if digest else known, 1)


def refuse(
    objects: Objects, *, inbox: str, place: str, reason: str, files: Mapping[str, FileState], digest: str
) -> Refusal:
    """Put input on the list; content that is on it already keeps its first note."""
    refusal = Refusal(
        key=refusal_key(digest, files),
        name=place.rpartition("/")[2],
        inbox=inbox,
        place=place,
        reason=reason,
        files={path: (state.size_bytes, state.mtime_ns) for path, state in files.items()},
        digest=digest,
        since=now(),
    )
    if objects.create(layout.quarantine_path(refusal.key), refusal.model_dump_json(indent=1).encode()):
        return refusal
    return read(objects, refusal.key)


def keys(objects: Objects) -> set[str]:
    """Return the keys of all that is refused; reads no note."""
    names = objects.names(layout.QUARANTINE)
    return {name.rpartition("/")[2].removesuffix(".json") for name in names if name.endswith(".json")}


def read(objects: Objects, key: str) -> Refusal:
    """Return one note; MissingInputError if there is none."""
    path = layout.quarantine_path(key)
    try:
        return Refusal.model_validate_json(objects.get(path))
    except ValidationError as error:
        raise DamagedStoreError(
            f"the note {objects.uri(path)} is damaged; `chipcyte quarantine retry {key}` removes it"
        ) from error


def listing(objects: Objects) -> list[Refusal]:
    """Return all notes, the oldest first.

    One that another process clears meanwhile is left out; of a damaged one its text says so.
    """
    found = []
    for key in keys(objects):
        try:
            found.append(read(objects, key))
        except MissingInputError:
            continue
        except DamagedStoreError as error:
            found.append(Refusal(key=key, name="", inbox="", place="", reason=str(error), files={}))
    return sorted(found, key=lambda refusal: (refusal.since, refusal.place))


def resolve(objects: Objects, start_of_key: str) -> str:
    """Return the one key that begins so; InputError if none or several do."""
    found = sorted(key for key in keys(objects) if key.startswith(start_of_key))
    if len(found) == 1:
        return found[0]
    if not found:
        raise MissingInputError(
            f"nothing in quarantine has a key that begins with {start_of_key!r}; "
            "`chipcyte quarantine list` shows them"
        )
    raise InputError(
        f"{len(found)} keys begin with {start_of_key!r} ({', '.join(found[:3])}); give more digits"
    )


def clear(objects: Objects, key: str) -> None:
    """Take input off the list: a watcher tries it again."""
    objects.delete([layout.quarantine_path(key)])
