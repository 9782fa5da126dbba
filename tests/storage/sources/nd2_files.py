"""Nikon ND2 files in miniature: chunks with a name each, and a map of the chunks at the end.

No program but Nikon's writes them, so the tests write their own, as version 3 has them: facts are trees of
named values, a frame is one chunk of rows padded to four bytes, in which the channels of a pixel lie side by
side.
"""

import struct
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

MAGIC = 0x0ABECEDA
FILE, FILE_MAP, MAP = (
    b"ND2 FILE SIGNATURE CHUNK NAME01!",
    b"ND2 FILEMAP SIGNATURE NAME 0001!",
    b"ND2 CHUNK MAP SIGNATURE 0000001!",
)
FRAME_NAME_BYTES = 4072  # so that pixels begin 4096 bytes after the chunk, behind 8 bytes of time
TIME_LOOP, POSITION_LOOP, Z_LOOP = 1, 2, 4
BOOL, INT, UINT, DOUBLE, TEXT, BYTES, TREE = 1, 2, 3, 6, 8, 9, 11


@dataclass(frozen=True)
class Facts:
    """What a microscope says of a recording; as it is here, it says nothing."""

    pixel_um: float | None = None
    z_step_um: float = 2.0
    period_ms: float = 500.0
    channel_names: tuple[str, ...] = ()
    objective: tuple[str, float, float] = ("", 0.0, 0.0)
    julian_day: float = 0.0
    date: str = ""


def write_nd2(
    path: Path, tpzcyx: np.ndarray, facts: Facts | None = None, missing: Collection[int] = ()
) -> Path:
    """Write a recording of uint16 whose position p lies at 100 p, -10 p um; without the frames `missing`."""
    facts = facts or Facts()
    frames = tpzcyx.reshape(-1, *tpzcyx.shape[3:]).transpose(0, 2, 3, 1)  # n y x c
    chunks: dict[str, bytes] = {}
    for index in sorted(set(range(len(frames))) - set(missing)):
        chunks[f"ImageDataSeq|{index}!"] = struct.pack("<d", float(index)) + _rows(frames[index])
    chunks["ImageAttributesLV!"] = _tree(SLxImageAttributes=_attributes(frames))
    chunks["ImageMetadataSeqLV|0!"] = _tree(SLxPictureMetadata=_picture(facts, tpzcyx.shape[3]))
    chunks["ImageMetadataLV!"] = _tree(SLxExperiment=_loops(facts, *tpzcyx.shape[:3]))
    chunks["ImageTextInfoLV!"] = _tree(SLxImageTextInfo={"TextInfoItem_9": facts.date})
    chunks["CustomData|AcqTimesCache!"] = np.arange(len(frames), dtype="<f8").tobytes()
    with path.open("wb") as file:
        file.write(_chunk(FILE, b"Ver3.0".ljust(64, b"\0")))
        listed = b""
        for name, content in chunks.items():
            listed += name.encode() + struct.pack("<QQ", file.tell(), len(content))
            file.write(_chunk(name.encode(), content, FRAME_NAME_BYTES if "DataSeq|" in name else None))
        file.write(_chunk(FILE_MAP, listed + MAP + struct.pack("<Q", file.tell())))
    return path


def _chunk(name: bytes, content: bytes, name_bytes: int | None = None) -> bytes:
    header = struct.pack("<IIQ", MAGIC, name_bytes or len(name), len(content))
    return header + name.ljust(name_bytes or 0, b"\0") + content


def _rows(yxc: np.ndarray) -> bytes:
    rows = yxc.astype("<u2").reshape(len(yxc), -1)
    return np.pad(rows, ((0, 0), (0, rows.shape[1] % 2))).tobytes()


def _attributes(nyxc: np.ndarray) -> dict[str, Any]:
    count, height, width, channels = nyxc.shape
    return {
        "uiWidth": width,
        "uiWidthBytes": -(-2 * width * channels // 4) * 4,
        "uiHeight": height,
        "uiComp": channels,
        "uiBpcInMemory": 16,
        "uiBpcSignificant": 16,
        "uiSequenceCount": count,
        "eCompression": 2,
    }


def _picture(facts: Facts, channels: int) -> dict[str, Any]:
    names = [*facts.channel_names, *[""] * channels][:channels]
    lens, magnification, aperture = facts.objective
    return {
        "bCalibrated": facts.pixel_um is not None,
        "dCalibration": facts.pixel_um or 0.0,
        "wsObjectiveName": lens,
        "dObjectiveMag": magnification,
        "dObjectiveNA": aperture,
        "dTimeAbsolute": facts.julian_day,
        "sPicturePlanes": {
            "uiCount": channels,
            "sPlaneNew": {
                f"a{index}": {
                    "uiCompCount": 1,
                    "sDescription": name,
                    "pFluorescentProbe": {"m_EmissionSpectrum": {"uiCount": 0}},
                }
                for index, name in enumerate(names)
            },
        },
    }


def _loops(facts: Facts, times: int, positions: int, planes: int) -> dict[str, Any]:
    """Give the loops, the slowest outside: times, then positions, then z."""
    time = {"uiCount": times, "dStart": 0.0, "dPeriod": facts.period_ms, "dDuration": 0.0}
    points = [{"dPosX": 100.0 * p, "dPosY": -10.0 * p, "dPosName": f"place {p}"} for p in range(positions)]
    stack = {"uiCount": planes, "dZStep": facts.z_step_um}
    inner = {"eType": Z_LOOP, "uLoopPars": stack}
    valid = {"pItemValid": bytes([1] * positions)}
    middle = {"eType": POSITION_LOOP, "uLoopPars": {"Points": points}, **valid, "ppNextLevelEx": [inner]}
    return {"eType": TIME_LOOP, "uLoopPars": time, "ppNextLevelEx": [middle]}


def _tree(**values: Any) -> bytes:
    return b"".join(_value(name, value) for name, value in values.items())


def _value(name: str, value: Any) -> bytes:
    """Write one named value: its type, its name and itself. The items of a list bear no names."""
    wide = f"{name}\0".encode("utf-16-le")
    head = struct.pack("<BB", _type_of(name, value), len(wide) // 2) + wide
    if isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else [("", one) for one in value]
        inside = [_value(*item) for item in items]
        length = len(head) + 12 + sum(map(len, inside))
        places = bytes(8 * len(inside))  # where each item begins; readers walk instead
        return head + struct.pack("<IQ", len(inside), length) + b"".join(inside) + places
    if isinstance(value, str):
        return head + f"{value}\0".encode("utf-16-le")
    if isinstance(value, bytes):
        return head + struct.pack("<Q", len(value)) + value
    codes = {BOOL: "<?", INT: "<i", UINT: "<I", DOUBLE: "<d"}
    return head + struct.pack(codes[_type_of(name, value)], value)


def _type_of(name: str, value: Any) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return UINT if name.startswith("ui") else INT
    kinds = {bool: BOOL, float: DOUBLE, str: TEXT, bytes: BYTES, dict: TREE, list: TREE}
    return kinds[type(value)]
