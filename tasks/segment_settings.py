"""Settings of the segmentation."""

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from tasks.refine_settings import CHAMPION
from tasks.sections import Section


class Network(Section):
    """A network that predicts flows to the middle of each nucleus."""

    kind: Literal["network"] = "network"
    model: str = Field(
        CHAMPION,
        description="`champion`: the best that `refine train` made for this store, until then nuclei-small; "
        "or the shipped network by its name, or one of Cellpose: its file, or its name in Cellpose's folder; "
        "or `segmenter/KEY`: one that learned in this store.",
    )
    diameter_um: float | Literal["auto"] = Field(
        "auto",
        description="Typical diameter of a nucleus in um, or auto: found by a first look at some frames.",
    )
    diameter_px: float | Literal["auto"] = Field(
        "auto", description="The same in px, used where diameter_um is auto or the pixel size is not known."
    )
    looked_at: int = Field(
        5, ge=1, description="Frames in which the diameter is looked for, evenly spread over time."
    )
    flow_threshold: float = Field(
        0.4,
        ge=0,
        description="Nuclei whose flows fit their shape worse are dropped, squared distance of unit vectors; "
        "less is stricter, 0 keeps all.",
    )
    cellprob_threshold: float = Field(
        0.0, description="Logit above which a pixel is in a nucleus; less gives larger and more nuclei."
    )

    @field_validator("diameter_um", "diameter_px")
    @classmethod
    def _above_zero(cls, diameter: float | str) -> float | str:
        if isinstance(diameter, float | int) and not 0 < diameter < float("inf"):
            raise ValueError("expected a diameter above 0, or auto")
        return diameter


class Threshold(Section):
    """A threshold of each nucleus's own, and a watershed; needs no network."""

    kind: Literal["threshold"] = "threshold"
    diameter_um: float = Field(12.0, gt=0, description="Typical diameter of a nucleus in um.")
    diameter_px: float = Field(
        24.0, gt=0, description="Typical diameter in px, used where the pixel size is not known."
    )


class SegmentSettings(Section):
    """From clean to labels and cells."""

    method: Annotated[Network | Threshold, Field(discriminator="kind")] = Network()
    min_area_um2: float | None = Field(
        None,
        ge=0,
        description="Smaller objects are dropped; in um2, or px where the pixel size is not known. None: a "
        "share of a disc of the diameter.",
    )
    max_area_um2: float | None = Field(
        None, gt=0, description="Larger objects are dropped; in um2, or px where the pixel size is not known."
    )
    edge_cells: Literal["keep", "drop"] = Field(
        "keep", description="Nuclei that touch the border of the frame: kept among the labels, or dropped."
    )
    stitch_z: float | None = Field(
        None,
        gt=0,
        le=1,
        description="Nuclei of neighbouring z planes get one label if their overlap is at least this share "
        "of their union. None: each plane by itself. preprocess.z = max makes one plane of all.",
    )
    tile_px: int = Field(
        1024,
        ge=64,
        description="Edge of the tiles labelled at a time, a power of two; more needs more memory.",
    )

    @field_validator("method", mode="before")
    @classmethod
    def _by_name(cls, method: Any) -> Any:
        """Take the name of a method for the method with its defaults."""
        return {"kind": method} if isinstance(method, str) else method

    @field_validator("tile_px")
    @classmethod
    def _halves_evenly(cls, tile_px: int) -> int:
        """Each level of the pyramid halves the tile, so that a tile is a whole shard in all of them."""
        if tile_px & (tile_px - 1):
            raise ValueError(f"expected a power of two, such as {1 << (tile_px.bit_length() - 1)}")
        return tile_px
