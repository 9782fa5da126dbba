import pytest

from storage.errors import FormatError, InputError, MissingInputError
from storage.samples import UNLABELLED, Sample, Samples, read_samples, samples_beside

HEADER = "file,chip,position,condition,replicate\n"


def table(tmp_path, text: str | bytes):
    path = tmp_path / "samples.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_rows_are_read_with_their_columns(tmp_path):
    rows = read_samples(table(tmp_path, HEADER + "a.tif,chip 1,p3,BRAF,2\n b.tif ,chip 2,,wild type,\n"))
    assert rows[0] == Sample(file="a.tif", chip="chip 1", position="p3", condition="BRAF", replicate="2")
    assert rows[1] == Sample(file="b.tif", chip="chip 2", condition="wild type")


def test_columns_may_come_in_any_order_and_be_left_out(tmp_path):
    (row,) = read_samples(table(tmp_path, "condition,file\nBRAF,a.tif\n"))
    assert (row.file, row.condition, row.chip) == ("a.tif", "BRAF", "")


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_what_spreadsheets_write_is_read(tmp_path, newline, mark):
    text = f'{mark}file,condition{newline}"a, b.tif",BRAF µ{newline}'
    (row,) = read_samples(table(tmp_path, text))
    assert (row.file, row.condition) == ("a, b.tif", "BRAF µ")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (HEADER + "a.tif,1,2,3,4\nb.tif,1,2,3,4,5\n", "line 3: expected the columns"),
        ("chip,condition\n1,BRAF\n", "line 2: expected the columns file,"),
        (HEADER + ",1,2,3,4\n", "line 2: expected the columns"),
        ("file,colour\na.tif,red\n", "line 2: unknown column 'colour'; expected file,"),
        (HEADER, "expected a row for each file"),
        ("", "expected a row for each file"),
        (b"file,condition\na.tif,BRAF \xff\xfe\n", "expected a CSV table in UTF-8"),
        ('file,condition\n"' + "a" * 200_000 + '",x\n', "expected a CSV table"),
    ],
)
def test_a_table_that_is_wrong_names_the_file_and_the_line(tmp_path, text, words):
    path = table(tmp_path, text)
    with pytest.raises(FormatError, match=words) as caught:
        read_samples(path)
    assert str(path) in str(caught.value)


def test_a_table_that_is_not_there(tmp_path):
    with pytest.raises(MissingInputError, match="samples table"):
        read_samples(tmp_path / "samples.csv")


def test_an_exact_name_or_a_pattern_finds_the_row():
    rows = Samples([Sample(file="a.tif", condition="BRAF"), Sample(file="b_*.tif", condition="wild type")])
    assert rows.of("a.tif").condition == "BRAF"
    assert rows.of("b_17.tif") == Sample(file="b_17.tif", condition="wild type")
    assert rows.of("B_17.tif").condition == UNLABELLED
    assert rows.of("c.tif") == Sample(file="c.tif")


def test_a_name_with_the_signs_of_a_pattern_finds_itself():
    assert Samples([Sample(file="a[1].tif", condition="BRAF")]).of("a[1].tif").condition == "BRAF"


def test_a_pattern_covers_the_positions_of_one_file():
    rows = Samples(
        [Sample(file="chip.nd2#*", condition="BRAF"), Sample(file="plate#B02_*", condition="wild type")]
    )
    assert [rows.of(name).condition for name in ("chip.nd2#0", "plate#B02_s1")] == [
        "BRAF",
        "wild type",
    ]


def test_two_rows_for_one_file_are_an_input_error():
    with pytest.raises(InputError, match=r"'a\*' and '\*\.tif'; make them exclude each other"):
        Samples([Sample(file="a*"), Sample(file="*.tif"), Sample(file="b.tif")]).of("a.tif")


def test_the_table_beside_the_inputs_is_found(tmp_path):
    assert samples_beside([tmp_path, tmp_path / "a.tif"]) is None
    path = table(tmp_path, HEADER)
    assert samples_beside([tmp_path]) == samples_beside([tmp_path / "a.tif"]) == path
    other = tmp_path / "other"
    other.mkdir()
    table(other, HEADER)
    with pytest.raises(InputError, match="name one with --samples"):
        samples_beside([tmp_path, other])


def test_a_row_for_each_of_many_files_is_looked_up_not_searched_for():
    rows = Samples(Sample(file=f"chip_{number}.tif", chip=str(number)) for number in range(1000))
    assert rows._patterns == []
    assert rows.of("chip_517.tif").chip == "517"
    same = Samples([Sample(file="a.tif"), Sample(file="a.tif", chip="1")])
    with pytest.raises(InputError, match=r"'a\.tif' and 'a\.tif'"):
        same.of("a.tif")
