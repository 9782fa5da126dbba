"""compare as a flow: the models of a store, ranked on the same cells, and the champion among them."""

from collections.abc import Sequence
from dataclasses import dataclass

from prefect import flow

from storage import records
from storage.errors import InputError
from storage.objects import Objects, open_store
from storage.records import Record
from tasks import announce
from tasks.cluster import cluster
from tasks.compare import Candidate, Comparison, compare, passes
from tasks.embed import embed
from tasks.settings import Settings, TrainSettings
from tasks.stage import handle, parents_of
from tasks.tracking import Tracking, deliver_if_any
from tasks.tracking.champions import Champion, Version, challenge, find_champion, promote, rollback, versions
from tasks.train import register_again, registry_name


@dataclass(frozen=True)
class Compared:
    """What a comparison gave.

    Attributes
    ----------
    found
        The ranking.
    champion
        What is champion now; None if nothing is.
    promoted
        Whether this comparison made it so.
    challenger
        The version that is best but not surely so, if this comparison named one.
    """

    found: Comparison
    champion: Champion | None
    promoted: bool
    challenger: int | None
    flow_run_url: str = ""


@flow(name="compare", flow_run_name="{name}", timeout_seconds=86_400)
def compare_models(
    *,
    store: str,
    name: str,
    tracking_uri: str,
    settings: Settings,
    models: list[str] | None = None,
    promotes: bool = False,
) -> Compared:
    """Rank the models of an experiment; the best becomes champion if it passes the gate and that is asked.

    Args:
        store: Folder or s3:// of the store.
        name: The experiment: what the runs that trained the models are called in MLflow.
        tracking_uri: Address of the MLflow server.
        settings: As in a settings file; those left out keep their defaults.
        models: Keys of models or their first digits, versions, or aliases; empty: all of the experiment.
        promotes: Whether the best becomes champion if it is better beyond doubt.
    """
    objects = open_store(store)
    page = announce.run_page()
    tracking = Tracking(tracking_uri, name, page)
    deliver_if_any(objects, tracking_uri)
    standing = find_champion(tracking_uri, registry_name(tracking))
    known = {one.key: one for one in versions(tracking_uri, registry_name(tracking))}
    chosen = _chosen(objects, tracking, models, known, standing)
    found = compare(
        candidates=[_candidate(objects, one, known.get(one.key), settings, tracking) for one in chosen],
        standing=standing.key if standing else None,
        store=objects.url,
        settings=settings.compare,
        tracking=tracking,
    )
    announce.link("mlflow-compare", found.run_url, "The comparison in MLflow")
    promoted, challenger = _decide(objects, found, standing, tracking) if promotes else (None, None)
    return Compared(found, promoted or standing, promoted is not None, challenger, page)


def _chosen(
    objects: Objects,
    tracking: Tracking,
    models: Sequence[str] | None,
    known: dict[str, Version],
    standing: Champion | None,
) -> list[Record]:
    """Return the models to compare; the champion is always one of them."""
    every = [one for one in records.listing(objects, "model") if one.name == tracking.experiment]
    named = every if models is None else [_named(objects, text, known) for text in models]
    strangers = [one for one in named if one.kind != "model"]
    if strangers:
        raise InputError(f"expected keys of models, found {strangers[0].kind} {strangers[0].key}")
    if standing is not None and all(one.key != standing.key for one in named):
        named.append(records.read(objects, "model", standing.key))
    return list({one.key: one for one in named}.values())


def _named(objects: Objects, text: str, known: dict[str, Version]) -> Record:
    """Return the model of a version's number, an alias, or the first digits of a key."""
    for one in known.values():
        if text in (str(one.version), *one.aliases):
            return records.read(objects, "model", one.key)
    return records.resolve(objects, text)


def _candidate(
    objects: Objects, record: Record, version: Version | None, settings: Settings, tracking: Tracking
) -> Candidate:
    """Embed and cluster what the model was given, by the same settings as every other; mostly reused."""
    model = handle(objects, record)
    embedding = embed(
        patches=parents_of(objects, record, "patches"),
        model=model,
        store=objects.url,
        settings=settings.embed,
        training=TrainSettings.model_validate(record.settings),
        resources=settings.resources,
    )
    clusters = cluster(embedding, objects.url, settings.cluster, tracking)
    aliases = version.aliases if version else ()
    return Candidate(model, clusters, version.version if version else None, aliases)


def _decide(
    objects: Objects, found: Comparison, standing: Champion | None, tracking: Tracking
) -> tuple[Champion | None, int | None]:
    """Give the best sound model one of the two aliases; (the new champion, the challenger)."""
    sound = [row for row in found.rows if not row["alarms"] and row["score"] is not None]
    if not sound or (standing is not None and sound[0]["key"] == standing.key):
        return None, None
    best, name = sound[0], registry_name(tracking)
    stands = next((row for row in found.rows if standing and row["key"] == standing.key), None)
    model = handle(objects, records.read(objects, "model", best["key"]))
    version = best["version"] or register_again(objects, model, tracking)
    if passes(best, stands):
        return promote(tracking.uri, name, version), None
    challenge(tracking.uri, name, version)
    return None, version


def roll_back(name: str, tracking_uri: str) -> tuple[Champion, Champion | None]:
    """Return to the champion before; (what stood, what stands now)."""
    return rollback(tracking_uri, registry_name(Tracking(tracking_uri, name)))
