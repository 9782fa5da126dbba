"""OME-Zarr 0.5 metadata, typed and validated by yaozarrs. Pixel sizes that are not known stay unknown."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any

from pydantic import ValidationError
from yaozarrs import v05, validate_zarr_store

AXES = ("t", "c", "z", "y", "x")
LABEL_AXES = ("t", "z", "y", "x")
COLOURS = ("FFFFFF", "56B4E9", "E69F00", "009E73", "CC79A7")


@dataclass(frozen=True)
class ImageMetadata:
    """What is known about an image beside its pixels; None is "the file does not say".

    Attributes
    ----------
    pixel_size_um
        (z, y, x) in micrometres.
    windows
        One (low, high) display range a channel, in pixel values.
    """

    name: str
    pixel_size_um: tuple[float | None, float | None, float | None] = (None, None, None)
    time_interval_s: float | None = None
    channel_names: tuple[str, ...] = ()
    windows: tuple[tuple[float, float], ...] = ()
    acquired: str | None = None
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def unknown(self) -> list[str]:
        """The names of what the file did not say."""
        facts = {
            "pixel_size_y_um": self.pixel_size_um[1],
            "pixel_size_x_um": self.pixel_size_um[2],
            "time_interval_s": self.time_interval_s,
            "channel_names": self.channel_names or None,
            "acquired": self.acquired,
            "stage_position_um": self.extra.get("stage_position_um"),
            "objective": self.extra.get("objective"),
        }
        return [name for name, value in facts.items() if value is None]


def image_attributes(metadata: ImageMetadata, levels: int, limits: tuple[float, float]) -> dict[str, Any]:
    """Return the validated attributes of an image group with axes t c z y x.

    Parameters
    ----------
    levels
        Number of pyramid levels, each half the one before in y and x.
    limits
        Smallest and largest value the data type can show.
    """
    channels = [
        v05.OmeroChannel(
            label=name or f"channel {index}",
            color=COLOURS[index % len(COLOURS)],
            active=True,
            window=v05.OmeroWindow(min=limits[0], max=limits[1], start=window[0], end=window[1]),
        )
        for index, (name, window) in enumerate(zip_longest(metadata.channel_names, metadata.windows))
    ]
    image = v05.Image(
        multiscales=[_multiscale(metadata, levels, AXES)],
        omero=v05.Omero(channels=channels) if channels else None,
    )
    return _document(image, metadata)


def label_attributes(metadata: ImageMetadata, levels: int) -> dict[str, Any]:
    """Return the validated attributes of a label image with axes t z y x."""
    image = v05.LabelImage.model_validate(
        {
            "multiscales": [_multiscale(metadata, levels, LABEL_AXES)],
            "image-label": v05.ImageLabel(version="0.5", source=v05.LabelSource(image="../../")),
        }
    )
    return _document(image, metadata)


def labels_group_attributes(names: Sequence[str]) -> dict[str, Any]:
    """Return the validated attributes of the group that lists an image's labels."""
    group = v05.LabelsGroup(labels=list(names))
    return {"ome": group.model_dump(mode="json", exclude_none=True)}


def fault(attributes: Any) -> str | None:
    """Return what is wrong with the attributes of an image group; None if they are valid OME-Zarr 0.5."""
    try:
        described = attributes["ome"]
        model = v05.LabelImage if "image-label" in described else v05.Image
        model.model_validate(described)
        read_metadata(attributes)
    except ValidationError as error:
        first = error.errors()[0]
        return f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}"
    except (KeyError, TypeError) as error:
        return f"no {error}" if isinstance(error, KeyError) else "no OME-Zarr metadata"
    return None


def store_fault(folder: str) -> str | None:
    """Return what is wrong with an OME-Zarr image in a local folder, its arrays included; None if nothing."""
    try:
        validate_zarr_store(folder)
    except (ValueError, OSError) as error:
        return str(error).strip().splitlines()[0]
    return None


def read_metadata(attributes: dict[str, Any]) -> ImageMetadata:
    """Return what `image_attributes` or `label_attributes` was told."""
    known = attributes["chipcyte"]
    return ImageMetadata(
        name=known["name"],
        pixel_size_um=tuple(known["pixel_size_um"]),
        time_interval_s=known["time_interval_s"],
        channel_names=tuple(known["channel_names"]),
        windows=tuple(tuple(window) for window in known["windows"]),
        acquired=known["acquired"],
        extra=known["extra"],
    )


def _document(image: v05.Image, metadata: ImageMetadata) -> dict[str, Any]:
    ours = {
        "name": metadata.name,
        "pixel_size_um": list(metadata.pixel_size_um),
        "time_interval_s": metadata.time_interval_s,
        "channel_names": list(metadata.channel_names),
        "windows": [list(window) for window in metadata.windows],
        "acquired": metadata.acquired,
        "extra": metadata.extra,
        "unknown": metadata.unknown,
    }
    return {"ome": image.model_dump(mode="json", exclude_none=True, by_alias=True), "chipcyte": ours}


def _multiscale(metadata: ImageMetadata, levels: int, axes: Sequence[str]) -> v05.Multiscale:
    return v05.Multiscale(
        name=metadata.name,
        axes=[_axis(name, metadata) for name in axes],
        datasets=[
            v05.Dataset(
                path=str(level),
                coordinateTransformations=[
                    v05.ScaleTransformation(scale=[_scale(name, level, metadata) for name in axes])
                ],
            )
            for level in range(levels)
        ],
    )


def _size(axis: str, metadata: ImageMetadata) -> float | None:
    if axis == "t":
        return metadata.time_interval_s
    if axis == "c":
        return None
    return metadata.pixel_size_um["zyx".index(axis)]


def _axis(name: str, metadata: ImageMetadata) -> Any:
    """An axis bears a unit only if its scale is known."""
    known = _size(name, metadata) is not None
    if name == "c":
        return v05.ChannelAxis(name="c")
    if name == "t":
        return v05.TimeAxis(name="t", unit="second" if known else None)
    return v05.SpaceAxis(name=name, unit="micrometer" if known else None)


def _scale(axis: str, level: int, metadata: ImageMetadata) -> float:
    size = _size(axis, metadata)
    size = 1.0 if size is None else size
    return size * 2**level if axis in "yx" else size
