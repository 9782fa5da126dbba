"""refine train and rollback: learn, and decide which network segments from now on."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from prefect import flow

from storage import records
from storage.objects import Objects, open_store
from tasks import announce
from tasks.models.networks import SHIPPED
from tasks.network_files import model_of
from tasks.networks import out_file
from tasks.refine import refine_segmenter, register_again, registry_name
from tasks.refine_settings import CHAMPION
from tasks.segment_settings import Network
from tasks.settings import Settings
from tasks.stage import Handle, folder
from tasks.tracking import deliver_if_any
from tasks.tracking.champions import Champion, find_champion, find_version, promote, rollback, was_champion
from tasks.train import Tracking


@dataclass(frozen=True)
class Refined:
    """What a training gave.

    Attributes
    ----------
    segmenter
        The network, with its scores.
    champion
        What is in use now; None: the shipped network.
    promoted
        Whether this run made it so.
    """

    segmenter: Handle
    champion: Champion | None
    promoted: bool
    flow_run_url: str = ""


@flow(name="refine", flow_run_name="{name}", timeout_seconds=7 * 86_400)
def refine_train(
    *,
    store: str,
    name: str,
    tracking_uri: str,
    settings: Settings,
    pairs: str | None = None,
    out: str | None = None,
) -> Refined:
    """Teach a network all annotations so far; it is used from now on if it is better on the hold-out.

    Args:
        store: Folder or s3:// of the store.
        name: What the run is called in Prefect and MLflow.
        tracking_uri: Address of the MLflow server.
        settings: As in a settings file; those left out keep their defaults.
        pairs: A folder with further pictures and masks; empty: none.
        out: A file for the network's weights as Cellpose reads them; empty: none.
    """
    objects = open_store(store, create=True)
    target = out_file(Path(out)) if out else None
    deliver_if_any(objects, tracking_uri)
    page = announce.run_page()
    standing, tracking = champion_of(objects, tracking_uri), Tracking(tracking_uri, name, page)
    made = refine_segmenter(
        store=objects.url,
        pairs=pairs,
        settings=settings.refine,
        tracking=tracking,
        resources=settings.resources,
        champion=standing,
    )
    if target is not None:
        target.write_bytes(objects.get(folder("segmenter", made.key, "network.pt")))
    promoted = _promote_if_better(objects, made, standing, tracking)
    _announce(objects, made)
    return Refined(made, promoted or standing, promoted is not None, page)


def champion_of(objects: Objects, tracking_uri: str) -> Champion | None:
    """Return the champion among a store's segmenters; None if there is none that the store holds."""
    found = find_champion(tracking_uri, registry_name(objects))
    if found is not None and records.find(objects, "segmenter", found.key) is None:
        announce.warn(
            f"the champion {found.name}, version {found.version}, is not in {objects.url}; it is not used"
        )
        return None
    return found


def with_champion(objects: Objects, settings: Settings, tracking_uri: str) -> Settings:
    """Return the settings with the network that `segment.method.model = "champion"` means at this moment."""
    method = settings.segment.method
    if not isinstance(method, Network) or method.model != CHAMPION:
        return settings
    found = champion_of(objects, tracking_uri)
    model = SHIPPED[0] if found is None else model_of(found.key)
    chosen = settings.segment.model_copy(update={"method": method.model_copy(update={"model": model})})
    return settings.model_copy(update={"segment": chosen})


def _promote_if_better(
    objects: Objects, made: Handle, standing: Champion | None, tracking: Tracking
) -> Champion | None:
    """Promote a network once: one that was rolled back stays so."""
    if not made.metrics["better"]:
        return None
    name, tracking_uri = registry_name(objects), tracking.uri
    version = find_version(tracking_uri, name, made.key) or register_again(objects, made, tracking)
    if was_champion(tracking_uri, name, version):
        return None
    judged_against = records.read(objects, "segmenter", made.key).details["champion"]
    if standing is not None and judged_against != standing.key:
        announce.warn(
            "this network was judged against another champion than the one that stands now, and is not "
            "promoted; train again with more annotations, or another seed"
        )
        return None
    return promote(tracking_uri, name, version)


def _announce(objects: Objects, made: Handle) -> None:
    rows = [{"network": which, **made.metrics[which]} for which in ("before", "in_use", "after")]
    announce.table("refined", rows, "AP on the hold-out, all nuclei pooled")
    record = records.read(objects, "segmenter", made.key)
    announce.link("mlflow-refine", str(record.details["run_url"]), "The training in MLflow")


def roll_back(store: str, tracking_uri: str) -> tuple[Champion, Champion | None]:
    """Return to the champion before; (what stood, what stands now), None being the shipped network."""
    return rollback(tracking_uri, registry_name(open_store(store)))


def refined_json(result: Refined) -> dict[str, Any]:
    """Return the object that `--json` prints."""
    made, champion = result.segmenter, result.champion
    return {
        "key": made.key,
        "uri": made.uri,
        "counts": {name: value for name, value in made.counts.items() if name != "units"},
        "metrics": made.metrics,
        "reused": made.reused,
        "promoted": result.promoted,
        "champion": champion_json(champion),
    }


def champion_json(champion: Champion | None) -> dict[str, Any] | None:
    """Return what is said of a champion."""
    return None if champion is None else asdict(champion)
