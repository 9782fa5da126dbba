"""Settings of refine train."""

from pydantic import Field, field_validator

from tasks.sections import Section

SCRATCH = "scratch"
CHAMPION = "champion"


class RefineSettings(Section):
    """How a segmenter learns from corrected masks."""

    base: str = Field(
        "nuclei-small",
        description="Network to start from: a shipped one, a Cellpose file, `champion`, or `scratch`.",
    )
    widths: tuple[int, ...] = Field(
        (16, 32, 64, 128), description="Feature maps of each scale of a network from scratch."
    )
    diameter_px: float = Field(
        17.0,
        gt=0,
        description="What a network from scratch rescales nuclei to, in px; more is finer and slower.",
    )
    steps: int = Field(600, ge=1, description="Most steps of the optimiser; a step is `batch_size` views.")
    batch_size: int = Field(8, ge=1, description="Views in a step; more is steadier and slower.")
    crop_px: int = Field(192, ge=8, description="Edge of a view in px of the network, a multiple of 8.")
    learning_rate: float = Field(
        3e-4, gt=0, description="Largest step size; lower keeps more of what the base has learned."
    )
    weight_decay: float = Field(1e-4, ge=0, description="How strongly weights are drawn to 0.")
    average_decay: float = Field(
        0.99, ge=0, lt=1, description="Share of the averaged weights that a step keeps; higher is smoother."
    )
    evaluate_every: int = Field(
        50, ge=1, description="Steps between two looks at the pictures that decide when to stop."
    )
    patience: int = Field(
        4, ge=1, description="Looks without a better score until learning stops; the best network is kept."
    )
    watch_share: float = Field(
        0.15, ge=0, lt=1, description="Share of the learning pictures that only decide when to stop."
    )
    hold_out_share: float = Field(
        0.2, gt=0, lt=1, description="Share of chips (or fields of view) that nothing is learned from."
    )
    simulated: int = Field(
        0, ge=0, description="Simulated pictures to learn from as well, so that less is forgotten."
    )
    cleaned: bool = Field(
        False,
        description="Learn from each picture a second time as preprocessing leaves it; for raw pictures.",
    )
    margin: float = Field(
        0.01,
        ge=0,
        description="How much the mean of AP at IoU 0.5 and 0.75 on the hold-out must grow, to be champion.",
    )
    seed: int = Field(0, ge=0, description="Seed of the hold-out, of views and of simulated pictures.")

    @field_validator("widths")
    @classmethod
    def _some_widths(cls, widths: tuple[int, ...]) -> tuple[int, ...]:
        if not widths or min(widths) < 1:
            raise ValueError("expected one width or more, each at least 1, such as 16,32,64,128")
        return widths
