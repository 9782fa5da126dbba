"""A hook of MkDocs: the page of all settings, made from the settings themselves.

Nothing is written into docs/: the page exists in the built site alone, so it cannot be out of date.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

PAGE = "reference/settings.md"
INTRODUCTION = """\
# Settings

Every setting of this version, made from its code. A settings file is TOML, a table for each stage:

```toml
[train]
epochs = 60

[preprocess]
contrast = { kind = "clahe", clip_limit = 0.02 }
```

On the command line the same is `--set train.epochs=60 --set preprocess.contrast.kind=clahe`. Where there are
several ways to do a step, `kind` says which, and each has settings of its own. A name that is not here is an
error, and so is a value out of its range.

All but `resources` and `watch` are part of an artifact's key: another value makes another artifact beside the
first, and what was made before stays.
"""
UNITS = {
    "_px": "px",
    "_um": "µm",
    "_um2": "µm²",
    "_s": "s",
    "_deg": "degrees",
    "_bytes": "bytes",
    "_counts": "counts",
    "_nats": "nats",
}
SCALARS = {"integer": "whole number", "number": "number", "string": "text", "boolean": "true or false"}
LIMITS = {
    "minimum": "at least {}",
    "exclusiveMinimum": "above {}",
    "maximum": "at most {}",
    "exclusiveMaximum": "below {}",
}
SIGNS = re.compile(r"([*_{}\[\]])")

Schema = dict[str, Any]


@dataclass(frozen=True)
class Setting:
    """One row: a setting, what it is unless given, what it may be, and what it does."""

    name: str
    default: str
    accepts: str
    text: str


@dataclass(frozen=True)
class Section:
    """The settings of one place.

    Attributes
    ----------
    place
        Dotted, as in `--set`, such as `preprocess.contrast`.
    kind
        Which of the alternatives at that place; empty if there is one only.
    """

    place: str
    kind: str
    text: str
    settings: tuple[Setting, ...]


def sections() -> Iterator[Section]:
    """Yield every place of the settings, outer before inner, alternatives after each other."""
    from tasks.settings import Settings

    schema = Settings.model_json_schema()
    for name, field in schema["properties"].items():
        yield from _section(schema["$defs"], _models(field)[0], name, {})


def _section(models: Schema, model: str, place: str, given: Mapping[str, Any]) -> Iterator[Section]:
    """Yield a model's settings, then those inside; `given` are defaults that the place has of its own."""
    fields = {name: one for name, one in models[model]["properties"].items() if name != "kind"}
    fields = {name: one | ({"default": given[name]} if name in given else {}) for name, one in fields.items()}
    rows = tuple(_setting(models, place, name, field) for name, field in fields.items())
    yield Section(place, _kind(models, model), _plain(models[model].get("description", "")), rows)
    for name, field in fields.items():
        own = field.get("default")
        for inner in _models(field):
            alone = not _kind(models, inner) and isinstance(own, dict)
            yield from _section(models, inner, f"{place}.{name}", own if alone else {})


def _setting(models: Schema, place: str, name: str, field: Schema) -> Setting:
    unit = next((unit for end, unit in UNITS.items() if name.endswith(end)), "")
    accepts = ", ".join(_accepted(models, field)).replace(", kind ", ", ") + (f"; in {unit}" if unit else "")
    inside = f"See [{place}.{name}](#{anchor(f'{place}.{name}')})." if _models(field) else ""
    text = " ".join([_plain(field.get("description", "")), inside]).strip()
    return Setting(name, _default(field), accepts, text)


def anchor(place: str) -> str:
    """Return what the heading of a place is called in links."""
    return place.replace(".", "")


def _accepted(models: Schema, field: Schema) -> list[str]:
    """Return what a field may be, each alternative in words."""
    if "$ref" in field:
        kind = _kind(models, _models(field)[0])
        return [f"kind `{kind}`" if kind else "settings of its own"]
    if options := field.get("anyOf") or field.get("oneOf"):
        return list(dict.fromkeys(words for one in options for words in _accepted(models, one)))
    if "const" in field or "enum" in field:
        return [f'`"{one}"`' for one in field.get("enum", [field.get("const")])]
    if field.get("type") == "array":
        return [f"list of {_accepted(models, field['items'])[0]}s"]
    if field.get("type") == "null":
        return ["none"]
    limits = [text.format(_number(field[key])) for key, text in LIMITS.items() if key in field]
    return [" ".join([SCALARS.get(str(field.get("type")), "anything"), " and ".join(limits)]).strip()]


def _default(field: Schema) -> str:
    """Return a default as TOML spells it."""
    if "default" not in field:
        return "the machine's" if field.get("title") == "Workers" else "must be given"
    value = field["default"]
    if value is None:
        return "none"
    return "below" if isinstance(value, dict) and "kind" not in value else f"`{_toml(value)}`"


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return f'kind = "{value["kind"]}"'
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return f"[{', '.join(_toml(one) for one in value)}]"
    return f'"{value}"' if isinstance(value, str) else _number(value)


def _number(value: float) -> str:
    return f"{value:_}" if isinstance(value, int) and value >= 100_000 else f"{value:g}"


def _models(field: Schema) -> list[str]:
    """Return the names of the models that a field may hold."""
    if "$ref" in field:
        return [field["$ref"].rsplit("/", 1)[1]]
    options = field.get("anyOf") or field.get("oneOf") or field.get("allOf") or []
    return [model for one in options for model in _models(one)]


def _kind(models: Schema, model: str) -> str:
    kind: str = models[model]["properties"].get("kind", {}).get("const", "")
    return kind


def _plain(text: str) -> str:
    """Return text that stands in one cell of a table; outside of `code` no sign means anything."""
    parts = " ".join(text.split()).replace("|", "\\|").split("`")
    return "`".join(part if odd % 2 else SIGNS.sub(r"\\\1", part) for odd, part in enumerate(parts))


def page() -> str:
    """Return the page in Markdown: a heading for each place, a table for each way to do it."""
    parts, last = [INTRODUCTION], ""
    for one in sections():
        if one.place != last:
            parts.append(f"{'###' if '.' in one.place else '##'} {one.place}")
        parts.append(f'**`kind = "{one.kind}"`** {one.text}' if one.kind else one.text)
        if one.settings:
            parts.append(_table(one.settings))
        last = one.place
    return "\n\n".join(parts) + "\n"


def _table(settings: tuple[Setting, ...]) -> str:
    rows = [f"| `{one.name}` | {one.default} | {one.accepts} | {one.text} |" for one in settings]
    return "\n".join(["| setting | default | accepts | what it does |", "|---|---|---|---|", *rows])


def on_files(files: Any, config: Any) -> Any:
    """Add the page to those that MkDocs found."""
    from mkdocs.structure.files import File

    files.append(File.generated(config, PAGE, content=page()))
    return files
