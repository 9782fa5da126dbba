"""The commands view and export --as ome-tiff, png, ro-crate."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tifffile
from typer.testing import CliRunner, Result

from flows.cli import view
from flows.cli.app import app
from storage import records
from storage.images import open_image
from storage.layout import image_path
from storage.objects import Objects
from storage.records import Record
from storage.sources.discovery import find_acquisitions, opened
from tests.support import Carried, clean_of, labels_of

Experiment = tuple[Objects, list[Carried]]


def call(objects: Objects, *words: object) -> Result:
    return CliRunner().invoke(app, [*map(str, words), "--store", objects.url])


def parsed(result: Result) -> dict[str, Any]:
    assert result.exit_code == 0, result.stderr
    found: dict[str, Any] = json.loads(result.stdout)
    assert {"key", "uri", "counts", "metrics", "reused"} <= set(found)
    return found


def test_an_image_and_its_labels_become_ome_tiffs_of_their_own(carried: Experiment, tmp_path: Path) -> None:
    objects, (one, *_) = carried
    image, labels = tmp_path / "clean.ome.tif", tmp_path / "labels.ome.tif"
    assert parsed(call(objects, "export", one.clean.key, image, "--json"))["counts"]["planes"] == 2
    parsed(call(objects, "export", one.labels.key, labels, "--json"))
    np.testing.assert_array_equal(tifffile.imread(image).squeeze(), clean_of(objects, one.clean))
    numbers = tifffile.imread(labels)
    np.testing.assert_array_equal(numbers.squeeze(), labels_of(objects, one.clean, one.labels).squeeze())
    assert numbers.dtype == np.uint32
    with tifffile.TiffFile(image) as file:
        assert file.is_ome
        assert file.series[0].axes.endswith("YX")


def test_what_is_exported_as_ome_tiff_can_be_ingested_with_all_it_said(
    carried: Experiment, tmp_path: Path
) -> None:
    objects, (one, *_) = carried
    parsed(call(objects, "export", one.raw.key, tmp_path / "raw.ome.tif", "--json"))
    known = open_image(objects, image_path("raw", one.raw.key))
    (acquisition,) = find_acquisitions([tmp_path / "raw.ome.tif"])
    with opened(acquisition) as source:
        assert tuple(source.shape) == known.shape
        assert source.metadata.pixel_size_um[1:] == pytest.approx(known.metadata.pixel_size_um[1:])
        assert source.metadata.channel_names == known.metadata.channel_names
        np.testing.assert_array_equal(source.read_plane(1, 0, 0), known.read(known.plane(1, 0, 0))[0, 0, 0])


def test_overlays_need_labels_and_others_are_refused(carried: Experiment, tmp_path: Path) -> None:
    objects, (one, *_) = carried
    assert (
        parsed(call(objects, "export", one.labels.key, tmp_path / "o", "--as", "png", "--json"))["counts"][
            "pictures"
        ]
        == 2
    )
    for form in ("png", "ome-tiff"):
        refused = call(objects, "export", one.patches.key, tmp_path / "x", "--as", form)
        assert refused.exit_code == 2
        assert "expected the key of raw or clean or labels" in refused.stderr
    assert not (tmp_path / "x").exists()


def test_a_crate_tells_how_a_result_was_made(carried: Experiment, tmp_path: Path) -> None:
    """Every name in the document is either a file of the crate or described in it."""
    objects, (one, *_) = carried
    out = tmp_path / "crate"
    found = parsed(call(objects, "export", one.patches.key, out, "--as", "ro-crate", "--json"))
    document = json.loads((out / "ro-crate-metadata.json").read_text())
    assert document["@context"] == "https://w3id.org/ro/crate/1.1/context"
    entities = {entity["@id"]: entity for entity in document["@graph"]}
    assert len(entities) == len(document["@graph"])
    assert entities["ro-crate-metadata.json"]["about"] == {"@id": "./"}
    files = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
    assert {part["@id"] for part in entities["./"]["hasPart"]} == files - {"ro-crate-metadata.json"}
    assert set(mentioned(document["@graph"])) - {"https://w3id.org/ro/crate/1.1"} <= set(entities) | {
        "http://schema.org/CompletedActionStatus"
    }
    actions = {one["name"].split()[0]: one for one in document["@graph"] if one["@type"] == "CreateAction"}
    assert found["counts"]["actions"] == len(actions) == 6  # raw, sample, truth, clean, labels, patches
    labels = Record.model_validate_json((out / f"records/labels/{one.labels.key}.json").read_bytes())
    assert labels == records.read(objects, "labels", one.labels.key)
    assert {"@id": f"records/clean/{one.clean.key}.json"} in actions["labels"]["object"]
    assert {"@id": "./"} in actions["patches"]["result"]
    software = entities[actions["patches"]["instrument"]["@id"]]
    assert software["softwareVersion"] == labels.versions["chipcyte"]
    patch = next(name for name in files if name.startswith("data/patches.zarr/"))
    source = records.read(objects, "patches", one.patches.key).path.rpartition("/")[0]
    assert (out / patch).read_bytes() == objects.get(f"{source}/{patch.removeprefix('data/')}")


def mentioned(value: Any) -> list[str]:
    """All names in a document that refer to something: {"@id": name} alone."""
    if isinstance(value, dict):
        if set(value) == {"@id"}:
            return [value["@id"]]
        return [name for one in value.values() for name in mentioned(one)]
    return [name for one in value for name in mentioned(one)] if isinstance(value, list) else []


def test_view_without_napari_says_what_to_do(carried: Experiment, monkeypatch: pytest.MonkeyPatch) -> None:
    objects, (one, *_) = carried
    monkeypatch.setattr(view, "find_spec", lambda _name: None)
    result = call(objects, "view", one.labels.key)
    assert result.exit_code == 2
    assert "expected napari" in result.stderr
    refused = call(objects, "view", one.patches.key)
    assert refused.exit_code == 2
    assert "expected the key of raw, clean, labels, clusters" in refused.stderr


def test_view_hands_the_layers_to_napari(carried: Experiment, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in for napari that notes what it is given."""
    given: list[tuple[str, str]] = []

    class Viewer:
        def __init__(self, title: str) -> None:
            assert title.startswith("chipcyte: ")
            self.dims = SimpleNamespace()

        def __getattr__(self, name: str) -> Any:
            return lambda _data, **options: given.append((name, options["name"]))

    stand_in = SimpleNamespace(Viewer=Viewer, run=lambda: given.append(("run", "")))
    monkeypatch.setitem(sys.modules, "napari", stand_in)
    monkeypatch.setattr(view, "find_spec", lambda name: name)
    objects, (one, *_) = carried
    found = parsed(call(objects, "view", one.clean.key, "--json"))
    assert found["layers"] == [name for _, name in given[:-1]]
    assert [kind for kind, _ in given] == ["add_image", "add_image", "add_labels", "add_points", "run"]
