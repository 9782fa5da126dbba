"""The commands that keep a store in order: check, gc."""

import shlex
from collections.abc import Sequence
from datetime import timedelta
from typing import Annotated, Any

import typer
from rich.table import Table

from flows.cli.common import Common, command, err, out

KeysArgument = Annotated[
    list[str] | None, typer.Argument(metavar="[KEY]...", help="Keys or their first digits.")
]
AgeOption = Annotated[
    float | None, typer.Option("--older-than", metavar="DAYS", min=0, help="Days without a change.")
]


@command
def check(
    common: Common,
    repair: Annotated[
        bool, typer.Option("--repair", help="Remove unfinished leftovers and write derived lists anew.")
    ] = False,
    older_than: Annotated[
        float,
        typer.Option(
            "--older-than", metavar="DAYS", min=0, help="Spare what changed since: it may be at work."
        ),
    ] = 1.0,
) -> None:
    """Compare everything in a store with its records, byte for byte. Exit 1 if something is wrong.

    Example: chipcyte check --store /data/store --repair
    """
    from flows.cli.progress import shown
    from storage import checking
    from storage.objects import open_store
    from tasks import announce

    objects = open_store(common.store)
    with shown():
        listener = announce.listener("check")
        found = checking.check_store(objects, older_than=timedelta(days=older_than), listener=listener)
    mended = checking.repair(objects, found.problems) if repair else []
    left = [problem for problem in found.problems if problem not in mended]
    result = {
        "key": [],
        "uri": objects.url,
        "counts": found.counts | {"repaired": len(mended), "left": len(left)},
        "metrics": {},
        "reused": True,
        "problems": [_plain_problem(problem, problem in mended) for problem in found.problems],
        "remedy": _remedy(left, objects.url),
    }
    common.show(result, lambda: _print_findings(result))
    if left:
        raise typer.Exit(1)


def _plain_problem(problem: Any, repaired: bool) -> dict[str, Any]:
    return {
        "what": problem.what,
        "path": problem.path,
        "text": problem.text,
        "artifact": list(problem.owner) if problem.owner else None,
        "can_be_repaired": problem.can_be_repaired,
        "repaired": repaired,
    }


def _remedy(problems: Sequence[Any], store: str) -> str | None:
    """Return the command after which the same run makes damaged artifacts again; None if none is damaged."""
    keys = dict.fromkeys(problem.owner[1] for problem in problems if problem.can_be_made_again)
    return shlex.join(["chipcyte", "gc", *keys, "--store", store]) if keys else None


def _print_findings(result: dict[str, Any]) -> None:
    for problem in result["problems"]:
        state = "repaired" if problem["repaired"] else problem["what"]
        out.print(f"{state}: ", style="green" if problem["repaired"] else "red", end="", soft_wrap=True)
        out.print(problem["text"], soft_wrap=True)
    counts = result["counts"]
    out.print(
        f"{counts['records']:,} artifacts, {counts['objects']:,} objects, {_mib(counts['bytes'])}: "
        f"{counts['problems']} problems, {counts['repaired']} repaired, {counts['in_progress']} in progress",
        soft_wrap=True,
    )
    if any(problem["can_be_repaired"] and not problem["repaired"] for problem in result["problems"]):
        out.print(
            "`chipcyte check --repair` removes what is unfinished or belongs to nothing.", soft_wrap=True
        )
    if result["remedy"] is not None:
        out.print(
            "This removes what is damaged and all made from it, but for corrected masks and networks; run "
            "the same command as before and it is made again:",
            soft_wrap=True,
        )
        out.print(result["remedy"], soft_wrap=True)


@command
def gc(
    common: Common,
    keys: KeysArgument = None,
    older_than: AgeOption = None,
    yes: Annotated[bool, typer.Option("--yes", help="Remove without asking.")] = False,
) -> None:
    """Remove artifacts: old ones that nothing younger was made from, or those named and all made from them.

    Says first what would go, and asks; with --json and without --yes nothing is removed. By age, recordings
    are kept, what samples.csv and the truth say of them, whatever changed within DAYS, and all that this was
    made from. By KEY anything goes, recordings too: your own files are left, and can be ingested again.
    Corrected masks and networks that learned from them stay unless they are named themselves. Run it while
    nothing else runs: it cannot know what a run is about to use.

    Example: chipcyte gc --older-than 90 --store /data/store

    Example: chipcyte gc 3f9a --store /data/store
    """
    from storage import collecting
    from storage.errors import InputError
    from storage.objects import open_store

    if bool(keys) == (older_than is not None):
        raise InputError(
            "expected either keys or --older-than DAYS; `chipcyte gc --help` says what each does"
        )
    objects = open_store(common.store)
    if keys:
        planned = collecting.plan_removal(objects, keys)
    else:
        planned = collecting.plan_collection(objects, older_than=timedelta(days=older_than or 0))
    if not common.json:
        title = "Named, and made from these" if keys else "Nothing refers to"
        err.print(_removals_table(planned, title))
    agreed = bool(planned) and (yes or (not common.json and _asked(planned)))
    gone = collecting.collect(objects, planned) if agreed else []
    result: dict[str, Any] = {
        "key": [one.record.key for one in planned],
        "uri": objects.url,
        "counts": {
            "artifacts": len(planned),
            "objects": sum(len(one.names) for one in planned),
            "bytes": sum(one.size_bytes for one in planned),
            "removed": len(gone),
            "removed_bytes": sum(one.size_bytes for one in gone),
        },
        "metrics": {},
        "reused": False,
        "artifacts": [_plain_removal(one, one in gone) for one in planned],
    }
    common.show(result, lambda: out.print(_summary(result["counts"]), soft_wrap=True))


def _asked(planned: Sequence[Any]) -> bool:
    total = sum(one.size_bytes for one in planned)
    return typer.confirm(f"Remove these {len(planned)} artifacts ({_mib(total)})?", err=True)


def _plain_removal(one: Any, removed: bool) -> dict[str, Any]:
    return {
        "kind": one.record.kind,
        "key": one.record.key,
        "name": one.record.name,
        "bytes": one.size_bytes,
        "age_days": round(one.age / timedelta(days=1), 2),
        "removed": removed,
    }


def _removals_table(planned: Sequence[Any], title: str) -> Table:
    table = Table(title=title, title_justify="left")
    for name in ("kind", "key", "name"):
        table.add_column(name)
    for name in ("size", "days"):
        table.add_column(name, justify="right")
    for one in planned:
        record, days = one.record, one.age / timedelta(days=1)
        table.add_row(record.kind, record.key[:12], record.name, _mib(one.size_bytes), f"{days:.1f}")
    return table


def _summary(counts: dict[str, int]) -> str:
    if not counts["artifacts"]:
        return "Nothing to remove."
    return (
        f"{counts['removed']} of {counts['artifacts']} artifacts removed, "
        f"{_mib(counts['removed_bytes'])} of {_mib(counts['bytes'])}."
    )


def _mib(size_bytes: int) -> str:
    return f"{size_bytes / 2**20:,.1f} MiB"
