"""What a TIFF file says about its pixels. A fact that the file does not hold stays None."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from xml.etree.ElementTree import Element

import tifffile

from storage.ome import ImageMetadata
from storage.sources.ome_xml import ome_facts
from storage.sources.units import LENGTHS_UM, number


def tiff_metadata(
    file: tifffile.TiffFile, name: str, channels: int, *, ome: Element | None = None, scene: int = 0
) -> ImageMetadata:
    """Return the metadata of an open TIFF file in one shape, whichever program wrote it.

    Parameters
    ----------
    ome
        The root of the file's OME-XML, if it has one.
    scene
        Which of that document's images.
    """
    if ome is not None:
        facts = ome_facts(ome, scene)
    elif file.is_imagej:
        facts = _from_imagej(file)
    else:
        facts = metaseries_facts(plane_info(file))
    return metadata_of(name, channels, facts)


def metadata_of(name: str, channels: int, facts: Mapping[str, Any]) -> ImageMetadata:
    """Return facts as metadata; channel names count only if there is one for each channel."""
    names = tuple(facts.get("channel_names", ()))
    known = {key: value for key, value in facts.items() if key != "channel_names"}
    return ImageMetadata(name=name, channel_names=names if len(names) == channels else (), **known)


def plane_info(file: tifffile.TiffFile) -> dict[str, Any]:
    """Return the plane information that MetaMorph and MetaXpress write; empty for other programs' files."""
    found = file.metaseries_metadata if file.is_metaseries else None
    return dict((found or {}).get("PlaneInfo", {}))


def metaseries_facts(plane: Mapping[str, Any]) -> dict[str, Any]:
    """Return what MetaSeries plane information says, as the fields of ImageMetadata."""
    if not plane:
        return {}
    unit = LENGTHS_UM.get(str(plane.get("spatial-calibration-units", "")))
    calibrated = bool(plane.get("spatial-calibration-state")) and unit is not None
    sizes = [number(plane.get(f"spatial-calibration-{axis}")) if calibrated else None for axis in "yx"]
    moment, name = plane.get("acquisition-time-local"), plane.get("_IllumSetting_")
    return {
        "pixel_size_um": (None, *(size if size is None or unit is None else size * unit for size in sizes)),
        "channel_names": [str(name)] if name else [],
        "acquired": moment.isoformat() if isinstance(moment, datetime) else None,
        "extra": _metaseries_extra(plane),
    }


def _metaseries_extra(plane: Mapping[str, Any]) -> dict[str, Any]:
    fields = {"x": "stage-position-x", "y": "stage-position-y", "z": "z-position"}
    position = {axis: number(plane.get(field), signed=True) for axis, field in fields.items()}
    lens = {"name": plane.get("_MagSetting_"), "numerical_aperture": number(plane.get("_MagNA_"))}
    wavelength = number(plane.get("wavelength"))
    facts = {
        "stage_position_um": {axis: value for axis, value in position.items() if value is not None},
        "objective": {key: value for key, value in lens.items() if value is not None},
        "channels": [] if wavelength is None else [{"wavelength_nm": wavelength}],
    }
    return {key: value for key, value in facts.items() if value}


def _from_imagej(file: tifffile.TiffFile) -> dict[str, Any]:
    facts = file.imagej_metadata or {}
    unit = LENGTHS_UM.get(str(facts.get("unit", "")))
    sizes = (facts.get("spacing"), _resolution(file, "YResolution"), _resolution(file, "XResolution"))
    numbers = [number(size) for size in sizes]
    return {
        "pixel_size_um": tuple(None if unit is None or n is None else n * unit for n in numbers),
        "time_interval_s": number(facts.get("finterval")),
    }


def _resolution(file: tifffile.TiffFile, tag: str) -> float | None:
    """Return the length of a pixel in ImageJ's unit: the inverse of pixels for each unit."""
    found = file.pages.first.tags.get(tag)
    if found is None or not found.value[0]:
        return None
    return float(found.value[1] / found.value[0])
