"""Latent traversals: what a network draws while one latent number moves and the others stay."""

import numpy as np
from numpy.typing import NDArray

from tasks.kernels.pictures import traversals
from tasks.models.embedding import traverse
from tasks.models.vae import VAE

MOST_DIMENSIONS = 8
STEPS = (-2.0, -1.0, 0.0, 1.0, 2.0)


def traversal_picture(network: VAE, latent: NDArray[np.floating]) -> bytes:
    """Draw the mean cell moved along the latent numbers that vary most, as a PNG.

    Parameters
    ----------
    network
        Whose decoder draws; of patches with several channels the first is shown.
    latent
        (n, latent) of cells, from which mean and standard deviation are taken.
    """
    deviation = latent.std(axis=0)
    chosen = np.argsort(-deviation, kind="stable")[:MOST_DIMENSIONS]
    images = traverse(network, latent.mean(axis=0), deviation, chosen.tolist(), STEPS)
    return traversals(images[:, :, 0], names=[f"latent {number}" for number in chosen], steps=STEPS)
