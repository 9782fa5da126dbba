"""Settings of extract: which cells become patches, how large, how turned, in which numbers."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from tasks.sections import Section


class Crop(Section):
    """How large a patch is: given in px or um, or else from the data."""

    size_px: int | None = Field(None, ge=8, le=1024, description="Edge of a patch in px.")
    size_um: float | None = Field(
        None, gt=0, description="Edge of a patch in um; rounded up to a multiple of 8 px."
    )
    percentile: float = Field(
        99.0,
        ge=50,
        le=100,
        description="Without either, the edge is such that so many percent of all nuclei's longer sides fit, "
        "rounded up to a multiple of 8 px.",
    )

    @property
    def is_sized(self) -> bool:
        """Whether the settings say how large a patch is; else the data do."""
        return self.size_px is not None or self.size_um is not None

    @model_validator(mode="after")
    def _one_size(self) -> Self:
        if self.size_px is not None and self.size_um is not None:
            raise ValueError("expected size_px or size_um, found both; leave one out")
        return self


class CropAndPad(Crop):
    """Cut true-size patches: what is larger than the patch is cut off, the rest filled up."""

    kind: Literal["pad"] = "pad"


class CropAndResize(Crop):
    """Scale each nucleus to fill its patch, keeping its aspect ratio."""

    kind: Literal["resize"] = "resize"


class AreaLimits(Section):
    """Which sizes of nuclei are taken."""

    unit: Literal["um2", "px"] = Field("um2", description="Unit of both limits.")
    least: float = Field(0.0, ge=0, description="Smaller nuclei are left out.")
    most: float | None = Field(None, gt=0, description="Larger nuclei are left out; None: no limit.")


class ExtractSettings(Section):
    """From labels to patches."""

    crop: Annotated[CropAndPad | CropAndResize, Field(discriminator="kind")] = CropAndPad()
    turn: Literal["groove", "long_axis", "none"] = Field(
        "groove",
        description="What is vertical in a patch: the grooves, as in the clean image; each nucleus's long "
        "axis; or what was so in the recording, the clean image's rotation being undone.",
    )
    keep_background: bool = Field(
        False, description="Keep the pixels outside the nucleus's mask; off sets them to 0."
    )
    channels: tuple[int, ...] | None = Field(
        None, min_length=1, description="Channels of the clean image, from 0; None: all."
    )
    dtype: Literal["float16", "uint8", "uint16"] = Field(
        "float16",
        description="Numbers of a patch: 0 to 1 as float16, or as shares of the largest uint8 or uint16.",
    )
    area: AreaLimits | None = Field(None, description="Nuclei of other sizes are left out; None: none are.")
    edge_cells: Literal["drop", "keep"] = Field(
        "drop", description="Nuclei cut by the border of the field: left out of the patches, or kept."
    )
