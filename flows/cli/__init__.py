"""The command line: `chipcyte VERB`."""

from flows.cli.app import main

__all__ = ["main"]
