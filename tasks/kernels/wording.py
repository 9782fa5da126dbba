"""How a report writes values: numbers for people, and what is not known."""

from __future__ import annotations

import math
from numbers import Integral, Real
from typing import Final

NOT_KNOWN: Final = "not known"
NARROW_SPACE: Final = "\N{NARROW NO-BREAK SPACE}"
PERCENT: Final = f"{NARROW_SPACE}%"
TIMES_TEN: Final = f"{NARROW_SPACE}\N{MULTIPLICATION SIGN}{NARROW_SPACE}10"
MINUS: Final = "\N{MINUS SIGN}"
SUPERSCRIPTS: Final = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def for_people(value: object) -> str:
    """Write a value for people.

    Whole numbers have thin spaces between thousands; others have three significant digits, or all digits
    before the point when these are more; None, nan and empty text are "not known".

    Parameters
    ----------
    value
        Text, number, truth value or None; anything else is written as ``str`` does.

    Returns
    -------
    str
        Such as ``12 345``, ``0.0123``, ``1.23 × 10⁻⁷``, ``yes``.
    """
    if value is None or value == "":
        return NOT_KNOWN
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Integral):
        return _signed(f"{int(value):,}")
    return _real(float(value)) if isinstance(value, Real) else str(value)


def _real(value: float) -> str:
    """Write a real number in three significant digits."""
    if math.isnan(value):
        return NOT_KNOWN
    if math.isinf(value):
        return "infinite" if value > 0 else "minus infinite"
    if value == 0:
        return "0"
    digits, exponent = f"{value:.2e}".split("e")
    power = int(exponent)
    if -4 <= power < 9:
        return _signed(f"{value:,.{max(0, 2 - power)}f}")
    return _signed(digits + TIMES_TEN) + str(power).translate(SUPERSCRIPTS)


def _signed(digits: str) -> str:
    """Set thousands apart with thin spaces, and use the true minus sign."""
    return digits.replace(",", NARROW_SPACE).replace("-", MINUS)


def is_number(value: object) -> bool:
    """Say whether a value is set flush right, as numbers are."""
    return isinstance(value, Real) and not isinstance(value, bool)


def percent(part: int, whole: int) -> str:
    """Write a share in percent; a share of nothing is not known."""
    return f"{_real(100 * part / whole)}{PERCENT}" if whole else NOT_KNOWN
