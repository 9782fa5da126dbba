"""maintain: what a lab needs once a week: its store looked through, leftovers and dead runs put away."""

from dataclasses import asdict, dataclass
from datetime import timedelta
from uuid import UUID

from prefect import flow
from prefect.runtime import flow_run

from flows.environment import home_folder
from flows.services import databases
from flows.services.recipes import RECIPES
from flows.zombies import mark_dead_runs
from storage import checking, collecting
from storage.errors import DamagedStoreError
from storage.objects import Objects, open_store
from tasks import announce

SPARED = timedelta(days=1)  # what changed since may be at work


@dataclass(frozen=True)
class Maintained:
    """What a maintenance did.

    Attributes
    ----------
    objects, repaired
        How many objects of the store were looked at, and how many leftovers removed.
    removed, removed_bytes
        How many old artifacts went, and what they took.
    dead_runs
        How many runs were at work by their state alone.
    freed_bytes
        By how much the files of Prefect's and MLflow's databases shrank.
    """

    objects: int
    repaired: int
    removed: int
    removed_bytes: int
    dead_runs: int
    freed_bytes: int


@flow(name="maintain", flow_run_name="maintain {store}", timeout_seconds=2 * 86_400)
def maintain(*, store: str, remove_older_than_days: float | None = None) -> Maintained:
    """Check a store against its records and remove leftovers; fails if something is damaged, and says what.

    Runs that gave no sign of life for a day are marked as crashed, and databases that are files of this
    machine give back the room of what was deleted.

    Args:
        store: Folder or s3:// of the store.
        remove_older_than_days: Remove artifacts that nothing has used for so many days; empty: remove none.
            Recordings, and what samples.csv says of them, always stay.
    """
    objects = open_store(store)
    dead = mark_dead_runs(SPARED, but=UUID(flow_run.id)) if flow_run.id else []
    freed = [databases.compact(databases.database(recipe, home_folder())) for recipe in RECIPES]
    found = checking.check_store(objects, older_than=SPARED, listener=announce.listener("check"))
    mended = checking.repair(objects, found.problems)
    removed = [] if remove_older_than_days is None else _remove(objects, remove_older_than_days)
    left = [problem for problem in found.problems if problem not in mended]
    done = Maintained(
        objects=found.counts["objects"],
        repaired=len(mended),
        removed=len(removed),
        removed_bytes=sum(one.size_bytes for one in removed),
        dead_runs=len(dead),
        freed_bytes=sum(freed),
    )
    announce.table("maintenance", [asdict(done)], "What was looked at and removed")
    announce.table("damage", [{"what": one.what, "problem": one.text} for one in left], "What is damaged")
    if left:
        raise DamagedStoreError(
            f"expected {objects.url} to be whole, found {len(left)} problems, the first: {left[0].text}; "
            f"`chipcyte check --store {objects.url}` lists all and says what mends them"
        )
    return done


def _remove(objects: Objects, days: float) -> list[collecting.Removal]:
    return collecting.collect(objects, collecting.plan_collection(objects, older_than=timedelta(days=days)))
