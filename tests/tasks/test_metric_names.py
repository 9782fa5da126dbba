"""docs/reference/metrics.md is the list of names: what runs log is in it."""

import re

import pytest

from storage import records
from tasks.reproduce import listed_names
from tasks.tracking.server import make_client
from tests.support import ROOT


def listed() -> re.Pattern:
    """Every name of the tables, as one pattern."""
    rows = re.findall(
        r"^\| `(.+?)` \|", (ROOT / "docs" / "reference" / "metrics.md").read_text(), flags=re.MULTILINE
    )
    assert len(rows) > 20
    return re.compile("|".join(as_pattern(row.replace("\\|", "|")) for row in rows))


def as_pattern(name: str) -> str:
    escaped = name.replace(".", r"\.").replace("NN", r"\d\d").replace("N", r"\d+")
    return "(?:" + re.sub(r"\[(.+?)\]", r"(?:\1)?", escaped) + ")"


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("held_out_clustered_silhouette_low", True),
        ("train_divergence_latent_12", True),
        ("hold_out/after/ap_0.75", True),
        ("test_accuracy", False),
        ("silhouette_middle", False),
    ],
)
def test_the_pattern_tells_names_apart(name, known):
    assert bool(listed().fullmatch(name)) is known


@pytest.mark.parametrize("kind", ["model", "clusters"])
def test_what_is_logged_is_listed(learned, kind):
    made = {"model": learned.model, "clusters": learned.clusters}[kind]
    details = records.read(learned.objects, kind, made.key).details
    metrics = make_client(details["tracking_uri"]).get_run(details["run_id"]).data.metrics
    assert len(metrics) > 10
    assert not [name for name in metrics if not listed().fullmatch(name)]
    assert "system/cpu_utilization_percentage" in metrics


def test_reproductions_bear_the_same_names():
    made = {
        "test_silhouette": 1.0,
        "test_silhouette_low": 2.0,
        "test_latent_silhouette": 3.0,
        "train_ari": 4.0,
        "test_noise_share": 5.0,
        "test_latent_noise_share": 5.0,
    }
    assert listed_names(made) == {
        "held_out_clustered_silhouette": 1.0,
        "held_out_clustered_silhouette_low": 2.0,
        "held_out_silhouette": 3.0,
        "train_ari": 4.0,
        "held_out_noise_share": 5.0,
    }
    assert all(listed().fullmatch(name) for name in listed_names(made))
