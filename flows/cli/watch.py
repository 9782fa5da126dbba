"""The commands of the watcher: watch, and quarantine list, why, retry."""

from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.table import Table

from flows.cli.common import Common, command, err, out
from flows.cli.stages import start_servers

KeyArgument = Annotated[str, typer.Argument(metavar="KEY", help="A key or its first digits.")]


@command
def watch(
    inbox: Annotated[str, typer.Argument(metavar="INBOX", help="Folder or s3://bucket/prefix.")],
    common: Common,
    once: Annotated[bool, typer.Option("--once", help="Take what is complete now, then end.")] = False,
    interval: Annotated[
        float | None, typer.Option("--interval", metavar="S", help="Seconds between two looks.")
    ] = None,
) -> None:
    """Ingest recordings as they arrive in an inbox, until interrupted. Its files are never moved or changed.

    A recording is taken when it has not changed for watch.quiet_period_s (30 s) and its last plane can be
    read. One that cannot be read goes on the quarantine list and stops no other.

    Example: chipcyte watch /data/inbox --store /data/store
    """
    settings = common.settings()
    if interval is not None:
        settings = _with_interval(settings, interval)
    _check(inbox, common.store)
    start_servers()
    from flows import watching
    from tasks import chunked

    def tell(event: Any) -> None:
        (err if common.json else out).print(event.line, soft_wrap=True)

    try:
        if once:
            events = watching.watch_once(inbox=inbox, store=common.store, settings=settings)
            for event in events:
                tell(event)
        else:
            err.print(f"watching {inbox}; interrupt with Ctrl-C", soft_wrap=True)
            events = watching.watch(watching.open_watcher(inbox, common.store, settings), tell)
    finally:
        chunked.close()
    found = _found(events, common.store)
    common.show(found, lambda: _print_counts(found["counts"]))


def _with_interval(settings: Any, interval_s: float) -> Any:
    from storage.errors import InputError

    if interval_s <= 0:
        raise InputError(f"expected --interval above 0 s, found {interval_s}")
    changed = settings.watch.model_copy(update={"scan_interval_s": interval_s})
    return settings.model_copy(update={"watch": changed})


def _check(inbox: str, store: str) -> None:
    """Find a wrong inbox or store before servers are started."""
    from storage.inbox import open_inbox
    from storage.objects import open_store

    open_inbox(inbox)
    open_store(store, create=True)


def _found(events: list[Any], store: str) -> dict[str, Any]:
    from storage.objects import normal_url

    counts = dict.fromkeys(("ingested", "known", "quarantined", "waiting", "ignored"), 0)
    for event in events:
        counts[event.what] += 1
    return {
        "key": list(dict.fromkeys(event.key for event in events if event.what == "ingested")),
        "uri": normal_url(store),
        "counts": counts,
        "metrics": {},
        "reused": counts["ingested"] == 0,
        "events": [
            {"what": event.what, "place": event.place, "key": event.key, "reason": event.reason}
            for event in events
        ],
    }


def _print_counts(counts: dict[str, int]) -> None:
    out.print(", ".join(f"{number} {what}" for what, number in counts.items()))


quarantine_app = typer.Typer(no_args_is_help=True, help="Input that could not be ingested, and why.")


@command
def quarantine_list(common: Common) -> None:
    """List what is in quarantine.

    Example: chipcyte quarantine list --store /data/store
    """
    from storage import quarantine
    from storage.objects import open_store

    objects = open_store(common.store)
    refusals = [one.model_dump(mode="json") for one in quarantine.listing(objects)]
    whole = _answer([one["key"] for one in refusals], objects.url, len(refusals)) | {"refusals": refusals}
    common.show(whole, lambda: out.print(_table(refusals)))


@command
def quarantine_why(key: KeyArgument, common: Common) -> None:
    """Say why an input was refused, and in which state its files were.

    Example: chipcyte quarantine why 3f9a --store /data/store
    """
    from storage import quarantine
    from storage.objects import open_store

    objects = open_store(common.store)
    refusal = quarantine.read(objects, quarantine.resolve(objects, key)).model_dump(mode="json")
    whole = _answer(refusal["key"], objects.url, 1) | {"refusal": refusal}
    common.show(whole, lambda: _print_refusal(refusal))


@command
def quarantine_retry(key: KeyArgument, common: Common) -> None:
    """Take an input off the list: the watcher tries it again at its next look.

    Example: chipcyte quarantine retry 3f9a --store /data/store
    """
    from storage import quarantine
    from storage.objects import open_store

    objects = open_store(common.store)
    whole_key = quarantine.resolve(objects, key)
    quarantine.clear(objects, whole_key)
    whole = _answer(whole_key, objects.url, 1)
    common.show(whole, lambda: out.print(f"{whole_key} is tried again at the next look of `chipcyte watch`"))


quarantine_app.command("list")(quarantine_list)
quarantine_app.command("why")(quarantine_why)
quarantine_app.command("retry")(quarantine_retry)


def _answer(key: Any, uri: str, count: int) -> dict[str, Any]:
    return {"key": key, "uri": uri, "counts": {"refused": count}, "metrics": {}, "reused": True}


def _table(refusals: list[dict[str, Any]]) -> Table:
    table = Table()
    for name in ("key", "since", "place", "reason"):
        table.add_column(name, overflow="fold")
    for one in refusals:
        table.add_row(one["key"][:12], one["since"], one["place"], one["reason"])
    return table


def _print_refusal(refusal: dict[str, Any]) -> None:
    for name in ("key", "inbox", "place", "reason", "digest", "since"):
        out.print(f"{name:>7}  {refusal[name]}", soft_wrap=True)
    for path, (size_bytes, mtime_ns) in refusal["files"].items():
        changed = datetime.fromtimestamp(mtime_ns / 1e9, UTC).isoformat(timespec="seconds")
        out.print(f"   file  {path}  {size_bytes} bytes  {changed}", soft_wrap=True)
