"""Training from a million patches on S3: memory that does not grow, and a trainer that does not wait.

Simulated patches of 24 x 24 px lie in shards behind an S3 server on loopback, a process of its own. One
epoch of the convolutional autoencoder reads them; another process reads a sixteenth for comparison. The peak
is the resident set's high-water mark (VmHWM) of the process that trains, above what it was before.
"""

import logging
import multiprocessing
import os
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from numpy.typing import NDArray

from storage import arrays
from storage.arrays import ArraySpec, ZarrArray
from storage.objects import Objects, open_store
from storage.regions import Region, grid_regions
from tasks.dataset import StoredPatches
from tasks.extract import ROWS_PER_CHUNK, ROWS_PER_SHARD
from tasks.models.augmentation import Augmentation
from tasks.models.batches import PatchSet
from tasks.models.device import fast_precision
from tasks.models.plan import TrainingPlan
from tasks.models.training import train_vae
from tasks.models.vae import VAEConfig
from tasks.stage import Handle, folder

PATCHES, SIDE, BATCH = 1_000_000, 24, 256
SHARES = (1 / 16, 1)
BUCKET = "patches"
STORE = f"s3://{BUCKET}/store"
Answer = dict[str, float]


@dataclass(frozen=True)
class Stored:
    """So many patches in the store."""

    count: int

    @property
    def handle(self) -> Handle:
        return Handle("patches", f"of{self.count}", "simulated", "", counts={"patches": self.count})

    def write(self, objects: Objects) -> None:
        """Simulate patches, a shard at a time: a bright spot somewhere, of some size, in noise."""
        spec = ArraySpec(
            shape=(self.count, 1, SIDE, SIDE),
            dtype="uint8",
            chunks=(ROWS_PER_CHUNK, 1, SIDE, SIDE),
            shards=(ROWS_PER_SHARD, 1, SIDE, SIDE),
            axes=("n", "c", "y", "x"),
        )
        path = folder("patches", self.handle.key, "patches.zarr")
        array = arrays.create_array(objects, path, spec, {})
        for number, shard in enumerate(grid_regions(spec.shape, spec.shards)):
            array.write(shard, spots(shard.shape[0], seed=number))


def spots(count: int, seed: int) -> NDArray[np.uint8]:
    rng = np.random.default_rng(seed)
    y, x, size = rng.uniform((8, 8, 2), (16, 16, 5), (count, 3)).T[..., None]
    place = np.arange(SIDE)
    rows, columns = (np.exp(-(((place - middle) / size) ** 2)) for middle in (y, x))
    nyx = 200 * rows[:, :, None] * columns[:, None] + rng.integers(0, 40, (count, SIDE, SIDE))
    return nyx.astype(np.uint8)[:, None]


@contextmanager
def s3_server() -> Iterator[None]:
    """Serve S3 from another process, with an empty bucket; the environment says where."""
    ours, theirs = multiprocessing.get_context("spawn").Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_serve, args=(theirs,), daemon=True)
    process.start()
    address = ours.recv()
    given = {"ENDPOINT_URL": address, "ACCESS_KEY_ID": "benchmark", "SECRET_ACCESS_KEY": "benchmark"}
    given |= {"REGION": "us-east-1", "ALLOW_HTTP": "true"}
    try:
        with patch.dict(os.environ, {f"AWS_{name}": value for name, value in given.items()}):
            urllib.request.urlopen(urllib.request.Request(f"{address}/{BUCKET}", method="PUT"), timeout=10)
            yield
    finally:
        process.terminate()


def _serve(answer: Any) -> None:
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    answer.send(f"http://{host}:{port}")
    time.sleep(1e6)


def trained(stored: Stored) -> Answer:
    """Train for one epoch on patches that stay in the store; say what it took."""
    torch.set_num_threads(1)
    source = StoredPatches(open_store(STORE), [stored.handle])
    cpu, reads = torch.device("cpu"), Counter[int]()

    def counted(self: ZarrArray, region: Region, plain: Callable[..., Any] = ZarrArray.read) -> Any:
        reads.update(range(region.start[0] // ROWS_PER_SHARD, -(-region.stop[0] // ROWS_PER_SHARD)))
        return plain(self, region)

    plan = TrainingPlan(
        epochs=1, batch_size=BATCH, augmentation=Augmentation(), precision=fast_precision(cpu)
    )
    config = VAEConfig(1, SIDE, SIDE, latent=8, widths=(16, 32))
    before_mb, began = _peak_mb(), time.perf_counter()
    with patch.object(ZarrArray, "read", counted):
        found = train_vae(config, plan, PatchSet(source), device=cpu)
    return {
        "seconds": time.perf_counter() - began,
        "busy": found.busy_share,
        "before_mb": before_mb,
        "peak_mb": _peak_mb(),
        "shards": len(reads),
        "most_reads": max(reads.values()),
    }


def _train_elsewhere(answer: Any, stored: Stored) -> None:
    answer.send(trained(stored))


def run(size: float) -> None:
    """Print memory, speed and how busy the trainer was for both numbers of patches."""
    spawn = multiprocessing.get_context("spawn")
    print(f"{'patches':>9}{'MiB':>8}{'peak MiB':>10}{'above start':>13}{'patches/s':>11}{'busy %':>8}  reads")
    with s3_server():
        objects = open_store(STORE, create=True)
        for share in SHARES:
            stored = Stored(max(ROWS_PER_SHARD, round(PATCHES * size * share)))
            stored.write(objects)
            ours, theirs = spawn.Pipe()
            process = spawn.Process(target=_train_elsewhere, args=(theirs, stored))
            process.start()
            theirs.close()  # so that we are told if it dies without an answer
            found = ours.recv()
            process.join()
            print(
                f"{stored.count:>9}{stored.count * SIDE**2 / 2**20:>8.0f}{found['peak_mb']:>10.0f}"
                f"{found['peak_mb'] - found['before_mb']:>13.0f}{stored.count / found['seconds']:>11.0f}"
                f"{100 * found['busy']:>8.1f}  {found['most_reads']:.0f} of {found['shards']:.0f} shards",
                flush=True,
            )


def _peak_mb() -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))
