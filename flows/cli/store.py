"""The commands that look into a store and compute nothing: list, show, plan."""

from typing import Annotated, Any

import typer
from rich.table import Table
from rich.tree import Tree

from flows.cli.common import Common, command, out
from flows.cli.stages import InputsArgument

MOST_ROWS = 40  # of a plan's table


@command
def list_records(
    common: Common,
    kind: Annotated[
        str | None, typer.Argument(metavar="[KIND]", help="raw, clean, labels, patches, model, clusters, ...")
    ] = None,
    last: Annotated[
        int, typer.Option("--last", metavar="N", min=0, help="How many, those that came last; 0: all.")
    ] = 1000,
) -> None:
    """List what a store holds, what came last at the end.

    Example: chipcyte list raw --store /data/store
    """
    from storage import records
    from storage.errors import InputError
    from storage.objects import open_store

    if kind is not None and kind not in records.KINDS:
        raise InputError(f"expected a kind of {', '.join(records.KINDS)}, found {kind!r}")
    objects = open_store(common.store)
    if last:
        listed, total = records.newest(objects, kind, last)
    else:
        listed = records.listing(objects, kind)
        total = len(listed)
    found = [_brief(objects, record) for record in listed]
    whole = {
        "key": [one["key"] for one in found],
        "uri": objects.url,
        "counts": {"artifacts": total, "listed": len(found)},
        "metrics": {},
        "reused": True,
        "artifacts": found,
    }
    common.show(whole, lambda: _print_records(found, total))


def _print_records(found: list[dict[str, Any]], total: int) -> None:
    out.print(_records_table(found))
    if len(found) < total:
        out.print(f"the last {len(found):,} of {total:,}; --last 0 lists all")


def _brief(objects: Any, record: Any) -> dict[str, Any]:
    return {
        "kind": record.kind,
        "key": record.key,
        "name": record.name,
        "created": record.created,
        "uri": objects.uri(record.path),
        "counts": record.counts,
    }


def _records_table(found: list[dict[str, Any]]) -> Table:
    from storage.records import readable

    table = Table()
    for name in ("kind", "key", "name", "created", "counts"):
        table.add_column(name, overflow="fold")
    for one in found:
        row = (one["kind"], one["key"][:12], one["name"], readable(one["created"]))
        table.add_row(*row, _counted(one["counts"]))
    return table


def _counted(counts: dict[str, int]) -> str:
    from storage.records import counted

    return counted({name: count for name, count in counts.items() if name != "units"})


@command
def show(
    key: Annotated[str, typer.Argument(metavar="KEY", help="A key or its first digits.")], common: Common
) -> None:
    """Show the record of an artifact, and what it was made from.

    Example: chipcyte show 3f9a --store /data/store
    """
    from storage import records
    from storage.objects import open_store

    objects = open_store(common.store)
    record = records.resolve(objects, key)
    chain = records.lineage(objects, record)
    found = {
        "key": record.key,
        "uri": objects.uri(record.path),
        "counts": record.counts,
        "metrics": record.metrics,
        "reused": True,
        "record": record.model_dump(mode="json"),
        "lineage": [{"kind": one.kind, "key": one.key, "name": one.name} for one in chain],
    }
    common.show(found, lambda: _print_record(record, {one.key: one for one in chain}))


def _print_record(record: Any, chain: dict[str, Any]) -> None:
    import yaml

    from storage.records import readable

    facts = {name: getattr(record, name) for name in ("kind", "key", "name", "path", "digest")}
    facts |= {"created": readable(record.created), "counts": _counted(record.counts)}
    for name, flow_style in (("metrics", False), ("settings", None), ("details", None)):
        facts[name] = yaml.safe_dump(getattr(record, name), default_flow_style=flow_style, width=76).strip()
    table = Table(show_header=False, box=None)
    table.add_column(style="bold")
    for name, fact in facts.items():
        table.add_row(name, fact)
    out.print(table)
    tree = Tree(_leaf(record))
    _grow(tree, record, chain)
    out.print("made from", tree)


def _grow(tree: Tree, record: Any, chain: dict[str, Any]) -> None:
    for parent in record.parents:
        made_from = chain.get(parent.key)
        if made_from is None:
            tree.add(f"{parent.kind} {parent.key[:12]}  (removed)")
        else:
            _grow(tree.add(_leaf(made_from)), made_from, chain)


def _leaf(record: Any) -> str:
    return f"{record.kind} {record.key[:12]}  {record.name}"


@command
def plan(inputs: InputsArgument, common: Common) -> None:
    """Say what a run would do: units, bytes, peak memory and hours. Reads headers only and writes nothing.

    If a network segments, it is shown one empty patch, to say how long all of them take. For a gigabyte or
    more a small simulated recording is carried through the stages, for the same reason.

    Example: chipcyte plan recordings/
    """
    from flows.planning import plan_run

    settings = common.settings()
    found = plan_run(inputs, settings, common.store)
    common.show(found, lambda: _print_plan(found))


def _print_plan(found: dict[str, Any]) -> None:
    table = Table(title="Plan", title_justify="left")
    for name in ("acquisition", "shape t c z y x", "type"):
        table.add_column(name)
    for name in ("units", "raw MiB", "clean MiB", "peak MiB a worker"):
        table.add_column(name, justify="right")
    for one in found["acquisitions"][:MOST_ROWS]:
        numbers = (one["raw_bytes"], one["clean_bytes"], one["peak_bytes"])
        sizes = [f"{value / 2**20:,.0f}" for value in numbers]
        shape = " ".join(str(size) for size in one["shape"])
        table.add_row(one["name"], shape, one["dtype"], str(one["units"]), *sizes)
    out.print(table)
    budget, counts = found["metrics"], found["counts"]
    out.print(
        f"{counts['acquisitions']:,} acquisitions, {counts['units']:,} units, "
        f"{counts['raw_bytes'] / 2**30:,.1f} GiB of recordings",
        soft_wrap=True,
    )
    out.print(
        f"{budget['workers']} workers, peak {budget['peak_bytes'] / 2**20:,.0f} MiB together, "
        f"allowed {budget['memory_bytes'] / 2**20:,.0f} MiB: {'fits' if budget['fits'] else 'does NOT fit'}",
        soft_wrap=True,
    )
    if budget["network_s"] is not None:
        out.print(
            f"{counts['patches']:,} patches for the network, "
            f"about {budget['network_s']:,.0f} s of this machine",
            soft_wrap=True,
        )
    if budget["expected_s"] is not None:
        out.print(
            f"about {budget['expected_s'] / 3600:,.1f} hours up to the patches with {budget['workers']} "
            "workers like this machine's; learning comes on top, by the number of cells",
            soft_wrap=True,
        )
