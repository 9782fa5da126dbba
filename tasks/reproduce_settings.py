"""Settings of reproduce: the two protocols under which the study is repeated on public pictures."""

from typing import Literal

from pydantic import Field

from tasks.sections import Section
from tasks.train_settings import Augmented, ConvBody, PairedViews, PlainCondition, TrainSettings

Dataset = Literal["digits", "fashion"]
Protocol = Literal["label-conditioned", "unsupervised"]

CLASSES = 10
STUDY_ACCURACY = {
    ("digits", 16): 0.9018,
    ("digits", 32): 0.9042,
    ("fashion", 16): 0.90,
    ("fashion", 32): 0.970,
}
"""What the study reports, by data set and latent size; its vectors held the embedding of the true label."""
NOTES = {
    "label-conditioned": "The true label was an input: the vectors clustered contain its embedding. "
    "The accuracy says how well the label is found again, not how well it is found out.",
    "unsupervised": "No label was used before scoring. Train fits everything, test is only scored.",
}


class ReproduceSettings(Section):
    """One row of the study's table: one network, one clustering, scored on both splits."""

    dataset: Dataset = Field(description="MNIST or FashionMNIST.")
    protocol: Protocol = Field(description="Whether the decoder, and the vectors clustered, know the label.")
    train: TrainSettings = Field(description="The network and how it learns.")
    upright: bool = Field(False, description="Set strokes upright by their moments first.")
    map_kind: Literal["umap", "spectral"] = Field("umap", description="How the map is made.")
    map_dimensions: int = Field(
        0, ge=0, description="Dimensions of the map in which clusters are sought; 0: in the vectors."
    )
    map_neighbours: int = Field(20, ge=2, description="Neighbours in the map.")
    map_points: int = Field(
        20_000, ge=100, description="Training vectors the map is made of; others are placed in it."
    )
    even: bool = Field(
        False, description="Clusters of equal size, as the classes of the training part are; not a mixture."
    )
    teach_epochs: int = Field(
        0,
        ge=0,
        description="Passes in which a network learns the clusters found, to name them; 0: none.",
    )
    teach_augmentation: Augmented = Field(
        Augmented(flips=False), description="How pictures are changed while their clusters are learned."
    )
    teach_from: float = Field(0.95, ge=0, le=1, description="Least probability of a cluster that is taught.")
    images: int | None = Field(None, ge=100, description="First images of each split that are used; all.")


GARMENTS = Augmented(
    flips=False, mirror=True, shift=0.1, scale=0.2, shear=0.1, intensity=0.5, gamma=0.7, light=0.35
)
"""What may change in a picture of a garment: its place, size and light, left and right."""


def recipe(dataset: Dataset, protocol: Protocol, latent: int) -> ReproduceSettings:
    """Return the settings with which a row is reproduced, for some latent size."""
    if protocol == "label-conditioned":
        return _told(dataset, latent)
    return _digits(latent) if dataset == "digits" else _garments(latent)


def as_vae(settings: ReproduceSettings) -> ReproduceSettings:
    """Return the row of a VAE instead of views, whose latents beta only scales: for a sweep of beta."""
    if settings.train.views is None:
        return settings
    return settings.model_copy(
        update={"train": settings.train.model_copy(update={"views": None, "loss": "bce"})}
    )


def _told(dataset: Dataset, latent: int) -> ReproduceSettings:
    learning = _learning(latent, ConvBody(widths=(32, 64)), epochs=2)
    condition = PlainCondition(by="condition", embedding=latent)
    return ReproduceSettings(
        dataset=dataset,
        protocol="label-conditioned",
        train=learning.model_copy(update={"condition": condition}),
    )


def _digits(latent: int) -> ReproduceSettings:
    """Strokes set upright, latents of a VAE, a mixture in a map of them, its sure members taught."""
    learning = _learning(latent, ConvBody(widths=(32, 64)), epochs=6)
    return ReproduceSettings(
        dataset="digits",
        protocol="unsupervised",
        train=learning.model_copy(update={"augmentation": _strokes(1.0), "beta": 0.2}),
        upright=True,
        map_dimensions=2,
        teach_epochs=3,
        teach_augmentation=_strokes(2.0),
    )


def _garments(latent: int) -> ReproduceSettings:
    """Latents of views, even clusters in a spectral map of them, their sure members taught."""
    learning = _learning(latent, ConvBody(widths=(32, 64, 128)), epochs=24)
    views = PairedViews(temperature=0.5, augmentation=GARMENTS)
    return ReproduceSettings(
        dataset="fashion",
        protocol="unsupervised",
        train=learning.model_copy(update={"views": views, "batch_size": 256, "loss": "mse", "beta": 0.2}),
        map_kind="spectral",
        map_dimensions=CLASSES,
        even=True,
        teach_epochs=3,
        teach_augmentation=GARMENTS,
    )


def _learning(latent: int, body: ConvBody, *, epochs: int) -> TrainSettings:
    return TrainSettings(
        latent=latent,
        body=body,
        augmentation=Augmented(flips=False),
        epochs=epochs,
        batch_size=128,
        learning_rate=3e-3,
        schedule="one-cycle",
    )


def _strokes(strength: float) -> Augmented:
    """Return what may change in a picture of a digit without making it another's."""
    return Augmented(
        flips=False,
        turn_deg=5.0 * strength,
        shear=0.05 * strength,
        shift=0.03 * strength,
        scale=0.05 * strength,
    )
