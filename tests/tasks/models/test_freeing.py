"""A condition that is known and unwanted, as a chip with its light, leaves the latents when asked to."""

import numpy as np
import numpy.typing as npt
import torch
from sklearn.model_selection import cross_val_score
from sklearn.neighbors import KNeighborsClassifier

from tasks.models.batches import PatchSet
from tasks.models.embedding import embed
from tasks.models.plan import TrainingPlan
from tasks.models.training import train_vae
from tasks.models.vae import VAEConfig
from tests.tasks.models.blobs import ellipses_ncyx

CHIPS = 3


def lit_ncyx(n: int, chip: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
    """Ellipses on a background that grows brighter in another direction on each chip."""
    y, x = np.mgrid[:24, :24] / 23
    light = 0.1 * np.stack([x, 1 - x, y])[chip][:, None]
    return np.clip(0.65 * ellipses_ncyx(n) + light, 0, 1).astype(np.float32)


def found_in(latents: npt.NDArray[np.float32], classes: npt.NDArray[np.int64]) -> float:
    """Share of cells whose class their neighbours tell, cross-validated."""
    return float(cross_val_score(KNeighborsClassifier(15), latents, classes, cv=4).mean())


def test_the_chip_is_found_before_and_not_after_and_the_kind_of_cell_stays() -> None:
    n = 320
    chip, kind = np.random.default_rng(0).integers(0, CHIPS, n), np.arange(n) % 2
    ncyx = lit_ncyx(n, chip)
    plain = VAEConfig(1, 24, 24, latent=4, widths=(8, 16))
    told = VAEConfig(1, 24, 24, latent=4, widths=(8, 16), joining="plain", conditions=CHIPS)
    latents = []
    for config, freeing in ((plain, 0.0), (told, 500.0)):
        plan = TrainingPlan(epochs=50, batch_size=48, learning_rate=5e-3, freeing=freeing)
        patches = PatchSet(ncyx, codes=chip if config.conditions else None)
        latents.append(embed(train_vae(config, plan, patches, device=torch.device("cpu")).model, ncyx))
    before, after = (found_in(one, chip) for one in latents)
    assert before > 0.95
    assert after < 0.55  # by chance 0.33
    assert found_in(latents[1], kind) > 0.95
