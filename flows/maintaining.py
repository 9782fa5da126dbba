"""maintain: what a store needs once a week: looked through byte for byte, tidied, and old things removed."""

from dataclasses import asdict, dataclass
from datetime import timedelta

from prefect import flow

from storage import checking, collecting
from storage.errors import DamagedStoreError
from storage.objects import Objects, open_store
from tasks import announce

SPARED = timedelta(days=1)  # what changed since may be at work


@dataclass(frozen=True)
class Maintained:
    """What a maintenance did: objects looked at, leftovers removed, artifacts removed and their bytes."""

    objects: int
    repaired: int
    removed: int
    removed_bytes: int


@flow(name="maintain", flow_run_name="maintain {store}")
def maintain(*, store: str, remove_older_than_days: float | None = None) -> Maintained:
    """Check a store against its records and remove leftovers; fails if something is damaged, and says what.

    Args:
        store: Folder or s3:// of the store.
        remove_older_than_days: Remove artifacts that nothing has used for so many days; empty: remove none.
            Recordings, and what samples.csv says of them, always stay.
    """
    objects = open_store(store)
    found = checking.check_store(objects, older_than=SPARED, listener=announce.listener("check"))
    mended = checking.repair(objects, found.problems)
    removed = [] if remove_older_than_days is None else _remove(objects, remove_older_than_days)
    left = [problem for problem in found.problems if problem not in mended]
    done = Maintained(
        objects=found.counts["objects"],
        repaired=len(mended),
        removed=len(removed),
        removed_bytes=sum(one.size_bytes for one in removed),
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
