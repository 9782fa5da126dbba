"""Names that came from elsewhere: none of them leads out of the folder that it is meant for."""

import re
from pathlib import Path

from storage.errors import InputError

_STRANGE = re.compile(r"[\x00-\x1f\x7f\\]|^.:")  # control characters, a backslash, a drive


def is_plain(name: str) -> bool:
    """Whether a relative name, parted by "/", stays below the folder that it is joined to.

    No part is empty, "." or ".."; there is no drive, backslash or control character.
    """
    return _STRANGE.search(name) is None and not any(part in ("", ".", "..") for part in name.split("/"))


def inside(folder: Path, name: str) -> Path:
    """Return the path of a plain name in a folder.

    Raises
    ------
    InputError
        The name, or a symbolic link on its way, leads out of the folder.
    """
    path = folder / name if is_plain(name) else None
    if path is None or not path.resolve().is_relative_to(folder.resolve()):
        raise InputError(f"expected a name below {folder}, found {name!r}, which may lead elsewhere")
    return path
