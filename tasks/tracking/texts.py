"""Names and values as MLflow accepts them."""

import json
import math
import re
from collections.abc import Mapping, Sequence

import numpy as np

PARAM_LENGTH = 500
"""Longest text of a setting, in characters; MLflow's tables show less."""

FORBIDDEN_IN_KEYS = re.compile(r"[^\w\-. :/]")


def flattened(values: Mapping[str, object], prefix: str = "") -> dict[str, str]:
    """Nested settings as one level of texts; `{"a": {"b": 1}}` gives `{"a.b": "1"}`, lists become JSON."""
    flat: dict[str, str] = {}
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            flat |= flattened(value, prefix=f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = _text(value)
    return flat


def _text(value: object) -> str:
    return json.dumps(value, default=str) if isinstance(value, list | tuple | Mapping) else str(value)


def shortened(text: str) -> str:
    """A text of at most `PARAM_LENGTH` characters; a cut is shown by an ellipsis."""
    return text if len(text) <= PARAM_LENGTH else text[: PARAM_LENGTH - 1] + "…"


def key(name: str) -> str:
    """Name of a setting or number in which characters that MLflow refuses became `_`."""
    return FORBIDDEN_IN_KEYS.sub("_", name)


def columns_of(rows: Sequence[Mapping[str, object]]) -> dict[str, list[object]]:
    """Rows turned into columns, in order of appearance; a missing cell is None."""
    columns = dict.fromkeys(column for row in rows for column in row)
    return {column: [_cell(row.get(column)) for row in rows] for column in columns}


def _cell(value: object) -> object:
    plain = value.item() if isinstance(value, np.generic) else value
    if isinstance(plain, float) and not math.isfinite(plain):
        return str(plain)  # JSON has no word for it
    return plain if plain is None or isinstance(plain, bool | int | float | str) else str(plain)
