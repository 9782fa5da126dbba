"""A latent of 100,000 cells embedded, clustered and scored: the time of each part.

Patches of noise are encoded, for the time alone. What is clustered are drawn latents, of sixteen dimensions
and eight populations that overlap. Each part is what the stages do: a network's latents, a UMAP to look at,
Gaussian mixture, k-means and HDBSCAN, scores with intervals, conditions compared.
"""

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from tasks.cluster import compared, scores_of_parts
from tasks.cluster_settings import ClusterSettings
from tasks.finding import FoundClusters, find_clusters
from tasks.kernels.projection import umap_2d
from tasks.models.embedding import embed
from tasks.models.vae import VAEConfig, seeded_vae

CELLS = 100_000
LATENT = 16
POPULATIONS = 8
PATCH_PX = 40
METHODS: dict[str, dict[str, Any]] = {
    "mixture, latent space": {"n_clusters": POPULATIONS},
    "k-means, latent space": {"n_clusters": POPULATIONS, "method": {"kind": "kmeans"}},
    "mixture, in a UMAP": {"n_clusters": POPULATIONS, "space": {"kind": "umap"}},
    "HDBSCAN, in a UMAP": {"method": {"kind": "hdbscan"}, "space": {"kind": "umap"}},
}


def run(size: float) -> None:
    count = round(CELLS * size)
    rng = np.random.default_rng(0)
    truth = rng.integers(0, POPULATIONS, count)
    latent = rng.normal(size=(count, LATENT)) + 1.5 * rng.normal(size=(POPULATIONS, LATENT))[truth]
    chips = rng.integers(0, 12, count)
    cells = pd.DataFrame(
        {
            "population": [f"population {number}" for number in truth],
            "chip": [f"chip {number}" for number in chips],
            "acquisition": "one",
            "condition": np.where(chips % 2, "wild type", "BRAF"),
            "held_out": chips >= 10,
        }
    )
    print(f"{count} cells, {LATENT} dimensions\n\n{'part':<40}{'wall s':>9}{'CPU s':>9}  ARI")
    umap_2d(latent[:100], seed=0)  # compiles, once a machine
    patches = rng.integers(0, 256, (count, 1, PATCH_PX, PATCH_PX), np.uint8)
    network = seeded_vae(VAEConfig(1, PATCH_PX, PATCH_PX, latent=LATENT), seed=0)
    encode_s = timed(f"patches of {PATCH_PX} px encoded", lambda: embed(network, patches))[1]
    map_s = timed("UMAP drawn", lambda: umap_2d(latent, seed=0))[1]
    for name, settings in METHODS.items():
        part(name, ClusterSettings.model_validate(settings), latent, cells, encode_s + map_s)


def part(name: str, settings: ClusterSettings, latent: Any, cells: pd.DataFrame, before_s: float) -> None:
    """Find, score and compare with one method; print each part, and all with what comes before."""
    learned = ~cells["held_out"].to_numpy()
    found, find_s = timed(name, lambda: find_clusters(latent, learned, settings))
    scores, score_s = timed("  scores and intervals", lambda: scored(latent, cells, found))
    table = cells.assign(cluster=found.labels)
    _, compare_s = timed("  conditions compared", lambda: compared(table, settings))
    total = before_s + find_s + score_s + compare_s
    print(f"{'  all, with patches encoded and the map':<40}{total:>9.1f}{'':>9}  {scores['ari']:.3f}")


def scored(latent: Any, cells: pd.DataFrame, found: FoundClusters) -> dict[str, float]:
    return scores_of_parts(latent, cells, found, seed=0)


def timed(name: str, work: Callable[[], Any]) -> tuple[Any, float]:
    """Do something, print how long it took, return what it gave and the seconds on the clock."""
    wall, cpu = time.perf_counter(), time.process_time()
    gave = work()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    print(f"{name:<40}{wall:>9.1f}{cpu:>9.1f}", flush=True)
    return gave, wall
