"""Settings of preprocess, from raw to clean: one small model for each way to do a step."""

from typing import Annotated, Literal

from pydantic import Field, field_validator

from tasks.sections import Section


class Off(Section):
    """Leave a step out."""

    kind: Literal["off"] = "off"


class FlatField(Section):
    """Divide by how unevenly the chip was lit, as estimated from the frames of all its acquisitions."""

    kind: Literal["flat_field"] = "flat_field"
    dark_counts: float = Field(
        0.0,
        ge=0,
        description="What the camera counts without light, from its data sheet or a frame with the shutter "
        "closed; too low a number leaves part of the shading in the nuclei.",
    )
    max_frames: int = Field(
        64, ge=4, description="Frames of a chip that are looked at, spread over them all; more are slower."
    )


class TimePoints(Section):
    """Which time points become frames of the clean image."""

    first: int = Field(0, ge=0, description="First time point, counted from 0.")
    last: int | None = Field(None, ge=0, description="Last time point, included; none: to the end.")
    step: int = Field(1, ge=1, description="Take every time point, every second, every third ...")

    def of(self, count: int) -> tuple[int, ...]:
        """Return which of so many time points are taken; perhaps none."""
        last = count - 1 if self.last is None else min(self.last, count - 1)
        return tuple(range(self.first, last + 1, self.step))


class Rotation(Section):
    """What both ways to rotate have in common."""

    interpolation: Literal["nearest", "linear", "cubic"] = Field(
        "linear", description="How values between pixels are found; cubic is sharper, and may overshoot."
    )
    grow: bool = Field(
        True, description="Let frames grow so that no pixel is lost; if false they keep their size."
    )


class RotationEstimated(Rotation):
    """Turn each position so that its grooves, or its nuclei where no groove shows, stand vertical."""

    kind: Literal["estimate"] = "estimate"
    min_confidence: float = Field(
        0.4, ge=0, le=1, description="Below this confidence of the vote an image is left as it is."
    )


class RotationFixed(Rotation):
    """Turn every image by one angle."""

    kind: Literal["fixed"] = "fixed"
    angle_deg: float = Field(..., gt=-180, le=180, description="Counter-clockwise angle in degrees.")


class Grooves(Section):
    """Replace what is darker than any nucleus, grooves and ridges alike, by its surroundings' mean."""

    kind: Literal["threshold"] = "threshold"
    threshold: float = Field(..., description="Value, in counts of the raw image, that nuclei reach.")
    radius_px: int = Field(
        30, ge=1, description="Half the edge of the surroundings in px; at least a groove's period."
    )


class TopHat(Section):
    """Take the background off by a top-hat with a disc."""

    kind: Literal["top_hat"] = "top_hat"
    shape: Literal["black", "white"] = Field(
        "black",
        description="black: what is darker and narrower than the disc sinks, as grooves and gaps; "
        "white: what is wider than the disc goes, as an uneven ground.",
    )
    radius_px: int = Field(15, ge=1, description="Radius of the disc in px.")


class Profile(Section):
    """What suits one density of cells."""

    kernel_px: int | None = Field(..., ge=8, description="As clahe.kernel_px.")
    clip_limit: float = Field(..., gt=0, le=1, description="As clahe.clip_limit.")
    tv_weight: float = Field(..., gt=0, description="As tv.weight.")


class Profiles(Section):
    """What the profiles set. Chosen by `python -m tests.benchmarks density`."""

    sparse: Profile = Profile(kernel_px=64, clip_limit=0.01, tv_weight=0.05)
    medium: Profile = Profile(kernel_px=48, clip_limit=0.0175, tv_weight=0.05)
    dense: Profile = Profile(kernel_px=48, clip_limit=0.02, tv_weight=0.08)


class ByProfile(Section):
    """Take what the profile of the recording's density says."""

    kind: Literal["profile"] = "profile"


class Clahe(Section):
    """Contrast-limited adaptive histogram equalisation (Zuiderveld 1994)."""

    kind: Literal["clahe"] = "clahe"
    kernel_px: int | None = Field(
        None, ge=8, description="Edge of the contextual region in px; none: a tenth of the frame's height."
    )
    clip_limit: float = Field(
        0.01, gt=0, le=1, description="Slope limit; higher gives more contrast and more noise."
    )
    nbins: int = Field(256, ge=2, le=16384, description="Bins of the histograms.")


class Percentiles(Section):
    """Set the darkest and brightest pixels to two percentiles."""

    kind: Literal["percentiles"] = "percentiles"
    low: float = Field(0.0, ge=0, lt=50, description="Percentile below which values are cut.")
    high: float = Field(98.5, gt=50, le=100, description="Percentile above which values are cut.")


class Estimated(Section):
    """Cut at a high percentile that depends on how much the cells cover, so that few cells are not lost."""

    kind: Literal["estimated"] = "estimated"
    low: float = Field(0.0, ge=0, lt=50, description="Percentile below which values are cut.")
    high: float = Field(98.5, gt=50, le=100, description="Least percentile above which values are cut.")
    share: float = Field(
        0.05,
        gt=0,
        le=1,
        description="Most of the cells' area that is cut; less keeps bright nuclei apart.",
    )


class Limits(Section):
    """Cut at given values."""

    kind: Literal["limits"] = "limits"
    low: float = Field(0.0, ge=0, lt=1, description="Value, of a frame in [0, 1], below which is cut.")
    high: float = Field(..., gt=0, le=1, description="Value, of a frame in [0, 1], above which is cut.")

    @field_validator("high")
    @classmethod
    def _in_order(cls, high: float, info: object) -> float:
        low = getattr(info, "data", {}).get("low", 0.0)
        if high <= low:
            raise ValueError(f"expected more than low, which is {low}")
        return high


class TotalVariation(Section):
    """Total-variation denoising (Chambolle 2004)."""

    kind: Literal["tv"] = "tv"
    weight: float = Field(0.02, gt=0, description="Strength on images in [0, 1]; higher is smoother.")
    eps: float = Field(2e-4, gt=0, description="Relative change of the cost at which the iteration stops.")
    max_num_iter: int = Field(200, ge=1, description="Most iterations for one frame.")


class Sigmoid(Section):
    """Raise the contrast about one value, at the end."""

    kind: Literal["sigmoid"] = "sigmoid"
    cutoff: float = Field(0.5, ge=0, le=1, description="Value that becomes one half.")
    gain: float = Field(10.0, gt=0, description="Steepness; higher parts dark and bright more.")


class PreprocessSettings(Section):
    """From raw to clean: even light, rotate, clean up, CLAHE, normalise, clip, denoise; each can be off."""

    channel: int | str = Field(0, description="Channel that shows the nuclei, by index (from 0) or name.")
    z: Literal["max", "each"] = Field(
        "max", description="z planes: their maximum projection, or each plane of its own."
    )
    time_points: TimePoints = TimePoints()
    looked_at: int = Field(
        8, ge=1, description="Time points that are looked at for angle and density; more are steadier."
    )
    profile: Literal["auto", "sparse", "medium", "dense"] = Field(
        "auto", description="Profile of the cells' density: estimated from each recording, or fixed."
    )
    profiles: Profiles = Profiles()
    illumination: Annotated[FlatField | Off, Field(discriminator="kind")] = Off()
    rotation: Annotated[RotationEstimated | RotationFixed | Off, Field(discriminator="kind")] = (
        RotationEstimated()
    )
    grooves: Annotated[Grooves | Off, Field(discriminator="kind")] = Off()
    background: Annotated[TopHat | Off, Field(discriminator="kind")] = Off()
    contrast: Annotated[ByProfile | Clahe | Off, Field(discriminator="kind")] = ByProfile()
    clip: Annotated[Estimated | Percentiles | Limits | Off, Field(discriminator="kind")] = Estimated()
    denoise: Annotated[ByProfile | TotalVariation | Off, Field(discriminator="kind")] = ByProfile()
    sigmoid: Annotated[Sigmoid | Off, Field(discriminator="kind")] = Off()
