"""Backup and restore: the store and what the servers remember, into a new place, whole or not at all."""

from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from flows import services
from flows.services import databases
from flows.services.recipes import RECIPES
from storage import backup, names
from storage.arrays import Digests
from storage.errors import DamagedStoreError
from storage.objects import open_store
from storage.staging import check_space, staged

ARTIFACTS = "mlflow/artifacts"


@dataclass
class Copied:
    """What was copied, and what people should know of what was not."""

    contents: backup.Contents
    notes: list[str] = field(default_factory=list)


def back_up(store: str, home: Path, out: Path, listener: backup.Listener | None = None) -> Copied:
    """Copy a store, the databases and MLflow's artifacts into a new folder; servers and runs may go on.

    The databases go first: what they name in MLflow's artifacts and in the store was there before them.

    Raises
    ------
    InputError
        `out` exists and is not an empty folder, or lies in the store.
    DamagedStoreError
        The store is not what its records say.
    """
    objects = open_store(store)
    with staged(objects, out, is_folder=True) as staging:
        staging.mkdir(mode=0o700)  # the databases may hold what is nobody else's business
        files, notes = _copy_databases(home, staging)
        files |= _below(ARTIFACTS, _copy_artifacts(home, staging / ARTIFACTS, notes))
        files |= _below(backup.STORE, backup.copy_store(objects, staging / backup.STORE, listener))
        contents = backup.write_contents(staging, objects.url, files)
    return Copied(contents, notes)


def _copy_databases(home: Path, staging: Path) -> tuple[Digests, list[str]]:
    files: Digests = {}
    notes: list[str] = []
    states = {one.name: one for one in services.status(home)}
    for recipe in RECIPES:
        (staging / recipe.name).mkdir()
        dumped = databases.dump(databases.database(recipe, home), staging / recipe.name)
        if dumped is not None:
            files[f"{recipe.name}/{dumped.name}"] = backup.digest_file(dumped)
        elif states[recipe.name].state == "given":
            notes.append(
                f"{recipe.name}'s server {states[recipe.name].url} is yours: back it up where it runs"
            )
        else:
            notes.append(f"{recipe.name} has no database in {home} yet, so the backup has none")
    return files, notes


def _copy_artifacts(home: Path, target: Path, notes: list[str]) -> Digests:
    source = databases.artifacts_folder(home)
    if source is None:
        notes.append("MLflow's artifacts lie on another machine: back them up there")
    return backup.copy_folder(source, target) if source is not None and source.is_dir() else {}


def _below(folder: str, files: Digests) -> Digests:
    return {f"{folder}/{name}": one for name, one in files.items()}


def restore(source: Path, store: str, home: Path, listener: backup.Listener | None = None) -> Copied:
    """Bring a backup back into a store and a home that are not there yet.

    All of it is copied beside its places and checked before the first of them appears; the store is the last.

    Raises
    ------
    InputError
        There is no backup, or a place is taken.
    DamagedStoreError
        A file of the backup is lost or changed; nothing was restored.
    """
    contents = backup.read_contents(source)
    _check_whole(source, contents)
    check_space(_existing(home), sum(size for size, _ in contents.files.values()))
    with ExitStack() as places:
        objects = places.enter_context(backup.fresh_store(store))
        for recipe in RECIPES:
            _stage_database(places, source, contents, databases.database(recipe, home))
        _stage_artifacts(places, source, contents, home)
        backup.restore_store(source, contents, objects, listener)
        _load_postgres(source, contents, home)
    return Copied(contents)


def _check_whole(source: Path, contents: backup.Contents) -> None:
    """Say before anything is copied that a backup has lost files."""
    sizes = {name: _size(source / name) for name in contents.files}
    lost = [name for name, (size, _) in contents.files.items() if sizes[name] != size]
    if lost:
        raise DamagedStoreError(
            f"the backup {source} has lost {len(lost)} of its {len(sizes)} files or part of them, {lost[0]} "
            "first; nothing was restored: use another backup"
        )


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else -1


def _dumped(contents: backup.Contents, name: str) -> str | None:
    """Return the file in a backup that holds a server's database; None if it has none."""
    files = (f"{name}/{name}{ending}" for ending in (databases.SQLITE, databases.POSTGRES))
    return next((file for file in files if file in contents.files), None)


def _stage_database(
    places: ExitStack, source: Path, contents: backup.Contents, one: databases.Database
) -> None:
    """Copy a SQLite database beside its place, and see that one of PostgreSQL has a place to go."""
    name = _dumped(contents, one.name)
    if name is None:
        return
    databases.check_fits(one, source / name)
    if one.file is not None:
        staging = places.enter_context(staged(None, one.file, is_folder=False))
        backup.copy_file(source / name, staging, contents.files[name])
        databases.check_sqlite(staging)


def _stage_artifacts(places: ExitStack, source: Path, contents: backup.Contents, home: Path) -> None:
    wanted = contents.below(ARTIFACTS)
    target = databases.artifacts_folder(home)
    if not wanted or target is None:
        return
    staging = places.enter_context(staged(None, target, is_folder=True))
    for name, one in wanted.items():
        backup.copy_file(source / ARTIFACTS / name, names.inside(staging, name), one)


def _load_postgres(source: Path, contents: backup.Contents, home: Path) -> None:
    for recipe in RECIPES:
        one, name = databases.database(recipe, home), _dumped(contents, recipe.name)
        if name is not None and one.file is None:
            databases.load_postgres(one, source / name)


def _existing(place: Path) -> Path:
    """Return the nearest folder above a place that is there, whose disk will hold it."""
    return next(path for path in (place, *place.parents) if path.is_dir())
