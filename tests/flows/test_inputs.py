import logging
import shutil

import numpy as np
import pytest

from flows.inputs import find_inputs
from storage.errors import FormatError, InputError, MissingInputError
from storage.samples import UNLABELLED
from tasks.settings import IngestSettings
from tests.support import TINY, write_tiff

SETTINGS = IngestSettings()
HEADER = "file,chip,position,condition,replicate\n"


@pytest.fixture
def folder(tmp_path):
    for number in (1, 2, 3):
        pixels = np.full((2, 40, 50), number, np.uint16)
        write_tiff(tmp_path / "in" / f"chip{number}.tif", pixels, photometric="minisblack")
    return tmp_path / "in"


def rows(folder, text):
    (folder / "samples.csv").write_text(HEADER + text)
    return find_inputs([str(folder)], SETTINGS)


def test_samples_and_truth_of_a_simulated_folder_are_found(experiment):
    found = find_inputs([str(experiment)], SETTINGS)
    assert [one.acquisition.name for one in found] == sorted(place.file for place in TINY.places())
    places = {place.file: place for place in TINY.places()}
    for one in found:
        place = places[one.acquisition.name]
        assert (one.sample.chip, one.sample.condition) == (place.chip, place.condition)
        assert one.truth
        assert {row["file"] for row in one.truth} == {one.acquisition.name}


def test_a_file_alone_brings_its_folders_samples_and_truth(experiment):
    (one,) = find_inputs([str(experiment / "braf-2_p1.ome.tif")], SETTINGS)
    assert (one.sample.condition, one.sample.replicate) == ("BRAF", "2")
    assert one.truth


def test_rows_by_name_and_by_pattern(folder):
    found = rows(folder, "chip1.tif,c1,p,wild type,1\nchip[23].tif,c2,p,BRAF,1\n")
    assert [one.sample.condition for one in found] == ["wild type", "BRAF", "BRAF"]
    assert [one.sample.file for one in found] == ["chip1.tif", "chip2.tif", "chip3.tif"]


def test_a_file_without_a_row_is_unlabelled_and_said(folder, caplog):
    with caplog.at_level(logging.WARNING, "chipcyte"):
        found = rows(folder, "chip2.tif,c1,p,wild type,1\n")
    assert [one.sample.condition for one in found] == [UNLABELLED, "wild type", UNLABELLED]
    assert (
        '2 of 3 acquisitions have no condition in samples.csv (chip1.tif, chip3.tif); they are called "unl'
        in (caplog.text)
    )


def test_without_a_table_all_are_unlabelled_and_silence_is_possible(folder, caplog):
    with caplog.at_level(logging.WARNING, "chipcyte"):
        found = find_inputs([str(folder)], SETTINGS, quietly=True)
    assert {one.sample.condition for one in found} == {UNLABELLED}
    assert caplog.text == ""


def test_two_rows_for_one_file_are_an_error_that_names_them(folder):
    with pytest.raises(InputError) as caught:
        rows(folder, "chip1.tif,c1,p,wild type,1\nchip*.tif,c2,p,BRAF,1\n")
    assert "for chip1.tif, found 'chip1.tif' and 'chip*.tif'" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "named"), [("chip1.tif,c,p,x,1,more\n", "line 2"), (",c,p,x,1\n", "line 2"), ("", "found none")]
)
def test_a_wrong_table_names_its_line(text, named, folder):
    with pytest.raises(FormatError, match=rf"samples\.csv.*{named}"):
        rows(folder, text)


def test_an_unknown_column_is_named(folder):
    (folder / "samples.csv").write_text("file,chipp\nchip1.tif,3\n")
    with pytest.raises(FormatError, match="unknown column 'chipp'"):
        find_inputs([str(folder)], SETTINGS)


def test_a_named_table_wins_over_the_one_beside(folder, tmp_path):
    (folder / "samples.csv").write_text(HEADER + "chip*.tif,c,p,beside,1\n")
    (tmp_path / "other.csv").write_text(HEADER + "chip*.tif,c,p,named,1\n")
    found = find_inputs([str(folder)], SETTINGS, tmp_path / "other.csv")
    assert {one.sample.condition for one in found} == {"named"}
    with pytest.raises(MissingInputError, match=r"nothing\.csv"):
        find_inputs([str(folder)], SETTINGS, tmp_path / "nothing.csv")


def test_two_files_of_one_name_are_refused(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "again")
    with pytest.raises(InputError, match=r"different names, found .*/in/chip1\.tif and .*/again/chip1\.tif"):
        find_inputs([str(folder), str(tmp_path / "again")], SETTINGS)


def test_a_file_given_twice_is_taken_once(folder):
    assert len(find_inputs([str(folder), str(folder / "chip1.tif")], SETTINGS)) == 3


def test_a_path_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(MissingInputError, match=r"nothing at .*gone\.tif"):
        find_inputs([str(tmp_path / "gone.tif")], SETTINGS)
