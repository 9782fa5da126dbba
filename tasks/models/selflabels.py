"""A network that learns clusters from pictures: what most members of a cluster share outvotes its strays."""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from tasks.models.augmentation import Augmentation, augmented
from tasks.models.batches import Float32Array, Loader, PatchSet, epoch_rng
from tasks.models.bodies import bottleneck_cyx, conv_encoder
from tasks.models.device import multiplying_in, reproducible_kernels
from tasks.models.plan import Precision, TrainingPlan


@dataclass(frozen=True)
class SelfLabelPlan:
    """How clusters are learned; equal plans, data, machine and number of threads give equal weights."""

    clusters: int
    """Number of clusters."""
    widths: tuple[int, ...] = (32, 64)
    """Feature maps after each halving of the patch."""
    epochs: int = 3
    """Passes over the patches."""
    batch_size: int = 128
    """Patches in a step."""
    learning_rate: float = 3e-3
    """Largest step of Adam; it goes up and down once."""
    smoothing: float = 0.1
    """Share of each label that is spread over all clusters: a label may be wrong."""
    augmentation: Augmentation = field(default_factory=Augmentation)
    """How patches are changed each time they are shown."""
    precision: Precision = "float32"
    """As in `TrainingPlan`."""
    seed: int = 0
    """Decides starting weights, order and augmentation."""


class ClusterNet(nn.Module):
    """Strided convolutions to one logit a cluster."""

    def __init__(self, shape_cyx: tuple[int, int, int], plan: SelfLabelPlan) -> None:
        super().__init__()
        self.encoder = conv_encoder(shape_cyx, plan.widths)
        self.to_clusters = nn.Linear(bottleneck_cyx(shape_cyx, plan.widths).numel(), plan.clusters)
        self.to(memory_format=torch.channels_last)

    def forward(self, ncyx: Tensor) -> Tensor:
        """Logits (n, clusters) of patches (n, c, y, x)."""
        logits: Tensor = self.to_clusters(self.encoder(ncyx))
        return logits.float()


def learn_clusters(patches: PatchSet, plan: SelfLabelPlan, device: torch.device) -> ClusterNet:
    """Train a network to name the cluster of a patch, the patch changed a little each time.

    The last step of SCAN (Van Gansbeke et al., 2020, arXiv:2005.12320): clusters that were found without
    labels are taught as if they were labels. Strays among them contradict the patches they look like, and a
    network of few epochs follows the many.

    Parameters
    ----------
    patches
        Patches, with the cluster of each as its code; doubtful ones have -1 and are left out.
    plan
        Epochs, step, augmentation, seed.
    device
        Where to train.
    """
    assert patches.codes is not None
    rows = np.arange(patches.source.shape[0]) if patches.rows is None else patches.rows
    sure = PatchSet(patches.source, rows[patches.codes[rows] >= 0], patches.codes)
    channels, height, width = patches.shape_cyx
    net = _seeded(ClusterNet((channels, height, width), plan), plan.seed).to(device)
    steps = TrainingPlan(epochs=plan.epochs, learning_rate=plan.learning_rate, schedule="one-cycle")
    optimizer, loader = torch.optim.Adam(net.parameters()), Loader(sure, plan.batch_size)
    with reproducible_kernels(device):
        for epoch in range(plan.epochs):
            rng, seen = epoch_rng(plan.seed, epoch + 1), 0
            for batch in loader.shuffled(rng):
                optimizer.param_groups[0]["lr"] = steps.learning_rate_at(
                    (epoch + seen / len(sure)) / plan.epochs
                )
                seen += len(batch.ncyx)
                shown = torch.from_numpy(augmented(batch.ncyx, plan.augmentation, rng)).to(device)
                with multiplying_in(plan.precision, device):
                    logits = net(shown)
                codes = torch.from_numpy(batch.codes).to(device)
                loss = functional.cross_entropy(logits, codes, label_smoothing=plan.smoothing)
                optimizer.zero_grad(set_to_none=True)
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
    return net.cpu()


def cluster_logits(net: ClusterNet, patches: PatchSet, batch_size: int = 1000) -> Float32Array:
    """Logits (n, clusters) of patches: the space in which the network tells clusters apart."""
    with torch.inference_mode():
        found = [net(torch.from_numpy(batch.ncyx)).numpy() for batch in Loader(patches, batch_size).ordered()]
    return np.concatenate(found)


def most_probable(logits: Float32Array) -> npt.NDArray[np.int64]:
    """Cluster (n,) of each row of logits."""
    return np.asarray(logits.argmax(axis=1), dtype=np.int64)


def _seeded(net: ClusterNet, seed: int) -> ClusterNet:
    generator = torch.Generator().manual_seed(seed)
    for parameter in net.parameters():
        if parameter.ndim < 2:
            nn.init.zeros_(parameter)
        else:
            nn.init.xavier_uniform_(parameter, generator=generator)
    return net
