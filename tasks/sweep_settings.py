"""Settings of sweep: which trainings are compared with each other."""

from typing import Literal, Self

from pydantic import Field, model_validator

from tasks.sections import Section

ModelName = Literal["given", "conv", "dense", "conditional", "refined", "vade"]
ScoreName = Literal[
    "auto", "silhouette", "davies_bouldin", "calinski_harabasz", "accuracy", "purity", "nmi", "ari"
]


class SweepSettings(Section):
    """The points: every combination, or a search between the least and the most of the numbers."""

    latents: tuple[int, ...] = Field((8, 16, 32), min_length=1, description="Latent sizes.")
    betas: tuple[float, ...] = Field((1.0,), min_length=1, description="Weights of the divergence.")
    models: tuple[ModelName, ...] = Field(
        ("given",),
        min_length=1,
        description="`given`: as [train] says; or that with another body, condition or prior.",
    )
    seeds: tuple[int, ...] = Field(
        (0,), min_length=1, description="Seeds of weights and order; the chips held out stay the same."
    )
    trials: int = Field(
        0,
        ge=0,
        description="Points of a search, which the scores of those before lead, numbers from their least to "
        "their most on a log scale; 0: every combination.",
    )
    trial_seed: int = Field(0, ge=0, description="Seed of the search.")
    by: ScoreName = Field(
        "auto", description="Score that ranks, on validation cells; auto: ari where the truth is known."
    )

    @model_validator(mode="after")
    def _can_be_searched(self) -> Self:
        if min(self.latents) < 1 or min(self.betas) < 0 or min(self.seeds) < 0:
            raise ValueError("expected latents of 1 or more, betas and seeds of 0 or more")
        if self.trials and min(self.betas) <= 0:
            raise ValueError("expected betas above 0 where they are sought on a log scale")
        return self
