"""Keys: the name of an artifact is a hash of the question it answers."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

KEY_LENGTH = 20  # hex digits: 80 bits, a collision among a billion artifacts has odds below 1e-6


def canonical_json(value: Any) -> str:
    """Return the one JSON text of `value`: sorted keys, no spaces, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=True)


def digest_text(text: str) -> str:
    """Return the SHA-256 of `text` as 64 hex digits."""
    return hashlib.sha256(text.encode()).hexdigest()


def artifact_key(kind: str, parents: Sequence[str], settings: Mapping[str, Any], version: int) -> str:
    """Return the key of the artifact that answers one question.

    Parameters
    ----------
    kind
        Noun of the artifact: "clean", "labels", ...
    parents
        Keys of the artifacts it is computed from, in their order of use.
    settings
        Everything the user may choose that changes the result, as plain JSON values.
    version
        Version of the stage's algorithm; raise it when the same settings give another result.
    """
    question = {"kind": kind, "parents": list(parents), "settings": dict(settings), "version": version}
    return digest_text(canonical_json(question))[:KEY_LENGTH]
