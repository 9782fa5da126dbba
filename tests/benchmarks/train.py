"""Training: ours against the loop that a notebook has, same network, batch and epochs; CPU time, one core."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

from storage.idx import read_split
from tasks.models.augmentation import Augmentation
from tasks.models.device import fast_precision
from tasks.models.plan import TrainingPlan
from tasks.models.training import train_vae
from tasks.models.vae import VAEConfig
from tests.support import DATA

PATCHES, BATCH, EPOCHS, LATENT, WIDTHS, ROUNDS = 12_000, 128, 3, 16, (32, 64), 2


@dataclass(frozen=True)
class Contender:
    """One way to train, and what it gave."""

    cpu_s: float
    busy_share: float
    losses: list[float]


class NotebookVAE(nn.Module):
    """The study's convolutional autoencoder for 28 x 28, as a notebook writes it."""

    def __init__(self) -> None:
        super().__init__()
        first, second = WIDTHS
        self.encoder = nn.Sequential(
            nn.Conv2d(1, first, 3, 2, 1),
            nn.ReLU(),
            nn.Conv2d(first, second, 3, 2, 1),
            nn.ReLU(),
            nn.Flatten(),
        )
        self.mean, self.log_variance = nn.Linear(second * 49, LATENT), nn.Linear(second * 49, LATENT)
        self.expand = nn.Linear(LATENT, second * 49)
        self.decoder = nn.Sequential(
            nn.Unflatten(1, (second, 7, 7)),
            nn.ReLU(),
            nn.ConvTranspose2d(second, first, 3, 2, 1, 1),
            nn.ReLU(),
            nn.ConvTranspose2d(first, 1, 3, 2, 1, 1),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        features = self.encoder(x)
        mean, log_variance = self.mean(features), self.log_variance(features)
        z = mean + torch.randn_like(mean) * torch.exp(0.5 * log_variance)
        return self.decoder(self.expand(z)), mean, log_variance


class Pictures(Dataset[Tensor]):
    """One picture at a time, made a tensor when it is asked for."""

    def __init__(self, nyx: NDArray[np.uint8]) -> None:
        self.nyx = nyx

    def __len__(self) -> int:
        return len(self.nyx)

    def __getitem__(self, row: int) -> Tensor:
        return torch.from_numpy(self.nyx[row][None].copy()).float() / 255


def notebook(nyx: NDArray[np.uint8]) -> tuple[list[float], float]:
    torch.manual_seed(0)
    model = NotebookVAE()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    loader = DataLoader(Pictures(nyx), batch_size=BATCH, shuffle=True)
    losses = []
    for _ in range(EPOCHS):
        total = 0.0
        for x in loader:
            again, mean, log_variance = model(x)
            misfit = functional.binary_cross_entropy(again, x, reduction="sum")
            loss = misfit - 0.5 * torch.sum(1 + log_variance - mean.pow(2) - log_variance.exp())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item()
        losses.append(total / len(nyx))
    return losses, 1.0


def ours(nyx: NDArray[np.uint8]) -> tuple[list[float], float]:
    cpu = torch.device("cpu")
    plan = TrainingPlan(
        epochs=EPOCHS,
        batch_size=BATCH,
        learning_rate=5e-3,
        schedule="one-cycle",
        augmentation=Augmentation(),
        precision=fast_precision(cpu),
    )
    config = VAEConfig(1, 28, 28, latent=LATENT, widths=WIDTHS)
    trained = train_vae(config, plan, nyx[:, None], device=cpu)
    return [metrics["train_total"] for metrics in trained.history], trained.busy_share


def measured(
    work: Callable[[NDArray[np.uint8]], tuple[list[float], float]], nyx: NDArray[np.uint8]
) -> Contender:
    began = time.process_time()
    losses, busy = work(nyx)
    return Contender(time.process_time() - began, busy, losses)


def run(size: float) -> None:
    """Print patches a second of CPU time, the losses, and how busy the trainer was."""
    nyx = read_split(DATA / "mnist", "train").nyx[: max(BATCH, round(PATCHES * size))]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        rounds = [(measured(notebook, nyx), measured(ours, nyx)) for _ in range(ROUNDS)]
    finally:
        torch.set_num_threads(threads)
    shown = len(nyx) * EPOCHS
    print(f"{'':<16}{'patches/s':>10}{'ratio':>8}  loss of each epoch (nats a patch)")
    best = [min(column, key=lambda one: one.cpu_s) for column in zip(*rounds, strict=True)]
    for name, one in zip(("notebook's loop", "ours"), best, strict=True):
        losses = ", ".join(f"{loss:.1f}" for loss in one.losses)
        print(f"{name:<16}{shown / one.cpu_s:>10.0f}{best[0].cpu_s / one.cpu_s:>8.2f}  {losses}")
    print(f"ours ends at an equal or better loss: {best[1].losses[-1] <= best[0].losses[-1]}")
    print(f"our trainer was busy {100 * best[1].busy_share:.1f} % of its time")
