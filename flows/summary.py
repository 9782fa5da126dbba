"""What a command found, in the one shape that people and programs get."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from storage import records
from storage.objects import Objects
from tasks import announce
from tasks.stage import Handle
from tasks.tracking import artifact_page

PER_ACQUISITION = ("ingest", "preprocess", "segment", "extract")
STAGES = (*PER_ACQUISITION, "train", "embed", "cluster", "report")
SUMMED = ("cells", "frames", "patches", "planes", "bytes")


@dataclass
class Result:
    """The handles of each stage, in the order of the acquisitions."""

    stages: dict[str, list[Handle]] = field(default_factory=dict)
    composition: list[dict[str, Any]] = field(default_factory=list)
    flow_run_url: str = ""
    tracking_page: str = ""  # of the clustering's run, below the address of MLflow

    @property
    def last(self) -> str:
        """The stage that was reached."""
        return [stage for stage in STAGES if stage in self.stages][-1]

    @property
    def reused(self) -> bool:
        """Whether nothing had to be computed."""
        return all(one.reused for handles in self.stages.values() for one in handles)

    def as_json(self) -> dict[str, Any]:
        """Return the object that `--json` prints: the last stage, and every stage under `stages`."""
        whole = stage_json(self.last, self.stages[self.last])
        whole["counts"] = self._counts()
        whole["metrics"] = self._metrics()
        whole["reused"] = self.reused
        whole["stages"] = {stage: stage_json(stage, handles) for stage, handles in self.stages.items()}
        return whole

    def _counts(self) -> dict[str, int]:
        every = [one for handles in self.stages.values() for one in handles]
        counts = {
            "acquisitions": len(self.stages.get("ingest", self.stages[self.last])),
            "units_done": sum(one.units_done for one in every),
            "units_reused": sum(one.units_reused for one in every),
        }
        for stage, names in (("segment", ("cells", "frames")), ("extract", ("patches",))):
            for name in names if stage in self.stages else ():
                counts[name] = sum(one.counts.get(name, 0) for one in self.stages[stage])
        if "cluster" in self.stages:
            counts["clusters"] = self.stages["cluster"][0].counts["clusters"]
        return counts

    def _metrics(self) -> dict[str, Any]:
        metrics: dict[str, Any] = {}
        for stage in STAGES:
            if stage in self.stages:
                metrics |= stage_metrics(stage, self.stages[stage])
        return metrics


def stage_json(stage: str, handles: Sequence[Handle]) -> dict[str, Any]:
    """Return what is said of one stage: a single artifact's key and URI, or lists of several."""
    keys, uris = [one.key for one in handles], [one.uri for one in handles]
    counts = {
        name: sum(one.counts[name] for one in handles if name in one.counts)
        for name in dict.fromkeys(name for one in handles for name in one.counts)
        if len(handles) == 1 or name in SUMMED
    }
    counts.pop("units", None)
    return {
        "key": keys[0] if len(keys) == 1 else keys,
        "uri": uris[0] if len(uris) == 1 else uris,
        "counts": counts
        | {
            "units_done": sum(one.units_done for one in handles),
            "units_reused": sum(one.units_reused for one in handles),
        },
        "metrics": stage_metrics(stage, handles),
        "reused": all(one.reused for one in handles),
    }


def stage_metrics(stage: str, handles: Sequence[Handle]) -> dict[str, Any]:
    """Return a stage's metrics; those of each acquisition by its file's name."""
    if stage == "preprocess":
        return {
            "angles_deg": {one.name: one.metrics["angle_deg"] for one in handles},
            "confidences": {one.name: one.metrics["confidence"] for one in handles},
        }
    if stage == "segment":
        return {"cells_by_file": {one.name: one.counts["cells"] for one in handles}}
    return dict(handles[0].metrics) if stage not in PER_ACQUISITION else {}


def announce_result(objects: Objects, result: Result) -> None:
    """Show the numbers of the whole run in the Prefect UI."""
    rows = [
        {"stage": stage, "artifacts": len(handles), "reused": sum(one.reused for one in handles)}
        | {name: _sum(name, handles) for name in ("frames", "cells", "patches")}
        for stage, handles in result.stages.items()
    ]
    announce.table("result", rows, "What each stage gave")
    for stage, text in (("train", "The training in MLflow"), ("cluster", "The clustering in MLflow")):
        if stage in result.stages:
            made = result.stages[stage][0]
            found = records.read(objects, made.kind, made.key).details
            announce.link(f"mlflow-{stage}", str(found["run_url"]), text)
            if stage == "cluster" and "report" in result.stages:
                announce.link("report", artifact_page(found["run_url"], "report.html"), "The report")
    announce.table("composition", result.composition, "Cells and percent of each condition in each cluster")


def _sum(name: str, handles: Sequence[Handle]) -> int | None:
    """Add up what artifacts counted; nothing where a stage does not count it."""
    counted = [one.counts[name] for one in handles if name in one.counts]
    return sum(counted) if counted else None


def announce_histories(objects: Objects, result: Result) -> None:
    """Show of each acquisition of which something new was made how all of it came about."""
    stages = [result.stages[stage] for stage in PER_ACQUISITION if stage in result.stages]
    for made in zip(*stages, strict=True):
        if not all(one.reused for one in made):
            rows = history(objects, made[-1])
            announce.table(f"history-{made[0].key[:12]}", rows, f"{made[0].name}: all that was made of it")


def history(objects: Objects, made: Handle) -> list[dict[str, Any]]:
    """Return a row for an artifact and for each that it was made from, in the order of the stages."""
    chain = records.lineage(objects, records.read(objects, made.kind, made.key))
    chain.sort(key=lambda one: records.KINDS.index(one.kind))
    return [
        {
            "what": one.kind,
            "key": one.key,
            "made": records.readable(one.created),
            "from": ", ".join(f"{parent.kind} {parent.key[:12]}" for parent in one.parents),
            "by": f"chipcyte {one.versions.get('chipcyte', 'of unknown version')}",
            "counts": records.counted(one.counts),
            "settings": json.dumps(one.settings),
        }
        for one in chain
    ]
