"""The command line on recordings that this project did not make."""

import csv
from pathlib import Path

import numpy as np
import pytest

from tests.support import DATA, needs, write_tiff

pytestmark = [pytest.mark.long, pytest.mark.services, pytest.mark.timeout(900)]
INSTRUMENTS = DATA / "instruments"
QUICK = ("--set", "train.epochs=2", "--set", "cluster.n_clusters=2", "--json")


def whole_way(command_line, store, *words):
    result = command_line("run", *words, "--store", store, *QUICK)
    assert result.code == 0, result.err
    found = result.found
    assert list(found["stages"])[-1] == "report"
    assert "<html" in Path(found["stages"]["report"]["uri"]).read_text()[:200]
    return found


@needs("instruments", "stardist_2d_3d")
def test_a_tiff_of_a_microscope(command_line, tmp_path):
    found = whole_way(command_line, tmp_path / "store", INSTRUMENTS / "stardist_2d_3d" / "img2d.tif")
    assert found["counts"]["frames"] == 1
    assert found["counts"]["cells"] == pytest.approx(125, rel=0.3)  # as many as the authors' mask holds


@needs("instruments", "pims_stack")
def test_a_multi_page_imagej_tiff_of_very_low_contrast(command_line, tmp_path):
    result = command_line(
        "ingest", INSTRUMENTS / "pims_stack" / "tiff_stack.tif", "--store", tmp_path / "store", "--json"
    )
    assert result.code == 0, result.err
    assert result.found["stages"]["ingest"]["counts"]["planes"] == 5
    segmented = command_line("segment", "--store", tmp_path / "store", "--json")
    assert segmented.code == 0, segmented.err
    assert segmented.found["counts"]["frames"] == 1  # ImageJ says slices: one frame of five z planes


@needs("instruments", "nuclei_timelapse")
def test_a_time_series(command_line, tmp_path):
    found = whole_way(
        command_line, tmp_path / "store", INSTRUMENTS / "nuclei_timelapse" / "example_images.tif"
    )
    assert found["counts"]["frames"] == 6
    assert 6 * 39 * 0.6 < found["counts"]["cells"] < 6 * 50 * 1.4  # 39 to 50 nuclei in a frame


@needs("dsb2018")
def test_pictures_of_the_data_science_bowl_with_conditions(command_line, tmp_path):
    with np.load(DATA / "dsb2018" / "train.npz", allow_pickle=False) as file:
        names = [name for name in file.files if name.startswith("img_") and file[name].shape == (360, 360)][
            :4
        ]
        nuclei = sum(len(np.unique(file["lab" + name[3:]])) - 1 for name in names)
        for name in names:
            write_tiff(tmp_path / "in" / f"{name[4:12]}.tif", file[name])
    with (tmp_path / "samples.csv").open("w", newline="") as stream:
        rows = [[f"{name[4:12]}.tif", f"chip{n}", "p", "ab"[n % 2], 1] for n, name in enumerate(names)]
        csv.writer(stream).writerows([["file", "chip", "position", "condition", "replicate"], *rows])
    found = whole_way(
        command_line,
        tmp_path / "store",
        tmp_path / "in",
        "--samples",
        tmp_path / "samples.csv",
        "--set",
        "ingest.folder_is=files",
    )
    assert found["counts"]["acquisitions"] == 4
    assert found["counts"]["cells"] == pytest.approx(nuclei, rel=0.4)
    assert {row["condition"] for row in found["composition"]} == {"a", "b"}
