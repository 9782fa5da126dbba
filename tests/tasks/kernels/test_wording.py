import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.kernels import wording


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, "not known"),
        (float("nan"), "not known"),
        ("", "not known"),
        ("BRAF", "BRAF"),
        (True, "yes"),
        (False, "no"),
        (0, "0"),
        (999, "999"),
        (1234567, "1 234 567"),
        (-1234, "-1 234"),
        (np.int64(20000), "20 000"),
        (np.float32(0.5), "0.500"),
        (0.0, "0"),
        (-0.0, "0"),
        (0.41234, "0.412"),
        (9.999, "10.0"),
        (12.345, "12.3"),
        (123.456, "123"),
        (123456.7, "123 457"),
        (0.000123, "0.000123"),
        (1.234e-7, "1.23 x 10⁻⁷"),
        (-5e12, "-5.00 x 10¹²"),
        (float("inf"), "infinite"),
        (5e-324, "4.94 x 10⁻³²⁴"),
    ],
)
def test_values_are_written_for_people(value, words):
    typed = str.maketrans({wording.NARROW_SPACE: " ", wording.MINUS: "-", "\N{MULTIPLICATION SIGN}": "x"})
    assert wording.for_people(value).translate(typed) == words


@given(st.floats(1e-4, 1e8))
def test_three_digits_are_kept(value):
    words = wording.for_people(value).replace(wording.NARROW_SPACE, "")
    assert float(words) == pytest.approx(value, rel=0.0051)


@given(st.integers())
def test_whole_numbers_are_exact(value):
    words = wording.for_people(value).replace(wording.NARROW_SPACE, "").replace(wording.MINUS, "-")
    assert int(words) == value


def test_percents():
    assert wording.percent(1, 3) == "33.3\N{NARROW NO-BREAK SPACE}%"
    assert wording.percent(0, 3) == "0\N{NARROW NO-BREAK SPACE}%"
    assert wording.percent(0, 0) == "not known"


def test_what_counts_as_a_number():
    assert wording.is_number(1)
    assert wording.is_number(np.float32(1))
    assert not wording.is_number(True)
    assert not wording.is_number("1")
    assert not wording.is_number(None)
