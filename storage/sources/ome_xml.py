"""OME-XML: what an OME-TIFF or its companion file says of images and of the files that hold their planes."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from storage.errors import FormatError
from storage.sources.units import LENGTHS_UM, SECONDS, number, scaled

Plane = tuple[int, int, int]


def parse_ome(text: str | bytes, path: Path) -> Element:
    """Return the root of an OME-XML document; FormatError if it is none."""
    try:
        root = ElementTree.fromstring(text)
    except (ElementTree.ParseError, ValueError) as error:
        raise FormatError(
            f"{path}: its OME-XML cannot be read ({error}); export the recording again as an OME-TIFF"
        ) from error
    if not root.tag.endswith("OME"):
        raise FormatError(f"{path}: expected OME-XML, found <{root.tag}>; export the recording again")
    return root


def images(root: Element) -> list[Element]:
    """Return the images of a document that have pixels."""
    return [image for image in root.findall("{*}Image") if image.find("{*}Pixels") is not None]


def metadata_file(root: Element) -> tuple[str, str] | None:
    """Return name and UUID of the file that holds the metadata, if this document only points there."""
    pointer = root.find("{*}BinaryOnly")
    return None if pointer is None else (pointer.get("MetadataFile", ""), pointer.get("UUID", ""))


def named_files(root: Element) -> list[str]:
    """Return the names of other files that hold planes.

    A file that carries the document's own UUID is this one, whatever it was called when it was written.
    """
    own = root.get("UUID")
    holders = root.findall("{*}Image/{*}Pixels/{*}TiffData/{*}UUID")
    return sorted(
        {name for one in holders if (name := one.get("FileName")) and (one.text or "").strip() != own}
    )


def names_elsewhere(root: Element, path: Path) -> list[str]:
    """Return the files outside the folder of `path` that a document names, whatever it says they are."""
    named = {one.get("FileName", "") for one in root.iter()}
    return sorted(
        name
        for name in named
        if Path(name).name != name
        and (path.parent / name).exists()
        and (path.parent / name).resolve().parent != path.parent.resolve()
    )


def image_pixels(root: Element, scene: int, path: Path) -> Element:
    """Return the pixels of one image; FormatError if the document has no such image."""
    every = images(root)
    pixels = every[scene].find("{*}Pixels") if scene < len(every) else None
    if pixels is None:
        raise FormatError(f"{path}: expected an image {scene} in its OME-XML, found {len(every)} images")
    return pixels


def sizes(pixels: Element, path: Path) -> dict[str, int]:
    """Return the lengths of the axes T C Z Y X; FormatError if one is not a positive number."""
    found = {axis: _whole(pixels.get(f"Size{axis}")) for axis in "TCZYX"}
    wrong = [f"Size{axis}" for axis, size in found.items() if size < 1]
    if wrong:
        raise FormatError(f"{path}: expected positive {', '.join(wrong)} in its OME-XML; export it again")
    return found


def check_promises(root: Element, path: Path, held_bytes: int) -> None:
    """Refuse a document that promises more planes than its files have bytes, before anyone makes room."""
    for image in images(root):
        pixels = image.find("{*}Pixels")
        if pixels is None:
            continue
        size = sizes(pixels, path)
        blocks = [_block_length(block) for block in pixels.findall("{*}TiffData")]
        promised = max([size["T"] * size["C"] * size["Z"], *blocks])
        if promised > held_bytes:
            raise FormatError(
                f"{path}: its OME-XML promises {promised} planes, found files of {held_bytes} bytes in all; "
                "the file is incomplete or damaged: copy it again from the instrument"
            )


def plane_pages(pixels: Element, path: Path) -> dict[Plane, tuple[str, int]]:
    """Return the file name and the page that hold each plane (t, c, z), as TiffData elements say."""
    size = sizes(pixels, path)
    order = pixels.get("DimensionOrder", "XYZCT")[2:]
    found: dict[Plane, tuple[str, int]] = {}
    for block in pixels.findall("{*}TiffData"):
        holder = block.find("{*}UUID")
        name = "" if holder is None else holder.get("FileName", "")
        first = {axis: _whole(block.get(f"First{axis}", "0")) for axis in "TCZ"}
        page = _whole(block.get("IFD", "0"))
        for step, place in zip(range(_block_length(block)), _walk(first, order, size), strict=False):
            found[place] = (name, page + step)
    return found


def _walk(first: dict[str, int], order: str, size: dict[str, int]) -> Iterator[Plane]:
    """Yield the planes from `first` on, the axis that `order` names first running fastest."""
    count = size["T"] * size["C"] * size["Z"]
    place = sum(first[axis] * _stride(axis, order, size) for axis in order)
    for index in range(place, count):
        at = {axis: index // _stride(axis, order, size) % size[axis] for axis in order}
        yield at["T"], at["C"], at["Z"]


def _stride(axis: str, order: str, size: dict[str, int]) -> int:
    stride = 1
    for faster in order[: order.index(axis)]:
        stride *= size[faster]
    return stride


def _block_length(block: Element) -> int:
    return _whole(block.get("PlaneCount", block.get("NumPlanes", "1")))


def _whole(text: str | None) -> int:
    return int(text) if text is not None and text.isdecimal() else -1


def ome_facts(root: Element, scene: int) -> dict[str, Any]:
    """Return what the document says of one image, as the fields of ImageMetadata."""
    image = images(root)[scene]
    pixels = image.find("{*}Pixels")
    if pixels is None:
        return {}
    channels = pixels.findall("{*}Channel")
    date = image.findtext("{*}AcquisitionDate")
    return {
        "pixel_size_um": tuple(scaled(pixels, f"PhysicalSize{axis}", LENGTHS_UM) for axis in "ZYX"),
        "time_interval_s": scaled(pixels, "TimeIncrement", SECONDS) or _mean_interval(pixels),
        "channel_names": [name for channel in channels if (name := channel.get("Name")) is not None],
        "acquired": None if date is None else date.strip(),
        "extra": _extra(root, image, pixels, channels),
    }


def _mean_interval(pixels: Element) -> float | None:
    """Return the mean time between frames from the moments of the first plane of each."""
    moments = {
        _whole(plane.get("TheT")): scaled(plane, "DeltaT", SECONDS, zero=True)
        for plane in pixels.findall("{*}Plane")
        if plane.get("TheC") == plane.get("TheZ") == "0"
    }
    last = max(moments, default=0)
    first_s, last_s = moments.get(0), moments.get(last)
    if last < 1 or first_s is None or last_s is None or last_s <= first_s:
        return None
    return (last_s - first_s) / last


def _extra(root: Element, image: Element, pixels: Element, channels: list[Element]) -> dict[str, Any]:
    colours = [
        {
            name: value
            for name, field in (
                ("excitation_nm", "ExcitationWavelength"),
                ("emission_nm", "EmissionWavelength"),
            )
            if (value := number(channel.get(field))) is not None and channel.get(f"{field}Unit", "nm") == "nm"
        }
        for channel in channels
    ]
    facts = {
        "stage_position_um": _stage_position_um(image, pixels),
        "objective": _objective(root, image),
        "channels": colours if any(colours) else [],
    }
    return {name: value for name, value in facts.items() if value}


def _stage_position_um(image: Element, pixels: Element) -> dict[str, float]:
    """Return where the first plane was taken, or what the stage's label says; bare numbers have no unit."""
    holders = ((pixels.find("{*}Plane"), "Position"), (image.find("{*}StageLabel"), ""))
    for holder, start in holders:
        if holder is None:
            continue
        places = {
            axis.lower(): scaled(holder, f"{start}{axis}", LENGTHS_UM, default="", signed=True)
            for axis in "XYZ"
        }
        known = {axis: place for axis, place in places.items() if place is not None}
        if known:
            return known
    return {}


def _objective(root: Element, image: Element) -> dict[str, Any]:
    used = image.find("{*}ObjectiveSettings")
    every = root.findall("{*}Instrument/{*}Objective")
    mine = [one for one in every if used is not None and one.get("ID") == used.get("ID")]
    if not mine:
        return {}
    facts = {
        "name": mine[0].get("Model"),
        "magnification": number(mine[0].get("NominalMagnification")),
        "numerical_aperture": number(mine[0].get("LensNA")),
    }
    return {name: value for name, value in facts.items() if value is not None}
