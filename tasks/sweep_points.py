"""The points of a sweep: which combinations, and the training that each of them is."""

import itertools
from dataclasses import asdict, dataclass
from typing import Any

from pydantic import ValidationError

from storage.errors import InputError
from tasks.cluster_settings import ClusterSettings
from tasks.sweep_settings import ModelName, SweepSettings
from tasks.train_settings import (
    ConvBody,
    DenseBody,
    MixturePrior,
    PlainCondition,
    RefinedCondition,
    TrainSettings,
)


@dataclass(frozen=True)
class Point:
    """One training of a sweep."""

    latent: int
    beta: float
    model: ModelName
    seed: int

    @property
    def name(self) -> str:
        """What it is called, in paths too."""
        return f"latent-{self.latent}-beta-{self.beta:g}-{self.model}-seed-{self.seed}"

    def facts(self) -> dict[str, Any]:
        """Return the point as a row."""
        return asdict(self)


def points(settings: SweepSettings) -> list[Point]:
    """Return every combination, each once."""
    every = itertools.product(settings.latents, settings.betas, settings.models, settings.seeds)
    return list(dict.fromkeys(Point(*one) for one in every))


def outermost(settings: SweepSettings) -> list[Point]:
    """Return the points between which a search looks: if these can be trained, so can the others."""
    latents, betas = (tuple(sorted({min(ends), max(ends)})) for ends in (settings.latents, settings.betas))
    return points(settings.model_copy(update={"latents": latents, "betas": betas}))


def training_of(point: Point, given: TrainSettings, clusters: ClusterSettings) -> TrainSettings:
    """Return the training of a point: as given, but for what the point says; the same chips are held out.

    Raises
    ------
    InputError
        The point cannot be trained, such as VaDE in fewer epochs than its pretraining.
    """
    number = clusters.n_clusters
    changes: dict[ModelName, dict[str, Any]] = {
        "given": {},
        "conv": {"body": given.body if isinstance(given.body, ConvBody) else ConvBody()},
        "dense": {"body": given.body if isinstance(given.body, DenseBody) else DenseBody()},
        "conditional": {"condition": PlainCondition()},
        "refined": {"condition": RefinedCondition()},
        "vade": {
            "prior": MixturePrior(
                clusters=number if isinstance(number, int) else number.most,
                pretrain_epochs=max(1, min(MixturePrior().pretrain_epochs, given.epochs // 2)),
            )
        },
    }
    plain = given.model_dump() | {
        "latent": point.latent,
        "beta": point.beta,
        "seed": point.seed,
        # only where it says something: the same training keeps the same key
        "split_seed": None if point.seed == given.seed_of_split else given.seed_of_split,
    }
    plain |= {name: part.model_dump() for name, part in changes[point.model].items()}
    try:
        return TrainSettings.model_validate(plain)
    except ValidationError as error:
        raise InputError(f"{point.name} cannot be trained: {error.errors()[0]['msg']}") from error
