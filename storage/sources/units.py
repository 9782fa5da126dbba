"""Quantities with units as instruments write them, in our units; what nobody can convert is not known."""

import math
from collections.abc import Mapping
from typing import Any
from xml.etree.ElementTree import Element

MICROMETRES = ("µm", "μm", "um", "micron", "microns", "\\u00b5m", "\\u00B5m", "micrometer", "micrometre")
LENGTHS_UM: Mapping[str, float] = {
    **dict.fromkeys(MICROMETRES, 1.0),
    **dict.fromkeys(("nm", "nanometer"), 1e-3),
    **dict.fromkeys(("mm", "millimeter"), 1e3),
    **dict.fromkeys(("cm", "centimeter"), 1e4),
    **dict.fromkeys(("m", "meter"), 1e6),
    **dict.fromkeys(("Å", "angstrom"), 1e-4),
}
SECONDS: Mapping[str, float] = {
    **dict.fromkeys(("s", "sec", "second"), 1.0),
    **dict.fromkeys(("ms", "millisecond"), 1e-3),
    **dict.fromkeys(("µs", "μs", "microsecond"), 1e-6),
    **dict.fromkeys(("min", "minute"), 60.0),
    **dict.fromkeys(("h", "hour"), 3600.0),
}


def number(value: Any, *, signed: bool = False, zero: bool = False) -> float | None:
    """Return a finite number; None for nonsense, and for zero and negatives unless they make sense."""
    try:
        found = float(value)
    except (TypeError, ValueError):
        return None
    sensible = signed or found > 0 or (zero and found == 0)
    return found if math.isfinite(found) and sensible else None


def scaled(
    element: Element,
    field: str,
    units: Mapping[str, float],
    *,
    default: str | None = None,
    signed: bool = False,
    zero: bool = False,
) -> float | None:
    """Return an attribute of an OME element in our unit; None if it is absent or cannot be converted.

    Parameters
    ----------
    default
        The unit of a bare number; None for the schema's (s, µm).
    """
    bare = ("s" if units is SECONDS else "µm") if default is None else default
    factor = units.get(element.get(f"{field}Unit", bare))
    found = number(element.get(field), signed=signed, zero=zero)
    return None if factor is None or found is None else found * factor
