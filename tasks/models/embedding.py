"""What a trained network says about patches: their latent means and their reconstructions."""

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from tasks.models.batches import Float32Array, Loader, PatchSet, PatchSource, as_set
from tasks.models.vae import VAE

BatchFunction = Callable[[Tensor, Tensor | None], Tensor]


def embed(model: VAE, patches: PatchSource | PatchSet, batch_size: int = 256) -> Float32Array:
    """Posterior means of patches, `batch_size` at a time, read a few shards ahead.

    Parameters
    ----------
    model
        Trained network, on any device.
    patches
        Patches (n, c, y, x) as `PatchSource` says.
    batch_size
        Patches encoded at once, 1 or more; the means change by no more than rounding with it.

    Returns
    -------
    numpy.ndarray
        float32 (n, latent).

    Raises
    ------
    ValueError
        The patches do not have the network's shape, or do not lie in [0, 1].
    """
    chosen = as_set(patches)
    means = np.empty((len(chosen), model.config.latent), dtype=np.float32)
    return _apply(model, chosen, batch_size, means, lambda batch, _: model.encode(batch)[0])


def embed_joined(model: VAE, patches: PatchSet, batch_size: int = 256) -> Float32Array:
    """Posterior means joined with the condition of each patch, Z' (n, joined); otherwise as `embed`.

    These numbers contain what was told of a cell. Whoever scores them against what was told, or anything that
    hangs on it, has to say so.
    """
    joined = np.empty((len(patches), model.config.joined), dtype=np.float32)
    return _apply(
        model, patches, batch_size, joined, lambda batch, codes: model.joined(model.encode(batch)[0], codes)
    )


def reconstruct(model: VAE, patches: PatchSource | PatchSet, batch_size: int = 256) -> Float32Array:
    """Patches as the network sees them, float32 (n, c, y, x) in [0, 1]; otherwise as `embed`."""
    chosen = as_set(patches)
    images_ncyx = np.empty((len(chosen), *chosen.shape_cyx), dtype=np.float32)
    return _apply(model, chosen, batch_size, images_ncyx, lambda batch, codes: model(batch, codes)[0])


def traverse(
    model: VAE,
    centre: npt.NDArray[np.floating],
    deviation: npt.NDArray[np.floating],
    dimensions: Sequence[int],
    steps: Sequence[float],
) -> Float32Array:
    """Patches that the decoder draws while one latent number moves, (dimensions, steps, c, y, x) in [0, 1].

    Parameters
    ----------
    model
        Trained network; where it knows conditions, the mean of all is told.
    centre, deviation
        (latent,): where the numbers stand, and how far a step of 1 goes.
    dimensions
        Which numbers move, each by itself.
    steps
        How far, in deviations.
    """
    moved = np.tile(np.asarray(centre, np.float32), (len(dimensions), len(steps), 1))
    for row, dimension in enumerate(dimensions):
        moved[row, :, dimension] += np.asarray(steps, np.float32) * np.float32(deviation[dimension])
    device = next(model.parameters()).device
    with torch.inference_mode():
        logits = model.decode(torch.from_numpy(moved.reshape(-1, moved.shape[2])).to(device))
        drawn: Float32Array = torch.sigmoid(logits).cpu().numpy()
    return drawn.reshape(len(dimensions), len(steps), *drawn.shape[1:])


def cluster_shares(model: VAE, latents: Float32Array) -> Float32Array:
    """Probability (n, clusters) of each cluster of the network's own mixture prior (VaDE) at latent means.

    Raises
    ------
    ValueError
        The network's prior is no mixture.
    """
    if model.prior is None:
        raise ValueError("expected a network with a mixture prior, found one without: train with clusters")
    with torch.inference_mode():
        shares: Float32Array = model.prior.responsibilities(torch.from_numpy(latents)).numpy()
    return shares


def most_probable_clusters(model: VAE, latents: Float32Array) -> npt.NDArray[np.int64]:
    """Cluster (n,) of each latent mean (n, latent); raises as `cluster_shares`."""
    return np.asarray(cluster_shares(model, latents).argmax(1), np.int64)


def _apply(
    model: VAE, patches: PatchSet, batch_size: int, out: Float32Array, function: BatchFunction
) -> Float32Array:
    if batch_size < 1:
        raise ValueError(f"expected a batch_size of 1 or more, found {batch_size}: raise it")
    device = next(model.parameters()).device
    row = 0
    with torch.inference_mode():
        for batch in Loader(patches, batch_size).ordered():
            codes = None if batch.codes is None else torch.from_numpy(batch.codes).to(device)
            found = function(torch.from_numpy(batch.ncyx).to(device), codes)
            out[row : row + len(found)] = found.cpu().numpy()
            row += len(found)
    return out
