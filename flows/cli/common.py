"""What all commands share: their common options, how they end, and what they print where."""

import functools
import inspect
import json
import logging
import os
import sys
import traceback
import typing
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from flows.environment import prepare_environment
from storage.errors import ChipcyteError, InputError

DEFAULT_STORE = "chipcyte-store"


def _apply_profile(path: Path | None) -> Path | None:
    """Set a profile's variables."""
    from flows.profiles import read_profile

    if path is not None:
        try:
            read_profile(path).apply()
        except InputError as error:
            raise typer.BadParameter(str(error)) from error
    return path


StoreOption = Annotated[
    str, typer.Option("--store", metavar="URL", envvar="CHIPCYTE_STORE", help="Folder or s3:// of the store.")
]
ConfigOption = Annotated[Path | None, typer.Option("--config", metavar="FILE.toml", help="Settings to use.")]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="One setting, such as train.epochs=40."),
]
ProfileOption = Annotated[
    Path | None,
    typer.Option(
        "--profile",
        metavar="FILE.toml",
        envvar="CHIPCYTE_PROFILE",
        is_eager=True,  # its variables are there before any option looks for one of its own
        callback=_apply_profile,
        help="How chipcyte runs at this place: variables, and settings under --config.",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output.")]
DebugOption = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]

SHARED: dict[str, tuple[Any, Any]] = {
    "store": (StoreOption, DEFAULT_STORE),
    "config": (ConfigOption, None),
    "set_": (SetOption, None),
    "profile": (ProfileOption, None),
    "json_": (JsonOption, False),
    "debug": (DebugOption, False),
}

# No markup: of a recording named `wt[red].tif` the brackets would be lost.
out = Console(highlight=False, markup=False)
err = Console(stderr=True, highlight=False, markup=False)


@dataclass(frozen=True)
class Common:
    """The options every command has."""

    store: str
    config: Path | None
    set: list[str]
    profile: Path | None
    json: bool
    debug: bool

    def at(self, store: str) -> "Common":
        """Return the same options with another store."""
        return replace(self, store=store)

    def settings(self, given: dict[str, Any] | None = None) -> Any:
        """Return the profile's settings, over them the file's, then those of `--set`, then the command's."""
        from flows.profiles import read_profile
        from tasks.settings import load_settings

        under = read_profile(self.profile).settings if self.profile else {}
        over = dict(_assignment(text) for text in self.set) | (given or {})
        return load_settings(self.config, over, under)

    def show(self, result: dict[str, Any], people: Callable[[], None]) -> None:
        """Print a result: one JSON object, or what `people` prints."""
        if self.json:
            sys.stdout.write(json.dumps(result, default=str) + "\n")
        else:
            people()


def _assignment(text: str) -> tuple[str, Any]:
    """Return name and value of NAME=VALUE; a value that is JSON is taken as such, any other as text."""
    name, equals, value = text.partition("=")
    if not equals or "." not in name:
        raise InputError(f"expected --set SECTION.NAME=VALUE, found {text!r}; for example train.epochs=40")
    try:
        return name, json.loads(value)
    except json.JSONDecodeError:
        return name, value


def command(function: Callable[..., None]) -> Callable[..., None]:
    """Give a command the common options, as its parameter `common`, and one way to end.

    Exit 0: done; 1: the work failed; 2: the input or the usage is wrong.
    """

    @functools.wraps(function)
    def wrapper(**given: Any) -> None:
        shared = {name: given.pop(name) for name in SHARED}
        common = Common(
            store=shared["store"],
            config=shared["config"],
            set=shared["set_"] or [],
            profile=shared["profile"],
            json=shared["json_"],
            debug=shared["debug"],
        )
        with _ending(debug=common.debug):
            function(common=common, **given)

    own = [p for p in inspect.signature(function).parameters.values() if p.name != "common"]
    hints = typing.get_type_hints(function, include_extras=True)
    # Typer reads the signature for the order and the defaults, the annotations for the rest.
    wrapper.__annotations__ = {name: hints[name] for name in [p.name for p in own]} | {
        name: hint for name, (hint, _) in SHARED.items()
    }
    wrapper.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in own]
        + [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=hint)
            for name, (hint, default) in SHARED.items()
        ]
    )
    return wrapper


@contextmanager
def _ending(*, debug: bool) -> Iterator[None]:
    """Turn errors into one sentence and an exit code."""
    _prepare(debug=debug)
    try:
        yield
    except ChipcyteError as error:
        _explain(error, debug=debug)
        raise typer.Exit(error.exit_code) from error
    except KeyboardInterrupt as error:
        err.print("interrupted; run the same command again and it goes on where it was")
        raise typer.Exit(1) from error
    except typer.Exit:
        raise
    except Exception as error:
        _explain(error, debug=debug)
        raise typer.Exit(1) from error


def _explain(error: BaseException, *, debug: bool) -> None:
    if debug:
        traceback.print_exception(error)
    text = str(error).strip() or type(error).__name__
    known = isinstance(error, ChipcyteError)
    err.print("error: ", style="bold red", end="", soft_wrap=True)
    err.print(text if known else f"{type(error).__name__}: {text}", soft_wrap=True)
    if not known and not debug:
        err.print("this is not an error chipcyte foresaw; --debug shows where it arose", soft_wrap=True)


def _prepare(*, debug: bool) -> None:
    """Keep libraries local, and from logging what our own errors say better."""
    if not debug:
        os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")
        warnings.simplefilter("ignore")  # of libraries; ours are logged
    prepare_environment()
    logging.getLogger("tifffile").setLevel(logging.CRITICAL)
    logging.getLogger("distributed").setLevel(logging.ERROR)
    ours = logging.getLogger("chipcyte")
    if not ours.handlers:
        ours.addHandler(_ToConsole())
        ours.propagate = False


class _ToConsole(logging.Handler):
    """Prints warnings as plain lines on standard error."""

    def emit(self, record: logging.LogRecord) -> None:
        colour = "yellow" if record.levelno >= logging.WARNING else "dim"
        err.print(f"{record.levelname.lower()}: ", style=colour, end="")
        err.print(record.getMessage(), soft_wrap=True)
