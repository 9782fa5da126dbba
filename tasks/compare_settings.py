"""Settings of compare: the score that ranks models, and how sure a champion's successor must be."""

from pydantic import Field

from tasks.sections import Section
from tasks.sweep_settings import ScoreName


class CompareSettings(Section):
    """How models are ranked on cells that none of them learned from."""

    by: ScoreName = Field("auto", description="Score that ranks; auto: ari where the truth is known.")
    most_cells: int = Field(
        5000, ge=10, description="Held-out cells scored at most, drawn; a silhouette takes their square."
    )
    draws: int = Field(500, ge=10, description="Draws of the bootstrap.")
    level: float = Field(
        0.95, gt=0, lt=1, description="Share of the draws within the interval that a gain must clear."
    )
    seed: int = Field(0, ge=0, description="Seed of cells and draws.")
