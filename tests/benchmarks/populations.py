"""Populations planted in simulated chips: how well clusters of latents find them in chips held out.

Recordings go through the stages up to their patches. A network and a mixture of four Gaussians learn from all
pure chips but one; that chip and two mixed ones, which nothing learned from, are scored. Latents of views are
compared with those of the same network as a plain VAE. No truth is used before scoring.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.metrics import adjusted_rand_score

from storage.objects import open_store
from tasks.cluster_settings import ClusterSettings
from tasks.dataset import patch_source, read_cells
from tasks.finding import find_clusters
from tasks.kernels.appearance import learn_judge
from tasks.kernels.simulation.design import BRAF, WILD_TYPE, Condition, ExperimentDesign
from tasks.models.batches import PatchSet
from tasks.models.embedding import embed
from tasks.models.training import train_vae
from tasks.simulate import simulate_experiment
from tasks.train import training_plan, vae_config
from tasks.train_settings import PairedViews, TrainSettings
from tests.benchmarks.measuring import scratch_folder
from tests.support import QUICK, SERIAL, carry, found_in

PURE = ExperimentDesign(
    seed=11, chips=3, positions=3, time_points=1, height_px=1024, width_px=1024, largest_angle_deg=30.0
)
MIXED_POSITIONS = 6
WILD_SHARES = (0.3, 0.7)
HELD_OUT = "braf-3"
SEEDS = (0, 1)
VIEWS = TrainSettings(
    views=PairedViews(), epochs=40, batch_size=128, learning_rate=2e-3, schedule="one-cycle"
)
SETTINGS = {"views": VIEWS, "VAE": VIEWS.model_copy(update={"views": None})}


@dataclass(frozen=True)
class Chips:
    """All cells of the experiment that belong to a known population."""

    cells: pd.DataFrame
    ncyx: NDArray[np.floating]

    @property
    def learned(self) -> NDArray[np.bool_]:
        """Cells of chips that may be learned from."""
        chips = self.cells["chip"]
        return ~(chips.str.startswith("mix") | (chips == HELD_OUT)).to_numpy(bool)


@dataclass(frozen=True)
class Outcome:
    """What one training reaches."""

    ari_learned: float
    ari_held_out: float
    by_latents: dict[str, float]
    """Share of wild type found in each chip held out, by a classifier on its cells' latents."""
    by_clusters: dict[str, float]
    """The same by a classifier that is told their clusters alone."""
    by_memberships: dict[str, float]
    """The same told how certain each cluster is, as `cluster` judges (`condition_probability`)."""


def simulated(size: float, folder: Path) -> Chips:
    """Simulate pure and mixed chips and carry them to their patches."""
    positions = max(1, round(PURE.positions * size))
    designs = {"pure": replace(PURE, positions=positions)}
    for number, share in enumerate(WILD_SHARES):
        condition = mixed(share, number)
        designs[condition.code] = replace(
            PURE,
            seed=PURE.seed + 1 + number,
            conditions=(condition,),
            chips=1,
            positions=max(1, round(MIXED_POSITIONS * size)),
        )
    objects = open_store(str(folder / "store"), create=True)
    patches = []
    for name, design in designs.items():
        simulate_experiment(folder / name, design)
        patches += [carry(objects, found, QUICK_48).patches for found in found_in(folder / name)]
    cells, ncyx = read_cells(objects, patches), np.asarray(patch_source(objects, patches, SERIAL)[:])
    known = cells["population"].isin(["round", "elongated", "bent", "lobed"]).to_numpy(bool)
    return Chips(cells[known].astype({"chip": str}), ncyx[known])


QUICK_48 = QUICK.model_copy(
    update={"extract": QUICK.extract.model_validate({"crop": {"kind": "pad", "size_px": 48}})}
)


def mixed(share: float, number: int) -> Condition:
    """A chip with a share of wild type among BRAF."""
    round_, elongated, bent, lobed = (
        share * a + (1 - share) * b for a, b in zip(WILD_TYPE.proportions, BRAF.proportions, strict=True)
    )
    return Condition(f"{share:.0%} wild type", f"mix{number}", (round_, elongated, bent, lobed))


def outcome(chips: Chips, settings: TrainSettings) -> Outcome:
    """Train, cluster, score; learn conditions from the pure chips and find those of the chips held out."""
    learned = chips.learned
    trained = train_vae(
        vae_config(settings, chips.ncyx.shape[1:], 0),
        training_plan(settings),
        PatchSet(chips.ncyx, np.flatnonzero(learned)),
    )
    latent = embed(trained.model, chips.ncyx).astype(np.float64)
    found = find_clusters(latent, learned, ClusterSettings(n_clusters=4, seed=settings.seed))
    clusters = found.labels
    truth = chips.cells["population"].to_numpy(str)
    return Outcome(
        ari_learned=adjusted_rand_score(truth[learned], clusters[learned]),
        ari_held_out=adjusted_rand_score(truth[~learned], clusters[~learned]),
        by_latents=_wild_shares(chips, latent),
        by_clusters=_wild_shares(chips, _one_hot(clusters)),
        by_memberships=_wild_shares(chips, found.memberships),
    )


def told_shares(chips: Chips) -> dict[str, float]:
    """Share of wild type in each chip held out, judged by the true populations of its cells.

    What remains between these and what was planted is chance: which cells a chip happens to hold.
    """
    return _wild_shares(chips, _one_hot(chips.cells["population"].to_numpy(str)))


def _one_hot(names: NDArray[Any]) -> NDArray[np.float64]:
    """Row of a name among all, 1 where it is (n, kinds)."""
    return np.asarray(names[:, None] == np.unique(names), dtype=np.float64)


def _wild_shares(chips: Chips, points: NDArray[np.float64]) -> dict[str, float]:
    """Learn conditions from the pure chips' points (n, d) and judge each chip held out."""
    learned = chips.learned
    condition, chip = (chips.cells[name].to_numpy(str) for name in ("condition", "chip"))
    judge = learn_judge(points[learned], condition[learned], chip[learned])
    return {
        str(name): judge.shares(points[chip == name])[WILD_TYPE.name] for name in np.unique(chip[~learned])
    }


def planted() -> Iterator[tuple[str, float]]:
    """Chips held out and their true share of wild type."""
    yield HELD_OUT, 0.0
    yield from ((f"mix{number}-1", share) for number, share in enumerate(WILD_SHARES))


def run(size: float) -> None:
    """Print, for each seed, the adjusted Rand index and the shares found in the chips held out."""
    with scratch_folder() as folder:
        chips = simulated(size, folder)
    learned = chips.learned
    print(f"{learned.sum()} cells learned from, {(~learned).sum()} held out; true shares of wild type:")
    print(", ".join(f"{name} {100 * share:.0f} %" for name, share in planted()))
    told = ", ".join(f"{name} {100 * share:.1f} %" for name, share in told_shares(chips).items())
    print(f"judged by the true populations of the cells drawn: {told}\n")
    print(f"{'latents':<8}{'seed':>5}{'ARI learned':>13}{'held out':>10}  found (error, points)")
    for name, settings in SETTINGS.items():
        for seed in SEEDS if name == "views" else SEEDS[:1]:
            found = outcome(chips, settings.model_copy(update={"seed": seed}))
            ari = f"{found.ari_learned:>13.3f}{found.ari_held_out:>10.3f}"
            print(f"{name:<8}{seed:>5}{ari}  by clusters {_errors(found.by_clusters)}")
            print(f"{'':<36}  by memberships {_errors(found.by_memberships)}")
            print(f"{'':<36}  by latents {_errors(found.by_latents)}", flush=True)


def _errors(shares: dict[str, float]) -> str:
    return ", ".join(
        f"{chip} {100 * shares[chip]:.1f} ({100 * (shares[chip] - share):+.1f})" for chip, share in planted()
    )
