"""The command export as people and scripts call it."""

import json
from pathlib import Path
from typing import Any

import anndata
import ngio
import numpy as np
import pandas as pd
import pytest
import yaozarrs
from ome_zarr.io import parse_url
from ome_zarr.reader import Reader
from typer.testing import CliRunner, Result

from flows.cli.app import app
from storage import images, layout, records
from storage.objects import Objects, open_store
from storage.records import Record, Reference
from storage.regions import Region
from tests.support import Carried, cells_of, clean_of, labels_of

Experiment = tuple[Objects, list[Carried]]


def call(objects: Objects, *words: object) -> Result:
    return CliRunner().invoke(app, ["export", *map(str, words), "--store", objects.url])


def parsed(result: Result) -> dict[str, Any]:
    """The one JSON object on standard output."""
    assert result.exit_code == 0, result.stderr
    found: dict[str, Any] = json.loads(result.stdout)
    assert {"key", "uri", "counts", "metrics", "reused"} <= set(found)
    return found


def test_all_clean_images_become_a_plate_of_chips_and_conditions(carried: Experiment, tmp_path: Path) -> None:
    objects, acquisitions = carried
    out = tmp_path / "plate.ome.zarr"
    found = parsed(call(objects, "--as", "plate", out, "--json"))
    assert set(found["key"]) == {one.clean.key for one in acquisitions}
    assert found["uri"] == str(out)
    assert {name: found["counts"][name] for name in ("images", "labels", "rows", "columns", "wells")} == {
        "images": 4,
        "labels": 4,
        "rows": 4,
        "columns": 2,
        "wells": 4,
    }
    assert found["plate"]["columns"] == {"BRAF": "BRAF", "wildtype": "wild type"}
    yaozarrs.validate_zarr_store(str(out))
    plate = ngio.open_ome_zarr_plate(str(out), mode="r")
    assert plate.rows == ["braf1", "braf2", "wt1", "wt2"]
    for one in acquisitions:
        row = one.found.sample.chip.replace("-", "")
        column = {"BRAF": "BRAF", "wild type": "wildtype"}[one.found.sample.condition]
        image = plate.get_image(row, column, "0")
        tcyx = image.get_image(path="0").get_as_numpy()
        assert np.array_equal(tcyx[:, 0, 0], clean_of(objects, one.clean))
        (label,) = image.list_labels()
        tzyx = image.get_label(label, path="0").get_as_numpy()
        assert np.array_equal(tzyx, labels_of(objects, one.clean, one.labels))


def test_people_read_which_name_stands_for_which_chip(carried: Experiment, tmp_path: Path) -> None:
    result = call(carried[0], "--as", "plate", tmp_path / "plate.ome.zarr")
    assert result.exit_code == 0
    text = " ".join(result.stdout.split())
    for said in ("wild type", "(wildtype)", "braf-2 (braf2)", "4 images, 4 labels, 4 rows", "plate.ome.zarr"):
        assert said in text


def test_chosen_images_raw_or_clean_become_a_plate(carried: Experiment, tmp_path: Path) -> None:
    objects, acquisitions = carried
    first, second = acquisitions[:2]
    words = (first.raw.key, first.clean.key, second.clean.key[:10], "--as", "plate", tmp_path / "p")
    result = call(objects, *words, "--json")
    assert "several images of 1 recordings" in result.stderr
    assert "3 different shapes" in result.stderr
    found = parsed(result)
    assert found["counts"]["images"] == 3
    assert sorted(found["plate"]["wells"].values()) == sorted(
        [[first.clean.key, first.raw.key], [second.clean.key]]
    )
    yaozarrs.validate_zarr_store(str(tmp_path / "p"))


def test_ome_zarr_py_stitches_a_plate_of_raw_images(carried: Experiment, tmp_path: Path) -> None:
    objects, acquisitions = carried
    out = tmp_path / "raw.ome.zarr"
    result = call(objects, *(one.raw.key for one in acquisitions), out, "--as", "plate")
    assert result.exit_code == 0
    assert "warning" not in result.stderr
    (node, *_) = Reader(parse_url(str(out)))()
    stitched = np.asarray(node.data[0])
    rows = {chip: row for row, chip in enumerate(["braf-1", "braf-2", "wt-1", "wt-2"])}
    for one in acquisitions:
        image = images.open_image(objects, layout.image_path("raw", one.raw.key))
        height, width = image.shape[-2:]
        y = rows[one.found.sample.chip] * height
        x = ["BRAF", "wild type"].index(one.found.sample.condition) * width
        whole = Region((0,) * 5, image.shape)
        assert np.array_equal(stitched[..., y : y + height, x : x + width], image.read(whole))


@pytest.mark.parametrize("kind", ["raw", "clean"])
def test_an_image_becomes_ome_zarr_unless_told_otherwise(
    carried: Experiment, tmp_path: Path, kind: str
) -> None:
    objects, acquisitions = carried
    handle = getattr(acquisitions[0], kind)
    found = parsed(call(objects, handle.key, tmp_path / "image.ome.zarr", "--json"))
    assert found["key"] == handle.key
    assert found["counts"]["labels"] == (1 if kind == "clean" else 0)
    yaozarrs.validate_zarr_store(found["uri"])


def test_the_ending_of_the_name_says_which_table(carried: Experiment, tmp_path: Path) -> None:
    objects, acquisitions = carried
    labels = acquisitions[0].labels
    stored = cells_of(objects, labels)
    found = parsed(call(objects, labels.key, tmp_path / "cells.csv", "--json"))
    assert found["counts"]["cells"] == len(stored) > 0
    assert list(pd.read_csv(found["uri"])["label"]) == list(stored["label"])
    found = parsed(call(objects, acquisitions[0].patches.key, tmp_path / "cells.h5ad", "--json"))
    table = anndata.read_h5ad(found["uri"])
    assert set(table.obs["condition"]) == {acquisitions[0].found.sample.condition}
    assert (found["form"], found["reused"]) == ("h5ad", False)
    assert {"area_px", "solidity"} <= set(table.var_names)
    stored = cells_of(objects, acquisitions[0].patches)
    np.testing.assert_allclose(table[:, "area_px"].X.ravel(), stored["area_px"])
    assert table.obs["patches_row"].tolist() == list(range(table.n_obs))
    assert set(table.obs["patches"]) == {acquisitions[0].patches.uri}


def test_wrong_usage_is_exit_2_and_says_what_to_do(carried: Experiment, tmp_path: Path) -> None:
    objects, acquisitions = carried
    one, two = acquisitions[0], acquisitions[1]
    taken = tmp_path / "taken.csv"
    taken.write_text("mine")
    free = tmp_path / "free"
    wrong: list[tuple[tuple[object, ...], str]] = [
        ((), "Missing argument"),
        ((one.clean.key,), "--as plate for many images"),
        ((one.labels.key, free), "--as csv or --as h5ad"),
        ((one.clean.key, two.clean.key, free, "--as", "ome-zarr"), "expected one KEY"),
        ((free, "--as", "csv"), "expected one KEY for --as csv, found 0"),
        ((one.labels.key, free, "--as", "plate"), "expected the key of raw or clean"),
        ((one.labels.key, free, "--as", "ome-zarr"), "expected the key of raw or clean"),
        ((one.clean.key, free, "--as", "csv"), "found clean"),
        ((one.labels.key, taken), "exists already"),
        ((one.labels.key, "s3://bucket/cells.csv"), "of this machine"),
        (("feed", free, "--as", "csv"), "no artifact's key begins with"),
        ((one.labels.key, free, "--as", "xls"), "xls"),
    ]
    for words, said in wrong:
        result = call(objects, *words)
        assert result.exit_code == 2, words
        assert said in " ".join(result.stderr.split()), words
    assert taken.read_text() == "mine"
    assert list(tmp_path.iterdir()) == [taken]


def test_a_recording_without_a_statement_is_exit_2(tmp_path: Path) -> None:
    objects = open_store(str(tmp_path / "store"), create=True)
    assert "preprocess some" in call(objects, "--as", "plate", tmp_path / "p").stderr
    raw = Reference(kind="raw", key="aa")
    records.commit(objects, Record(kind="clean", key="bb", name="a.tif", path="x", parents=(raw,)), {})
    result = call(objects, "--as", "plate", tmp_path / "p")
    assert result.exit_code == 2
    assert "(a.tif); write a samples.csv" in result.stderr
    assert not (tmp_path / "p").exists()
