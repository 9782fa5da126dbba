"""A hook of MkDocs: the page of all commands, made from the command line itself.

Nothing is written into docs/: the page exists in the built site alone, so it cannot be out of date.
"""

from collections.abc import Iterator, Sequence
from enum import Enum
from pathlib import Path
from typing import Any, get_args

PAGE = "reference/commands.md"
COMMON = ("store", "config", "set_", "profile", "json_", "debug")
"""Parameters that all commands have; described once."""
INTRODUCTION = """\
# Commands

Every command of this version, made from its code; `chipcyte COMMAND --help` says the same. Completion of
commands and options in your shell: `chipcyte --install-completion`. Colours are off where the output is no
terminal or the variable `NO_COLOR` is set.

All commands have these options:
"""
ENDINGS = """\
Exit 0: done; 1: the work failed; 2: the input or the usage is wrong. What `--json` prints:
[answers](answers.md).
"""


def commands() -> dict[str, Any]:
    """Return every command by its words, such as `refine export`."""
    from typer.main import get_command

    from flows.cli.app import app

    return dict(_inside("", get_command(app)))


def _inside(words: str, group: Any) -> Iterator[tuple[str, Any]]:
    for name, one in group.commands.items():
        whole = f"{words} {name}".strip()
        if hasattr(one, "commands"):
            yield from _inside(whole, one)
        else:
            yield whole, one


def page() -> str:
    """Return the page in Markdown."""
    every = commands()
    shared = [one for one in every["run"].params if one.name in COMMON]
    parts = [INTRODUCTION, _table(shared), ENDINGS]
    for words, one in every.items():
        own = [p for p in one.params if p.name not in COMMON and not p.hidden]
        parts += [f"## {words}", *_paragraphs(one.help), *([_table(own)] if own else [])]
    return "\n\n".join(parts) + "\n"


def _paragraphs(text: str) -> Iterator[str]:
    """Yield the paragraphs of a command's help, its examples as code."""
    for paragraph in text.split("\n\n"):
        line = " ".join(paragraph.split())
        example = line.removeprefix("Example: ")
        yield line if example == line else f"```bash\n{example}\n```"


def _table(parameters: Sequence[Any]) -> str:
    rows = [f"| `{spelled(one)}` | {_default(one)} | {_plain(one.help or '')} |" for one in parameters]
    return "\n".join(["| | default | what it does |", "|---|---|---|", *rows])


def spelled(parameter: Any) -> str:
    """Return how an argument or an option is written."""
    if parameter.param_type_name == "argument":
        return str(parameter.metavar or parameter.name.upper())
    return " ".join([", ".join(parameter.opts), *([] if parameter.is_flag else [_value(parameter)])])


def _value(parameter: Any) -> str:
    """Return what stands for an option's value."""
    if parameter.metavar:
        return str(parameter.metavar)
    kind = parameter.type_descriptor.annotation
    kind = next(iter(get_args(kind)), kind)  # of a list: what is in it
    if isinstance(kind, type) and issubclass(kind, Enum):
        return "\\|".join(one.value for one in kind)
    return {int: "N", float: "NUMBER", Path: "PATH"}.get(kind, "TEXT")


def _default(parameter: Any) -> str:
    if parameter.required:
        return "must be given"
    if parameter.default is None or parameter.default is False:
        return ""
    return f"`{parameter.default}`"


def _plain(text: str) -> str:
    """Return text that stands in one cell of a table."""
    return " ".join(text.split()).replace("|", "\\|")


def on_files(files: Any, config: Any) -> Any:
    """Add the page to those that MkDocs found."""
    from mkdocs.structure.files import File

    files.append(File.generated(config, PAGE, content=page()))
    return files
