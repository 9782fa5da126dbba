"""Leica LIF files in miniature: XML that describes the images, then a block of pixels for each.

No program but Leica's writes them, so the tests write their own.
"""

import struct
from pathlib import Path

import numpy as np

BLOCK, PART = 0x70, 0x2A
IMAGE = """<Element Name="{name}" UniqueID="{number}"><Data><Image><ImageDescription>
<Channels>{channels}</Channels><Dimensions>{dimensions}</Dimensions></ImageDescription></Image></Data>
<Memory Size="{size}" MemoryBlockID="MemBlock_{number}"/><Children/></Element>"""
CHANNEL = """<ChannelDescription DataType="0" ChannelTag="0" Resolution="16" NameOfMeasuredQuantity="" Min="0"
 Max="65535" Unit="" LUTName="Green" IsLUTInverted="0" BytesInc="{step}" BitInc="0"/>"""
DIMENSION = """<DimensionDescription DimID="{axis}" NumberOfElements="{count}" Origin="0" Length="{length}"
 Unit="{unit}" BitInc="0" BytesInc="{step}"/>"""


def write_lif(path: Path, images: dict[str, np.ndarray], pixel_um: float = 0.5) -> Path:
    """Write images t c z y x of uint16 by name; in a block lie x, y, c, z, t, the first fastest."""
    described = [
        _image(name, number, values, pixel_um) for number, (name, values) in enumerate(images.items())
    ]
    xml = (
        f'<LMSDataContainerHeader Version="2"><Element Name="{path.name}" UniqueID="root"><Data/>'
        f'<Memory Size="0" MemoryBlockID="MemBlock_root"/><Children>{"".join(described)}</Children>'
        "</Element></LMSDataContainerHeader>"
    )
    with path.open("wb") as file:
        _part(file, struct.pack("<BI", PART, len(xml)) + xml.encode("utf-16-le"))
        for number, values in enumerate(images.values()):
            name = f"MemBlock_{number}"
            sizes = struct.pack("<BQBI", PART, values.nbytes, PART, len(name))
            _part(file, sizes + name.encode("utf-16-le"))
            file.write(values.transpose(0, 2, 1, 3, 4).astype("<u2").tobytes())
    return path


def _part(file, content: bytes) -> None:
    file.write(struct.pack("<II", BLOCK, len(content)) + content)


def _image(name: str, number: int, values: np.ndarray, pixel_um: float) -> str:
    t, c, z, y, x = values.shape
    plane = x * y * 2
    dimensions = [
        (1, x, (x - 1) * pixel_um * 1e-6, "m", 2),
        (2, y, (y - 1) * pixel_um * 1e-6, "m", 2 * x),
        (3, z, (z - 1) * 2e-6, "m", plane * c),
        (4, t, (t - 1) * 30.0, "s", plane * c * z),
    ]
    return IMAGE.format(
        name=name,
        number=number,
        size=values.nbytes,
        channels="".join(CHANNEL.format(step=plane * index) for index in range(c)),
        dimensions="".join(
            DIMENSION.format(axis=axis, count=count, length=length, unit=unit, step=step)
            for axis, count, length, unit, step in dimensions
        ),
    )
