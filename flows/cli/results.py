"""How results look on a terminal."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table

from flows.cli.common import out

SCORES = ("silhouette", "davies_bouldin", "calinski_harabasz", "accuracy", "purity", "nmi", "ari")


def print_result(found: Mapping[str, Any]) -> None:
    """Print what a run found and where to look."""
    out.print(stages_table(found["stages"]))
    if found.get("composition"):
        out.print(composition_table(found["composition"]))
        print_scores(found["metrics"])
    if found["reused"]:
        out.print("Nothing had to be computed: every artifact was in the store already.")
    print_places(found)


def stages_table(stages: Mapping[str, Mapping[str, Any]]) -> Table:
    """Return a table with a row for each stage."""
    table = Table(title="Stages", title_justify="left")
    for name in ("stage", "key", "reused"):
        table.add_column(name)
    for name in ("cells", "units done", "units reused"):
        table.add_column(name, justify="right")
    for stage, facts in stages.items():
        counts, key = facts["counts"], facts["key"]
        shown = key[:12] if isinstance(key, str) else f"{len(key)} artifacts"
        numbers = [counts.get("cells"), counts["units_done"], counts["units_reused"]]
        table.add_row(stage, shown, "yes" if facts["reused"] else "no", *(_number(n) for n in numbers))
    return table


def composition_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """Return clusters against conditions: cells, and percent of the condition's cells."""
    conditions = list(dict.fromkeys(str(row["condition"]) for row in rows))
    table = Table(title="Cells of each condition in each cluster", title_justify="left")
    table.add_column("cluster")
    for condition in conditions:
        table.add_column(condition, justify="right")
    for cluster in dict.fromkeys(row["cluster"] for row in rows):
        cells = {str(row["condition"]): row for row in rows if row["cluster"] == cluster}
        table.add_row(
            str(cluster), *(f"{cells[name]['cells']} ({cells[name]['percent']:.0f} %)" for name in conditions)
        )
    return table


def print_scores(metrics: Mapping[str, Any]) -> None:
    """Print the scores of the clustering in one line each."""
    for name in SCORES:
        if metrics.get(name) is not None:
            out.print(f"{name:>18}  {metrics[name]:.3f}")


def print_places(found: Mapping[str, Any]) -> None:
    """Print where to look."""
    from tasks.tracking import front_page

    if "report" in found["stages"]:
        out.print(f"report   {found['stages']['report']['uri']}", soft_wrap=True)
    out.print(f"Prefect  {found['prefect_url']}", soft_wrap=True)
    out.print(f"MLflow   {found['mlflow_run_url'] or front_page(found['mlflow_url'])}", soft_wrap=True)


def _number(value: int | None) -> str:
    return "" if value is None else f"{value:,}"
