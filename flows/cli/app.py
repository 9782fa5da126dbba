"""The table of commands."""

import typer

from flows.cli.backup import backup, restore
from flows.cli.compare import compare
from flows.cli.deliver import deliver
from flows.cli.demo import demo
from flows.cli.export import export
from flows.cli.refine import refine_app
from flows.cli.reproduce import reproduce
from flows.cli.segment import segment
from flows.cli.servers import down, logs, status, up
from flows.cli.stages import HELP, ingest, run, simulate, stage_command
from flows.cli.store import list_records, plan, show
from flows.cli.sweep import sweep
from flows.cli.upkeep import check, gc
from flows.cli.view import view
from flows.cli.watch import quarantine_app, watch

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    help="From recordings of cells on microfluidic chips to populations that can be compared.",
    epilog="Start with `chipcyte demo`. Exit 0: done; 1: the work failed; 2: the input or usage is wrong.",
)

WHOLE, STAGES, LOOK, SERVERS = "The whole way", "Stage by stage", "Look into a store", "Servers"
UPKEEP = "Upkeep"

app.command(rich_help_panel=WHOLE)(demo)
app.command(rich_help_panel=WHOLE)(simulate)
app.command(rich_help_panel=WHOLE)(plan)
app.command(rich_help_panel=WHOLE)(run)
app.command(rich_help_panel=STAGES)(ingest)
for stage in HELP:
    app.command(stage, rich_help_panel=STAGES)(segment if stage == "segment" else stage_command(stage))
app.command(rich_help_panel=STAGES)(watch)
app.command(rich_help_panel=STAGES)(sweep)
app.command(rich_help_panel=STAGES)(compare)
app.add_typer(refine_app, name="refine", rich_help_panel=STAGES)
app.command("list", rich_help_panel=LOOK)(list_records)
app.command(rich_help_panel=LOOK)(show)
app.command(rich_help_panel=LOOK)(view)
app.command(rich_help_panel=LOOK)(export)
app.command(rich_help_panel=LOOK)(reproduce)
app.command(rich_help_panel=UPKEEP)(check)
app.command(rich_help_panel=UPKEEP)(gc)
app.command(rich_help_panel=UPKEEP)(backup)
app.command(rich_help_panel=UPKEEP)(restore)
app.command(rich_help_panel=UPKEEP)(deliver)
app.add_typer(quarantine_app, name="quarantine", rich_help_panel=UPKEEP)
app.command(rich_help_panel=SERVERS)(up)
app.command(rich_help_panel=SERVERS)(down)
app.command(rich_help_panel=SERVERS)(status)
app.command(rich_help_panel=SERVERS)(logs)


def main() -> None:
    """Run the command line."""
    app()
