"""Settings of train: the network, its prior, its condition, and how it learns."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from tasks.sections import Section


class ConvBody(Section):
    """Strided convolutions: few weights, at home with neighbourhoods."""

    kind: Literal["conv"] = "conv"
    widths: tuple[int, ...] = Field((16, 32, 64), description="Channels after each halving of the patch.")


class DenseBody(Section):
    """Every pixel to every unit: many weights, for small patches."""

    kind: Literal["dense"] = "dense"
    widths: tuple[int, ...] = Field((512, 256), description="Units of each hidden layer.")


class NoCondition(Section):
    """The network is told nothing but the patch."""

    kind: Literal["none"] = "none"


class _Condition(Section):
    """What the decoder is told, so that the latents need not say it."""

    by: Literal["chip", "condition", "acquisition", "replicate"] = Field(
        "chip",
        description="Column of the cells. What is known and unwanted, as the chip with its light; telling "
        "the condition that is to be compared would hide it.",
    )
    embedding: int = Field(8, ge=1, description="Numbers learned for each value of the column.")
    freeing: float = Field(
        0.0,
        ge=0,
        description="How hard latents are freed of the condition, nats; 100 is hard, 0 leaves it to beta.",
    )


class PlainCondition(_Condition):
    """Z' = (Z, E): the embedding E of the condition joined to the latents Z."""

    kind: Literal["plain"] = "plain"


class RefinedCondition(_Condition):
    """Z' = sigmoid(f(Z), g(E)): a fixed share of the numbers is the condition's."""

    kind: Literal["refined"] = "refined"
    alpha: float = Field(4.0, gt=1, description="1 / alpha of the joined numbers are the condition's.")


class NormalPrior(Section):
    """Latents of all cells together shall look like one standard normal."""

    kind: Literal["normal"] = "normal"


class MixturePrior(Section):
    """VaDE: latents shall look like a mixture of Gaussians, one a cluster, learned with the network."""

    kind: Literal["mixture"] = "mixture"
    clusters: int = Field(4, ge=2, le=200, description="Gaussians of the mixture.")
    pretrain_epochs: int = Field(
        10, ge=1, description="First epochs, in which reconstruction alone counts; the mixture starts then."
    )


class Augmented(Section):
    """How patches are changed at random each time they are shown."""

    flips: bool = Field(True, description="Up-down and left-right; both together are a turn by 180 degrees.")
    mirror: bool = Field(False, description="Left-right alone, where up and down differ.")
    intensity: float = Field(0.0, ge=0, le=1, description="Largest relative change of intensity.")
    gamma: float = Field(
        0.0, ge=0, le=3, description="Largest change of contrast, natural logarithm of an exponent."
    )
    light: float = Field(
        0.0, ge=0, le=1, description="Largest relative change of intensity, smooth over the patch."
    )
    turn_deg: float = Field(0.0, ge=0, le=180, description="Largest turn, in degrees.")
    shift: float = Field(0.0, ge=0, le=1, description="Largest shift, as a share of the patch's side.")
    scale: float = Field(0.0, ge=0, le=1, description="Largest change of size, as a natural logarithm.")
    shear: float = Field(0.0, ge=0, le=1, description="Largest shear.")


class PairedViews(Section):
    """Latents say what two views of a cell share, however it is turned and lit; the decoder only looks on.

    A contrastive loss (Chen et al., 2020). It finds kinds of cells where a reconstruction spends its latents
    on how a cell is turned.
    """

    weight: float = Field(100.0, gt=0, description="Weight of the views' loss beside beta's divergence.")
    temperature: float = Field(
        0.3, gt=0, le=10, description="Scale of likeness: smaller looks more at the nearest other cells."
    )
    projection: int = Field(32, ge=2, le=1024, description="Numbers in which views are compared.")
    augmentation: Augmented = Field(
        Augmented(intensity=0.5, gamma=0.7, light=0.35, turn_deg=180.0, shift=0.035, scale=0.1),
        description="What may differ between views of one cell, so that the latents leave it out.",
    )


class TrainSettings(Section):
    """The variational autoencoder and how it learns."""

    latent: int = Field(16, ge=1, le=1024, description="Dimensions of the latent space.")
    body: Annotated[ConvBody | DenseBody, Field(discriminator="kind")] = ConvBody()
    condition: Annotated[NoCondition | PlainCondition | RefinedCondition, Field(discriminator="kind")] = (
        NoCondition()
    )
    prior: Annotated[NormalPrior | MixturePrior, Field(discriminator="kind")] = NormalPrior()
    augmentation: Augmented = Augmented()
    views: PairedViews | None = Field(
        None, description="Learn the latents from pairs of views; None: from reconstruction."
    )
    epochs: int = Field(20, ge=1, description="Passes over the training patches.")
    batch_size: int = Field(64, ge=1, description="Patches in one step of the optimiser.")
    learning_rate: float = Field(1e-3, gt=0, description="Largest step size of Adam.")
    schedule: Literal["constant", "one-cycle"] = Field(
        "constant", description="The step over the epochs: the same, or up and then down along a cosine."
    )
    loss: Literal["bce", "mse"] = Field("bce", description="Reconstruction loss.")
    beta: float = Field(
        1.0, ge=0, description="Weight of the divergence; higher gives a smoother latent space."
    )
    beta_warmup_epochs: int = Field(
        0, ge=0, description="Epochs in which beta rises from 0; holds off posterior collapse."
    )
    beta_cycle_epochs: int = Field(
        0, ge=0, description="Length of a cycle after which the warm-up starts anew; 0: once."
    )
    free_nats: float = Field(
        0.0, ge=0, description="Divergence of each latent dimension that costs nothing, in nats."
    )
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto",
        description="Numbers in which layers multiply; auto: bfloat16 where the processor is made for it.",
    )
    validation_share: float = Field(
        0.2, ge=0, lt=1, description="Share of cells held out to watch the training; whole chips."
    )
    test_share: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="Share of cells held out from every choice, for the last word; whole chips.",
    )
    seed: int = Field(0, ge=0, description="Seed of weights, order and noise.")
    split_seed: int | None = Field(
        None,
        ge=0,
        exclude_if=lambda value: value is None,  # so that keys of before hold
        description="Seed of which chips are held out, where several seeds are compared; none: that of seed.",
    )

    @property
    def seed_of_split(self) -> int:
        """Seed of which chips are held out."""
        return self.seed if self.split_seed is None else self.split_seed

    @model_validator(mode="after")
    def _leaves_epochs_and_cells(self) -> "TrainSettings":
        if isinstance(self.prior, MixturePrior) and self.prior.pretrain_epochs >= self.epochs:
            raise ValueError(f"expected epochs above prior.pretrain_epochs, found {self.epochs}: raise it")
        if isinstance(self.condition, RefinedCondition) and not (
            1 <= round(self.latent / self.condition.alpha) < self.latent
        ):
            raise ValueError("expected condition.alpha to leave latents to the condition and to the cell")
        if self.views is not None and isinstance(self.prior, MixturePrior):
            raise ValueError("views and a mixture prior both shape the latents; leave one out")
        if self.validation_share + self.test_share >= 1:
            raise ValueError("expected validation_share and test_share to leave something to learn from")
        return self
