"""The commands that keep a lab's work safe: backup, restore."""

from pathlib import Path
from typing import Annotated, Any

import typer

from flows.cli.common import Common, command, err, out


@command
def backup(
    common: Common,
    *,
    place: Annotated[
        str, typer.Argument(metavar="OUT", help="The folder to make; nothing is ever replaced.")
    ],
) -> None:
    """Copy the store, Prefect's and MLflow's databases and MLflow's artifacts into a new folder.

    Servers and runs may go on: what is being made at the moment is left out, and made anew after a restore.
    Every object is checked against its digest on the way. Settings files and recordings are yours to keep.

    Example: chipcyte backup /mnt/backups/2026-11-26 --store /data/store
    """
    from flows import backup as backups
    from flows.cli.progress import shown
    from flows.environment import home_folder
    from tasks import announce

    target = Path(place).expanduser().absolute()
    with shown():
        copied = backups.back_up(common.store, home_folder(), target, announce.listener("backup"))
    result = _result(copied, str(target), target)
    common.show(result, lambda: _print_copied(result, "Backed up"))


@command
def restore(
    common: Common,
    *,
    place: Annotated[str, typer.Argument(metavar="FROM", help="A folder that `chipcyte backup` made.")],
) -> None:
    """Bring a backup back: the store to --store, the databases to CHIPCYTE_HOME. Both must be new places.

    Everything is checked against its digest before the first of it appears.

    Example: CHIPCYTE_HOME=/data/home chipcyte restore /mnt/backups/2026-11-26 --store /data/store
    """
    from flows import backup as backups
    from flows.cli.progress import shown
    from flows.environment import home_folder
    from storage.objects import normal_url
    from tasks import announce

    source = Path(place).expanduser().absolute()
    with shown():
        copied = backups.restore(source, common.store, home_folder(), announce.listener("restore"))
    result = _result(copied, normal_url(common.store), source) | {"home": str(home_folder())}
    common.show(result, lambda: _print_copied(result, "Restored"))


def _result(copied: Any, uri: str, backup_folder: Path) -> dict[str, Any]:
    files = copied.contents.files
    return {
        "key": None,
        "uri": uri,
        "counts": {
            "artifacts": sum(name.startswith("store/records/") for name in files),
            "files": len(files),
            "bytes": sum(size for size, _ in files.values()),
        },
        "metrics": {},
        "reused": False,
        "backup": str(backup_folder),
        "created": copied.contents.created,
        "databases": sorted(name for name in files if name.count("/") == 1 and not name.startswith("store/")),
        "notes": copied.notes,
    }


def _print_copied(result: dict[str, Any], done: str) -> None:
    for note in result["notes"]:
        err.print(note, soft_wrap=True)
    counts = result["counts"]
    out.print(
        f"{done}: {counts['artifacts']:,} artifacts and {', '.join(result['databases']) or 'no database'}, "
        f"{counts['files']:,} files, {counts['bytes'] / 2**20:,.1f} MiB, as of {result['created']}",
        soft_wrap=True,
    )
    out.print(result["uri"], soft_wrap=True)
