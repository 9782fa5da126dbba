"""What tests of stages and flows share: a tiny experiment, its way through the stages, a store's bytes."""

import json
import pkgutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from flows.inputs import Found, find_inputs
from storage import arrays, images, layout, tables
from storage.objects import Objects
from tasks.cluster import cluster
from tasks.embed import embed
from tasks.extract import extract
from tasks.ingest import ingest
from tasks.kernels.simulation.design import ExperimentDesign
from tasks.preprocess import preprocess
from tasks.samples import attach_sample, attach_truth
from tasks.segment import segment
from tasks.segment_settings import SegmentSettings, Threshold
from tasks.settings import ExtractSettings, IngestSettings, Resources, Settings, TrainSettings
from tasks.stage import Handle, folder
from tasks.train import Tracking, train
from tasks.train_settings import ConvBody

ROOT = Path(__file__).parents[1]
DATA = ROOT.parent / "shared" / "data"
SERIAL = Resources(compute="serial", workers=1)
TINY = ExperimentDesign(seed=3, positions=1, time_points=2, height_px=192, width_px=192)
QUICK = Settings(
    extract=ExtractSettings.model_validate({"crop": {"kind": "pad", "size_px": 32}}),
    segment=SegmentSettings(method=Threshold()),
    train=TrainSettings(epochs=2, latent=4, body=ConvBody(widths=(8, 16)), batch_size=16),
    resources=SERIAL,
)


@dataclass(frozen=True)
class Carried:
    """One acquisition and what the stages up to extract made of it."""

    found: Found
    raw: Handle
    sample: Handle
    truth: Handle | None
    clean: Handle
    labels: Handle
    patches: Handle

    @property
    def made(self) -> list[Handle]:
        return [self.raw, self.clean, self.labels, self.patches]


def found_in(path: Path) -> list[Found]:
    return find_inputs([str(path)], IngestSettings(), quietly=True)


def ingested(objects: Objects, path: Path, settings: Settings = QUICK) -> Handle:
    """The raw image of one file."""
    (found,) = find_inputs([str(path)], settings.ingest, quietly=True)
    return ingest.fn(found.acquisition, objects.url, settings.ingest, settings.resources)


def carry(objects: Objects, found: Found, settings: Settings = QUICK) -> Carried:
    """One acquisition from its file to its patches, without Prefect."""
    store, resources = objects.url, settings.resources
    raw = ingest.fn(found.acquisition, store, settings.ingest, resources)
    sample, truth = attach_sample(objects, raw, found.sample, None), attach_truth(objects, raw, found.truth)
    clean = preprocess.fn(raw, store, settings.preprocess, resources)
    labels = segment.fn(clean, store, settings.segment, resources, sample)
    patches = extract.fn(
        clean=clean,
        labels=labels,
        sample=sample,
        truth=truth,
        store=store,
        settings=settings.extract,
        resources=resources,
    )
    return Carried(found, raw, sample, truth, clean, labels, patches)


def up_to_clusters(path: Path, objects: Objects, settings: Settings = QUICK) -> None:
    """All recordings of a folder from their files to the clusters, without Prefect."""
    nowhere = Tracking("nowhere", path.name)
    patches = [carry(objects, found, settings).patches for found in found_in(path)]
    given: Any = {"patches": patches, "store": objects.url, "resources": settings.resources}
    model = train.fn(**given, settings=settings.train, tracking=nowhere)
    embedding = embed.fn(**given, model=model, settings=settings.embed, training=settings.train)
    cluster.fn(embedding, objects.url, settings.cluster, nowhere)


def contents(objects: Objects) -> dict[str, bytes]:
    """Every object of a store; of records all but the moment they were made."""
    found = {name: objects.get(name) for name in objects.names("")}
    for name in [name for name in found if name.startswith("records/")]:
        record = json.loads(found[name])
        record.pop("created")
        found[name] = json.dumps(record, sort_keys=True).encode()
    return found


def differing(found: dict[str, bytes], expected: dict[str, bytes]) -> list[str]:
    """The names of the objects that only one of two stores has, or that are not the same in both."""
    return sorted(name for name in found | expected if found.get(name) != expected.get(name))


def clean_of(objects: Objects, clean: Handle) -> np.ndarray:
    """The clean image, t y x; of a stack only the first z."""
    image = images.open_image(objects, layout.image_path("clean", clean.key))
    return np.stack([image.read(image.plane(t, 0, 0))[0, 0, 0] for t in range(image.shape[0])])


def labels_of(objects: Objects, clean: Handle, labels: Handle, level: int = 0) -> np.ndarray:
    """The labels of one level, t z y x."""
    array = arrays.open_array(objects, f"{layout.labels_path(clean.key, labels.key)}/{level}")
    return array.read(arrays.Region((0,) * 4, array.shape))


def patches_of(objects: Objects, patches: Handle) -> np.ndarray:
    """The patches, n c y x."""
    array = arrays.open_array(objects, folder("patches", patches.key, "patches.zarr"))
    return array.read(arrays.Region((0,) * 4, array.shape))


def cells_of(objects: Objects, made: Handle):
    """The table of cells of an artifact."""
    return tables.read_table(objects, folder(made.kind, made.key, "cells.zarr")).obs


def write_tiff(path: Path, pixels: np.ndarray, **options) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    tifffile.imwrite(path, pixels, **options)
    return path


def dies_at(monkeypatch: pytest.MonkeyPatch, target: str, k: int) -> list[int]:
    """Make the k-th call of a function raise before it does anything; the list returned counts the calls."""
    place, name = target.rsplit(".", 1)
    owner, calls = pkgutil.resolve_name(place), []
    whole = getattr(owner, name)

    def counted(*args, **kwargs):
        calls.append(len(calls) + 1)
        if calls[-1] == k:
            raise KeyboardInterrupt(f"call {k} of {target}")
        return whole(*args, **kwargs)

    monkeypatch.setattr(owner, name, counted)
    return calls


def needs(*parts: str) -> pytest.MarkDecorator:
    """Skip where real data is absent."""
    path = DATA.joinpath(*parts)
    return pytest.mark.skipif(not path.exists(), reason=f"real data is absent: {path}")
