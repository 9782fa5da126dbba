"""Which score ranks clusterings, by the one list of names in docs/reference/metrics.md."""

from collections.abc import Mapping
from typing import Any

from tasks.kernels.judging import sign
from tasks.sweep_settings import ScoreName

CHOSEN_BY = ("validation_", "train_", "")  # never test cells: these have the last word


def chosen_score(by: ScoreName, metrics: Mapping[str, Any]) -> str:
    """Return the score meant: `auto` is ari where the truth is known, else silhouette."""
    if by != "auto":
        return by
    return "ari" if metrics.get("ari") is not None else "silhouette"


def ranking_score(by: ScoreName, metrics: Mapping[str, Any]) -> tuple[str, float | None]:
    """Return name and value of the score that ranks: of validation cells where there are any."""
    score = chosen_score(by, metrics)
    name = next((part + score for part in CHOSEN_BY if part + score in metrics), score)
    return name, metrics.get(name)


def best_first(rows: list[dict[str, Any]], score: str) -> list[dict[str, Any]]:
    """Sort rows by their `score`, the best first; those without one last."""
    known = [row for row in rows if row["score"] is not None]
    known.sort(key=lambda row: sign(score) * row["score"], reverse=True)
    return known + [row for row in rows if row["score"] is None]
