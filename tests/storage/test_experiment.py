import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
import tifffile

from storage.errors import FormatError, InputError, MissingInputError
from storage.experiment import (
    begin_experiment,
    finish_experiment,
    read_angles,
    read_cells,
    read_labels,
    read_samples,
    read_stack,
    write_stack,
)

FILES = ["wt-1_p1.ome.tif", "wt-1_p2.ome.tif"]
DESIGN = {"seed": 1, "name": "µ", "proportions": (0.5, 0.5)}
SAMPLES = [
    {"file": file, "chip": "wt-1", "position": file[5:7], "condition": "wild type", "replicate": 1}
    for file in FILES
]
CELLS = [
    {
        "file": FILES[0],
        "t": 0,
        "label": 3,
        "population": "bent",
        "condition": "wild type, or so",
        "chip": "wt-1",
        "position": "p1",
        "centroid_y_px": 1.25,
        "centroid_x_px": 7.5,
        "orientation_deg": -12.125,
    }
]
ANGLES = [{"file": file, "angle_deg": -3.5} for file in FILES]


def arrays(t=3, c=1, z=1, y=20, x=30):
    rng = np.random.default_rng(0)
    tczyx = rng.integers(0, 60_000, (t, c, z, y, x)).astype(np.uint16)
    return tczyx, rng.integers(0, 70_000, (t, y, x)).astype(np.uint32)


def write_one(out, file, shape=None, channels=("nuclei",)):
    tczyx, labels_tyx = arrays(**(shape or {}))
    write_stack(
        out,
        file,
        tczyx=tczyx,
        labels_tyx=labels_tyx,
        pixel_size_um=0.325,
        time_interval_s=90.0,
        channels=channels,
    )


def write_all(out, design=DESIGN):
    assert begin_experiment(out, design, FILES) is False
    for file in FILES:
        write_one(out, file)
    finish_experiment(out, samples=SAMPLES, cells=CELLS, angles=ANGLES)


def contents(out):
    return {str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*") if path.is_file()}


def test_what_is_written_is_read(tmp_path):
    write_all(tmp_path)
    tczyx, labels_tyx = arrays()
    np.testing.assert_array_equal(read_stack(tmp_path, FILES[1]), tczyx)
    np.testing.assert_array_equal(read_labels(tmp_path, FILES[1]), labels_tyx)
    assert read_samples(tmp_path) == SAMPLES
    assert read_cells(tmp_path) == CELLS
    assert read_angles(tmp_path) == dict.fromkeys(FILES, -3.5)
    assert sorted(contents(tmp_path)) == sorted(
        ["samples.csv", "truth/cells.csv", "truth/angles.csv", "truth/design.json", *FILES]
        + [f"truth/labels/{file}" for file in FILES]
    )


@pytest.mark.parametrize("shape", [{"t": 1}, {"t": 2, "c": 2}, {"t": 1, "c": 2, "z": 3}])
def test_axes_of_length_one_and_many_come_back(tmp_path, shape):
    begin_experiment(tmp_path, DESIGN, FILES)
    write_one(tmp_path, FILES[0], shape, channels=[f"channel {c}" for c in range(shape.get("c", 1))])
    tczyx, labels_tyx = arrays(**shape)
    np.testing.assert_array_equal(read_stack(tmp_path, FILES[0]), tczyx)
    np.testing.assert_array_equal(read_labels(tmp_path, FILES[0]), labels_tyx)


def test_the_stack_is_an_ome_tiff_with_scale_interval_and_channel(tmp_path):
    write_all(tmp_path)
    with tifffile.TiffFile(tmp_path / FILES[0]) as tiff:
        assert tiff.is_ome
        assert tiff.pages[0].tags.get("DateTime") is None
        root = ElementTree.fromstring(tiff.ome_metadata)
    pixels = root.find(".//{*}Pixels").attrib
    sizes = {"SizeT": "3", "SizeC": "1", "SizeZ": "1", "SizeY": "20", "SizeX": "30", "Type": "uint16"}
    scale = {"PhysicalSizeX": "0.325", "PhysicalSizeXUnit": "µm", "PhysicalSizeY": "0.325"}
    time = {"TimeIncrement": "90.0", "TimeIncrementUnit": "s"}
    assert pixels.items() >= (sizes | scale | time).items()
    assert [channel.attrib["Name"] for channel in root.iterfind(".//{*}Channel")] == ["nuclei"]


def test_the_same_content_has_the_same_bytes(tmp_path):
    write_all(tmp_path / "first")
    write_all(tmp_path / "second")
    assert contents(tmp_path / "first") == contents(tmp_path / "second")


def test_a_complete_experiment_is_found_again_and_left_alone(tmp_path):
    write_all(tmp_path)
    before = contents(tmp_path)
    (tmp_path / "notes.txt").write_text("seen")
    assert begin_experiment(tmp_path, DESIGN, FILES) is True
    assert contents(tmp_path) == before | {"notes.txt": b"seen"}


def test_another_design_is_refused(tmp_path):
    write_all(tmp_path)
    before = contents(tmp_path)
    with pytest.raises(InputError, match="another design"):
        begin_experiment(tmp_path, DESIGN | {"seed": 2}, FILES)
    assert contents(tmp_path) == before


@pytest.mark.parametrize("stranger", ["notes.txt", "deep/notes.txt", "samples.csv"])
def test_a_folder_with_anything_else_is_refused(tmp_path, stranger):
    (tmp_path / stranger).parent.mkdir(exist_ok=True)
    (tmp_path / stranger).write_text("mine")
    with pytest.raises(InputError, match=rf"expected an empty folder, found .*{stranger}"):
        begin_experiment(tmp_path, DESIGN, FILES)
    assert contents(tmp_path) == {stranger: b"mine"}


def test_a_file_in_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / "out").write_text("mine")
    with pytest.raises(InputError, match="expected a folder, found the file"):
        begin_experiment(tmp_path / "out", DESIGN, FILES)


def test_a_half_written_experiment_is_finished(tmp_path):
    write_all(tmp_path / "whole")
    out = tmp_path / "half"
    begin_experiment(out, DESIGN, FILES)
    write_one(out, FILES[0])
    (out / f".{FILES[1]}.77.part").write_bytes(b"torn")
    (out / "truth" / "labels" / f".{FILES[1]}.77.part").write_bytes(b"torn")
    assert not (out / "truth" / "design.json").exists()
    with pytest.raises(InputError, match="another design"):
        begin_experiment(out, DESIGN | {"seed": 2}, FILES)
    write_all(out)
    assert contents(out) == contents(tmp_path / "whole")


def test_an_attempt_that_died_before_its_first_file_does_not_block_the_next(tmp_path):
    (tmp_path / "truth" / "labels").mkdir(parents=True)
    (tmp_path / "truth" / ".unfinished.json.77.part").write_bytes(b"{")
    write_all(tmp_path)
    assert not list(tmp_path.rglob("*.part"))


@pytest.mark.parametrize("lost", ["samples.csv", FILES[1], f"truth/labels/{FILES[0]}", "truth/cells.csv"])
def test_a_lost_file_makes_the_experiment_unfinished(tmp_path, lost):
    write_all(tmp_path)
    before = contents(tmp_path)
    (tmp_path / lost).unlink()
    write_all(tmp_path)
    assert contents(tmp_path) == before


@pytest.mark.parametrize("labels_shape", [(3, 20, 29), (2, 20, 30), (20, 30)])
def test_arrays_that_disagree_are_refused(tmp_path, labels_shape):
    begin_experiment(tmp_path, DESIGN, FILES)
    with pytest.raises(ValueError, match="pass the arrays of one stack"):
        write_stack(
            tmp_path,
            FILES[0],
            tczyx=arrays()[0],
            labels_tyx=np.zeros(labels_shape, np.uint32),
            pixel_size_um=0.5,
            time_interval_s=1.0,
            channels=["nuclei"],
        )
    with pytest.raises(ValueError, match="2 names"):
        write_one(tmp_path, FILES[0], channels=["nuclei", "actin"])


def test_missing_files_and_wrong_columns_are_named(tmp_path):
    with pytest.raises(MissingInputError, match=r"cells\.csv"):
        read_cells(tmp_path)
    with pytest.raises(MissingInputError, match=r"wt-1_p1\.ome\.tif"):
        read_stack(tmp_path, FILES[0])
    (tmp_path / "samples.csv").write_text("file,chip\n")
    with pytest.raises(FormatError, match=r"found \['file', 'chip'\]"):
        read_samples(tmp_path)
