import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.errors import InputError
from storage.plates import Field, plain_names, plan_plate, repeated_recordings
from storage.records import Record, Reference
from storage.samples import Sample

ALLOWED = set(string.ascii_letters + string.digits)


def field(key: str, *, raw: str = "", **said: str) -> Field:
    raw_key = raw or f"raw-{key}"
    image = Record(
        kind="clean", key=key, name=key, path=key, parents=(Reference(kind="raw", key=raw_key),), created=key
    )
    return Field(image, Sample(file=f"{raw_key}.tif", **said))


@given(st.sets(st.text(max_size=8), min_size=1, max_size=12))
def test_names_obey_the_specification_and_lose_no_text(texts: set[str]) -> None:
    names = plain_names(texts, "row")
    assert set(names.values()) == texts
    assert len(names) == len(texts)
    assert all(name and set(name) <= ALLOWED for name in names)
    assert len({name.casefold().lstrip("0") for name in names}) == len(texts)


def test_names_keep_what_can_be_read() -> None:
    texts = {"wild type", "BRAF V600E", "braf-v600e", "Zürich", "日本", "10", "010", "chip 10", "chip 2"}
    assert plain_names(texts, "column") == {
        "010": "010",
        "10n2": "10",
        "BRAFV600E": "BRAF V600E",
        "brafv600en2": "braf-v600e",
        "chip2": "chip 2",
        "chip10": "chip 10",
        "wildtype": "wild type",
        "Zurich": "Zürich",
        "column": "日本",
    }


def test_chips_conditions_and_positions_are_in_natural_order() -> None:
    plate = plan_plate(
        [
            field("a", chip="chip 10", condition="BRAF", position="p2"),
            field("b", chip="chip 2", condition="wild type", position="p10"),
            field("c", chip="chip 2", condition="wild type", position="p9"),
            field("d", chip="chip 2", condition="BRAF"),
        ]
    )
    assert list(plate.rows) == ["chip2", "chip10"]
    assert plate.columns == {"BRAF": "BRAF", "wildtype": "wild type"}
    keys = {well: [one.image.key for one in fields] for well, fields in plate.wells.items()}
    assert keys == {"chip2/BRAF": ["d"], "chip2/wildtype": ["c", "b"], "chip10/BRAF": ["a"]}
    described = plate.attributes("mine")["ome"]
    assert described["version"] == described["plate"]["version"] == "0.5"
    assert described["plate"]["field_count"] == 2
    assert described["plate"]["wells"][2] == {"path": "chip10/BRAF", "rowIndex": 1, "columnIndex": 0}


def test_chip_condition_and_position_survive_as_they_were_written() -> None:
    plate = plan_plate([field("a", chip="µ-chip (1)", condition="wild type", position="top/left")])
    (well,) = plate.wells
    ours = plate.well_attributes(well)["chipcyte"]
    assert (ours["chip"], ours["condition"]) == ("µ-chip (1)", "wild type")
    assert ours["fields"]["0"] == {
        "file": "raw-a.tif",
        "position": "top/left",
        "replicate": "",
        "kind": "clean",
        "key": "a",
    }
    assert plate.attributes("mine")["chipcyte"]["rows"] == {"chip1": "µ-chip (1)"}


def test_the_order_given_does_not_matter() -> None:
    fields = [field(key, chip=chip, position=key) for key in "abc" for chip in ("x", "X", "x ")]
    assert plan_plate(fields).attributes("p") == plan_plate(reversed(fields)).attributes("p")


def test_a_recording_without_a_chip_is_named_with_what_to_do() -> None:
    with pytest.raises(InputError, match=r"2 recordings .*raw-b.tif, raw-c.tif.*--samples samples.csv"):
        plan_plate([field("a", chip="1"), field("b"), field("c", condition="BRAF")])
    with pytest.raises(InputError, match="found none"):
        plan_plate([])


def test_several_images_of_one_recording_are_noticed() -> None:
    fields = [field("a", raw="one"), field("b", raw="one"), field("c", raw="two")]
    assert repeated_recordings(fields) == ["one.tif"]
