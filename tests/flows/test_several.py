import time

import pytest

from flows.several import each
from storage.errors import FormatError
from storage.progress import Done, Ledger
from tasks.chunked import run_units
from tests.support import SERIAL
from tests.tasks.test_chunked import Number

UNITS = [Number(value) for value in range(300)]


def slowly(unit: Number) -> Done:
    time.sleep(0.002)
    return Done(unit.value, {})


def test_all_are_tried_before_the_first_failure_is_raised(caplog):
    tried = []

    def work(number: int) -> int:
        tried.append(number)
        if number in (1, 3):
            raise FormatError(f"{number} is odd")
        return number

    with pytest.raises(FormatError, match="1 is odd"):
        each(range(5), work, SERIAL)
    assert sorted(tried) == [0, 1, 2, 3, 4]
    assert [one.message for one in caplog.records] == ["also failed: 3 is odd"]


def test_workers_take_the_units_of_the_first_before_those_of_the_second(two_workers, store):
    done = [0, 0]
    seen_at_the_end_of_the_first: list[int] = []

    def work(number: int) -> list[int]:
        def listen(count: int, total: int) -> None:
            done[number] = count
            if number == 0 and count == total:
                seen_at_the_end_of_the_first.append(done[1])

        ledger = Ledger(store, "clean", f"ab{number}", "step")
        return run_units(slowly, UNITS, ledger=ledger, resources=two_workers, listener=listen).results

    assert each([0, 1], work, two_workers) == [list(range(300))] * 2
    # Side by side they would end together; the second has what it asked for before the first came.
    assert seen_at_the_end_of_the_first[0] < 150
