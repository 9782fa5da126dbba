"""What all settings have in common, and the settings of the watcher, which is no stage."""

from pydantic import BaseModel, ConfigDict, Field


class Section(BaseModel):
    """What all settings have in common."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class WatchSettings(Section):
    """How an inbox is watched. Never part of a key: it decides when a file is taken, not what it becomes."""

    quiet_period_s: float = Field(
        30.0,
        ge=0,
        description="A file is complete when its size and time have not changed for so many seconds; it must "
        "be longer than the pause between two planes of one recording.",
    )
    scan_interval_s: float = Field(
        10.0, gt=0, description="Seconds between two looks into the inbox; longer is easier on a file server."
    )
    pattern: str | None = Field(
        None,
        description="Only files whose path in the inbox matches, as 2026-*/*.nd2; None: all.",
    )
    recursive: bool = Field(
        False,
        description="Look into folders at any depth; if false, into the inbox and the folders right in it.",
    )
