import pytest
from distributed import Client

from flows.several import each
from storage.errors import FormatError
from storage.progress import Done, Ledger
from tasks.chunked import run_units
from tests.support import SERIAL
from tests.tasks.test_chunked import Number


def square(unit: Number) -> Done:
    return Done(unit.value**2, {})


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


def test_workers_are_to_take_the_units_of_the_first_before_those_of_the_next(two_workers, store, monkeypatch):
    submit, asked = Client.submit, []

    def heard(client, function, units, **how):
        asked.append((units[0].value, how["priority"]))
        return submit(client, function, units, **how)

    monkeypatch.setattr(Client, "submit", heard)

    def work(number: int) -> list[int]:
        ledger = Ledger(store, "clean", f"ab{number}", "step")
        return run_units(square, [Number(number)], ledger=ledger, resources=two_workers).results

    assert each([3, 4, 5], work, two_workers) == [[9], [16], [25]]
    assert sorted(asked) == [(3, 0), (4, -1), (5, -2)]  # Dask takes the highest first
