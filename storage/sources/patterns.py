"""Folders of planes whose names follow a pattern that the user states, such as {position}_{t}_{c}_{z}.tif."""

import re
from collections import defaultdict
from pathlib import Path

from storage.errors import InputError, MissingInputError
from storage.sources.base import Acquisition, natural, ordinals

FIELDS = {"t": r"\d+", "z": r"\d+", "c": r"[^/]+?", "position": r"[^/]+"}
PLANE_NAMES = (".tif", ".tiff", ".png")
BRACES = re.compile(r"\{([^{}]*)\}")


def pattern_rule(pattern: str) -> re.Pattern[str]:
    """Return a pattern as a regular expression with the groups t, c, z and position that it names.

    t and z stand for digits, c and position for any text without a slash; all else stands for itself. Where
    a name can be read in several ways, position takes as much of it as it can.

    Raises
    ------
    InputError
        The pattern names no field, an unknown one, one twice, or no TIFF or PNG.
    """
    fields = BRACES.findall(pattern)
    if not fields or len(set(fields)) != len(fields) or not set(fields) <= set(FIELDS):
        raise InputError(
            f"expected in ingest.pattern some of {{t}}, {{c}}, {{z}}, {{position}}, each at most once, "
            f"found {pattern!r}; write for example {{position}}_{{t}}_{{c}}_{{z}}.tif"
        )
    if not pattern.lower().endswith(PLANE_NAMES):
        raise InputError(f"expected ingest.pattern to end in {', '.join(PLANE_NAMES)}, found {pattern!r}")
    parts = BRACES.split(pattern)
    text = "".join(
        f"(?P<{part}>{FIELDS[part]})" if odd % 2 else re.escape(part) for odd, part in enumerate(parts)
    )
    return re.compile(text)


def pattern_acquisitions(folder: Path, pattern: str) -> list[Acquisition]:
    """Return a folder's planes as acquisitions, one for each position; files of other names are left aside.

    Channels are in the order of their numbers, or of their names, which are then kept.

    Raises
    ------
    InputError
        The pattern is wrong.
    MissingInputError
        No file's name follows it.
    """
    rule = pattern_rule(pattern)
    glob = "".join("*" if odd % 2 else _literal(part) for odd, part in enumerate(BRACES.split(pattern)))
    planes: dict[str, list[tuple[dict[str, str], Path]]] = defaultdict(list)
    for path in sorted(folder.glob(glob), key=natural):
        match = rule.fullmatch(path.relative_to(folder).as_posix())
        if match and path.is_file():
            planes[match.groupdict().get("position", "")].append((match.groupdict(), path))
    if not planes:
        raise MissingInputError(
            f"expected files named like {pattern} in {folder}, found none; change ingest.pattern or name the "
            "folder that holds them"
        )
    return [_acquisition(folder, position, found) for position, found in sorted(planes.items())]


def _literal(text: str) -> str:
    """Return text that a glob takes as it stands."""
    return re.sub(r"([*?[])", r"[\1]", text)


def _acquisition(folder: Path, position: str, planes: list[tuple[dict[str, str], Path]]) -> Acquisition:
    spelled = sorted({fields["c"] for fields, _ in planes}) if "c" in planes[0][0] else []
    named = not all(channel.isdecimal() for channel in spelled)
    numbers = [
        (
            int(fields.get("t", 0)),
            (spelled.index(fields["c"]) if named else int(fields["c"])) if spelled else 0,
            int(fields.get("z", 0)),
        )
        for fields, _ in planes
    ]
    name = folder.resolve().name
    return Acquisition(
        name=f"{name}#{position}" if position else name,
        location=folder,
        files=tuple(path for _, path in planes),
        reader="planes",
        scene=position or None,
        places=ordinals(numbers),
        channel_names=tuple(spelled) if named else (),
    )
