"""What a trained network says about patches: their latent means and their reconstructions."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from tasks.models.batches import Float32Array, PatchSource, ordered_rows, read_patches
from tasks.models.vae import ConvVAE

BatchFunction = Callable[[Tensor], Tensor]


def embed(model: ConvVAE, ncyx: PatchSource, batch_size: int = 256) -> Float32Array:
    """Posterior means of patches, read `batch_size` at a time.

    Parameters
    ----------
    model
        Trained network, on any device.
    ncyx
        Patches (n, c, y, x), float32 in [0, 1].
    batch_size
        Patches in memory at once, 1 or more; the means change by no more than rounding with it.

    Returns
    -------
    numpy.ndarray
        float32 (n, latent).

    Raises
    ------
    ValueError
        The patches do not have the network's shape, or do not lie in [0, 1].
    """
    means = np.empty((ncyx.shape[0], model.config.latent), dtype=np.float32)
    return _apply(model, ncyx, batch_size, means, lambda batch: model.encode(batch)[0])


def reconstruct(model: ConvVAE, ncyx: PatchSource, batch_size: int = 256) -> Float32Array:
    """Patches as the network sees them, float32 (n, c, y, x) in [0, 1]; otherwise as `embed`."""
    images_ncyx = np.empty(ncyx.shape, dtype=np.float32)
    return _apply(model, ncyx, batch_size, images_ncyx, lambda batch: model(batch)[0])


def _apply(
    model: ConvVAE,
    ncyx: PatchSource,
    batch_size: int,
    out: Float32Array,
    function: BatchFunction,
) -> Float32Array:
    if batch_size < 1:
        raise ValueError(f"expected a batch_size of 1 or more, found {batch_size}: raise it")
    device = next(model.parameters()).device
    with torch.inference_mode():
        for rows in ordered_rows(ncyx.shape[0], batch_size):
            batch = torch.from_numpy(read_patches(ncyx, rows)).to(device)
            out[rows] = function(batch).cpu().numpy()
    return out
