"""A profile: how chipcyte runs at one place, as data: variables of the environment, and settings."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from storage.errors import InputError
from tasks.settings import read_toml

ENVIRONMENT = "environment"


@dataclass(frozen=True)
class Profile:
    """What a profile says.

    Attributes
    ----------
    environment
        Variables of chipcyte, Prefect, MLflow and libraries by their names.
    settings
        What a settings file may hold; `--config` and `--set` win over it.
    """

    environment: dict[str, str] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)

    def apply(self) -> None:
        """Set the variables that the user did not set."""
        for name, value in self.environment.items():
            os.environ.setdefault(name, value)


def read_profile(path: Path) -> Profile:
    """Read a profile: a TOML file of settings with a table `[environment]`.

    Raises
    ------
    InputError
        The file is not TOML, or a variable is no text.
    """
    content = read_toml(path)
    environment = content.pop(ENVIRONMENT, {})
    if not isinstance(environment, dict):
        raise InputError(f"{path}: expected [{ENVIRONMENT}] to hold variables by name, found {environment!r}")
    for name, value in environment.items():
        if not isinstance(value, str):
            raise InputError(f"{path}: expected {name} to be a text in quotes, found {value!r}")
    return Profile(environment, content)
