"""The fenced blocks of a page of the documentation."""

import re
from pathlib import Path

BLOCK = re.compile(r"^```(?P<language>\w+)(?: title=\"(?P<title>[^\"]+)\")?\n(?P<text>.*?)^```$", re.M | re.S)


def blocks(page: Path) -> list[tuple[str, str | None, str]]:
    """Language, title and text of every fenced block, in order."""
    return [match.group("language", "title", "text") for match in BLOCK.finditer(page.read_text())]
