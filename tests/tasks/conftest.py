"""What the tests of the stages after extract share."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from storage.objects import Objects, open_store
from tasks.stage import Handle
from tests.support import QUICK, Carried


@dataclass(frozen=True)
class Learned:
    """The tiny experiment up to its clusters, in a store that may be added to."""

    objects: Objects
    acquisitions: list[Carried]
    tracking: Any
    model: Handle
    embedding: Handle
    clusters: Handle

    @property
    def patches(self) -> list[Handle]:
        return [one.patches for one in self.acquisitions]


@pytest.fixture(scope="session")
def tracking(tmp_path_factory: pytest.TempPathFactory) -> Any:
    from tasks.train import Tracking

    folder = tmp_path_factory.mktemp("mlflow")
    return Tracking(f"sqlite:///{folder}/mlflow.db", "tiny", "http://127.0.0.1:4200/flow-runs/1")


@pytest.fixture(scope="session")
def learned(carried: Any, tracking: Any, tmp_path_factory: pytest.TempPathFactory) -> Learned:
    from tasks.cluster import cluster
    from tasks.embed import embed
    from tasks.train import train

    copy = Path(tmp_path_factory.mktemp("learned") / "store")
    shutil.copytree(carried[0].url, copy)
    objects, patches = open_store(str(copy)), [one.patches for one in carried[1]]
    model = train.fn(
        patches=patches,
        store=objects.url,
        settings=QUICK.train,
        resources=QUICK.resources,
        tracking=tracking,
    )
    embedding = embed.fn(
        patches=patches,
        model=model,
        store=objects.url,
        settings=QUICK.embed,
        training=QUICK.train,
        resources=QUICK.resources,
    )
    clusters = cluster.fn(embedding, objects.url, QUICK.cluster, tracking)
    return Learned(objects, carried[1], tracking, model, embedding, clusters)
