"""A hook of MkDocs: every decision in docs/adr is in the navigation, in its order."""

from pathlib import Path
from typing import Any


def on_config(config: Any) -> Any:
    """Add the pages to the navigation."""
    folder = Path(config.docs_dir) / "adr"
    config.nav.append({"Decisions": [f"adr/{page.name}" for page in sorted(folder.glob("*.md"))]})
    return config
