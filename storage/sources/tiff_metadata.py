"""What a TIFF file says about its pixels. A fact that the file does not hold stays None."""

from datetime import datetime
from typing import Any

import tifffile

from storage.ome import ImageMetadata

MICROMETRES = {"µm": 1.0, "um": 1.0, "micron": 1.0, "microns": 1.0, "\\u00b5m": 1.0, "micrometer": 1.0}
LENGTHS_UM = {**MICROMETRES, "nm": 1e-3, "mm": 1e3, "cm": 1e4, "m": 1e6, "Å": 1e-4}
SECONDS = {"s": 1.0, "sec": 1.0, "ms": 1e-3, "min": 60.0, "h": 3600.0, "µs": 1e-6}


def tiff_metadata(file: tifffile.TiffFile, name: str, channels: int) -> ImageMetadata:
    """Return the metadata of an open TIFF file in one shape, whichever program wrote it."""
    if file.is_ome:
        facts = _from_ome(file)
    elif file.is_imagej:
        facts = _from_imagej(file)
    elif file.is_metaseries:
        facts = _from_metaseries(file)
    else:
        facts = {}
    names = facts.pop("channel_names", ())
    if len(names) != channels:
        names = ()
    return ImageMetadata(name=name, channel_names=tuple(names), **facts)


def _from_ome(file: tifffile.TiffFile) -> dict[str, Any]:
    try:
        image = _first(tifffile.xml2dict(str(file.ome_metadata))["OME"]["Image"])
        pixels = _first(image["Pixels"])
    except (KeyError, TypeError, ValueError, SyntaxError):
        return {}
    channels = _many(pixels.get("Channel"))
    names = [str(channel["Name"]) for channel in channels if channel.get("Name") is not None]
    interval = pixels.get("TimeIncrement")
    return {
        "pixel_size_um": tuple(_ome_length(pixels, f"PhysicalSize{axis}") for axis in "ZYX"),
        "time_interval_s": None if interval is None else _scaled(interval, pixels, "TimeIncrement", SECONDS),
        "channel_names": names,
        "acquired": None if image.get("AcquisitionDate") is None else str(image["AcquisitionDate"]),
    }


def _ome_length(pixels: dict[str, Any], field: str) -> float | None:
    value = pixels.get(field)
    return None if value is None else _scaled(value, pixels, field, LENGTHS_UM)


def _scaled(value: Any, pixels: dict[str, Any], field: str, units: dict[str, float]) -> float | None:
    """Return a quantity in our unit; None for zero, nonsense or a unit nobody can convert (pixel)."""
    default = "s" if units is SECONDS else "µm"
    factor = units.get(str(pixels.get(f"{field}Unit", default)))
    number = _number(value)
    return None if factor is None or number is None else number * factor


def _number(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if 0 < number < float("inf") else None


def _from_imagej(file: tifffile.TiffFile) -> dict[str, Any]:
    facts = file.imagej_metadata or {}
    unit = LENGTHS_UM.get(str(facts.get("unit", "")))
    sizes = (facts.get("spacing"), _resolution(file, "YResolution"), _resolution(file, "XResolution"))
    numbers = [_number(size) for size in sizes]
    return {
        "pixel_size_um": tuple(None if unit is None or n is None else n * unit for n in numbers),
        "time_interval_s": _number(facts.get("finterval")),
    }


def _resolution(file: tifffile.TiffFile, tag: str) -> float | None:
    """Return the length of a pixel in ImageJ's unit: the inverse of pixels for each unit."""
    found = file.pages.first.tags.get(tag)
    if found is None or not found.value[0]:
        return None
    return float(found.value[1] / found.value[0])


def _from_metaseries(file: tifffile.TiffFile) -> dict[str, Any]:
    plane = (file.metaseries_metadata or {}).get("PlaneInfo", {})
    unit = LENGTHS_UM.get(str(plane.get("spatial-calibration-units", "")))
    calibrated = bool(plane.get("spatial-calibration-state")) and unit is not None
    sizes = [_number(plane.get(f"spatial-calibration-{axis}")) if calibrated else None for axis in "yx"]
    moment = plane.get("acquisition-time-local")
    name = plane.get("_IllumSetting_")
    return {
        "pixel_size_um": (None, *(size if size is None or unit is None else size * unit for size in sizes)),
        "channel_names": [str(name)] if name else [],
        "acquired": moment.isoformat() if isinstance(moment, datetime) else None,
    }


def _many(value: Any) -> list[Any]:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


def _first(value: Any) -> Any:
    return _many(value)[0]
