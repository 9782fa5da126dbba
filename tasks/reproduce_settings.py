"""Settings of reproduce: the two protocols under which the study is repeated on public pictures."""

from typing import Literal

from pydantic import Field

from tasks.sections import Section
from tasks.train_settings import Augmented, ConvBody, NoCondition, PlainCondition, TrainSettings

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
    map_dimensions: int = Field(
        0, ge=0, description="Dimensions of the UMAP in which clusters are sought; 0: in the vectors."
    )
    map_neighbours: int = Field(20, ge=2, description="Neighbours in the UMAP.")
    map_points: int = Field(
        20_000, ge=100, description="Training vectors the UMAP is made of; others are placed in it."
    )
    teach_epochs: int = Field(
        0,
        ge=0,
        description="Passes in which a network learns the clusters found, to name them; 0: none.",
    )
    teach_augmentation: Augmented = Field(
        Augmented(flips=False), description="How pictures are changed while their clusters are learned."
    )
    teach_from: float = Field(
        0.95, ge=0, le=1, description="Least probability under the mixture of a cluster that is taught."
    )
    images: int | None = Field(None, ge=100, description="First images of each split that are used; all.")


def recipe(dataset: Dataset, protocol: Protocol, latent: int) -> ReproduceSettings:
    """Return the settings with which a row is reproduced, for some latent size."""
    told = protocol == "label-conditioned"
    digits = dataset == "digits"
    return ReproduceSettings(
        dataset=dataset,
        protocol=protocol,
        train=TrainSettings(
            latent=latent,
            body=ConvBody(widths=(32, 64)),
            condition=PlainCondition(by="condition", embedding=latent) if told else NoCondition(),
            augmentation=_augmentation(dataset) if not told else Augmented(flips=False),
            epochs=2 if told else 6,
            batch_size=128,
            learning_rate=3e-3,
            schedule="one-cycle",
            loss="bce" if digits or told else "mse",
            beta=1.0 if told else 0.2,
        ),
        upright=digits and not told,
        map_dimensions=0 if told else 2 if digits else 10,
        teach_epochs=0 if told else 3,
        teach_augmentation=_augmentation(dataset, 2.0),
    )


def _augmentation(dataset: Dataset, strength: float = 1.0) -> Augmented:
    """Return what may change in a picture of this kind without making it another's."""
    mirror = dataset == "fashion"
    turn = 0.0 if mirror else 5.0 * strength
    shear = 0.0 if mirror else 0.05 * strength
    shift, scale = 0.03 * strength, 0.05 * strength
    return Augmented(flips=False, mirror=mirror, turn_deg=turn, shear=shear, shift=shift, scale=scale)
