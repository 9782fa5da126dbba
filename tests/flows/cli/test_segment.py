import json

import numpy as np
import pytest
import tifffile
from typer.testing import CliRunner

from flows.cli.app import app
from tests.support import write_tiff


def chipcyte(*words):
    return CliRunner().invoke(app, ["segment", *map(str, words)])


@pytest.fixture
def discs(tmp_path):
    y, x = np.mgrid[:90, :120]
    frames = np.full((3, 90, 120), 200, np.uint16)
    for t, centres in enumerate([[(30, 30)], [], [(30, 30), (60, 90)]]):
        for cy, cx in centres:
            frames[t][(y - cy) ** 2 + (x - cx) ** 2 < 12**2] = 4000
    return write_tiff(tmp_path / "discs.tif", frames, photometric="minisblack")


def test_a_file_is_labelled_plane_by_plane_without_a_store(discs, tmp_path):
    before, out = discs.read_bytes(), tmp_path / "labels.tif"
    result = chipcyte("--image", discs, "--out", out, "--model", "threshold", "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["counts"] == {"cells": 3, "frames": 3, "planes": 3}
    assert found["metrics"]["cells_by_plane"] == [1, 0, 2]
    labels = tifffile.imread(out)
    assert (labels.dtype, labels.shape) == (np.uint32, (3, 90, 120))
    assert [int(one.max()) for one in labels] == [1, 0, 2]
    assert discs.read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["discs.tif", "labels.tif"]


def test_a_single_plane_stays_one(tmp_path):
    path = write_tiff(tmp_path / "flat.tif", np.zeros((40, 50), np.uint8))
    assert chipcyte("--image", path, "--out", tmp_path / "l.tif", "--model", "threshold").exit_code == 0
    assert tifffile.imread(tmp_path / "l.tif").shape == (40, 50)


def test_what_lies_there_is_never_replaced(discs, tmp_path):
    before = discs.read_bytes()
    result = chipcyte("--image", discs, "--out", discs, "--model", "threshold")
    assert result.exit_code == 2
    assert "expected a new file for the labels" in result.stderr.replace("\n", " ")
    assert discs.read_bytes() == before


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--image", "a.tif"], "expected --image and --out together"),
        (["--out", "a.tif"], "expected --image and --out together"),
        (["--model", "threshold"], "with --image only"),
        (["--image", "none.tif", "--out", "new.tif"], "found nothing at"),
        (["--image", "none.tif", "--out", "new.png"], "a name that ends in .tif"),
        (["--image", "none.tif", "--out", "folder/new.tif"], "make it first"),
    ],
)
def test_wrong_use_is_one_sentence(words, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = chipcyte(*words)
    assert result.exit_code == 2
    assert said in result.stderr
    assert not list(tmp_path.iterdir())


def test_a_model_that_is_not_there_is_said_with_where_to_put_it(discs, tmp_path, monkeypatch):
    monkeypatch.setenv("CELLPOSE_LOCAL_MODELS_PATH", str(tmp_path))
    result = chipcyte("--image", discs, "--out", tmp_path / "l.tif", "--model", "cpsam")
    assert result.exit_code == 2
    assert "CELLPOSE_LOCAL_MODELS_PATH" in result.stderr
    assert not (tmp_path / "l.tif").exists()
