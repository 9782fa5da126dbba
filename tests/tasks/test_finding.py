import numpy as np
import pandas as pd
import pytest

from storage.errors import InputError
from tasks import finding
from tasks.cluster import compared, scores_of_parts, unit_of_cells
from tasks.finding import FoundClusters, find_clusters
from tasks.kernels.projection import Projection
from tasks.kernels.scores import truth_scores
from tasks.settings import ClusterSettings, load_settings

TRUTH = np.repeat(np.arange(4), (90, 70, 50, 30))
LATENT = 8.0 * np.eye(4)[TRUTH] + np.random.default_rng(0).normal(size=(240, 4))
LEARNED = np.random.default_rng(1).random(240) < 0.7
METHODS = ({"kind": "mixture"}, {"kind": "mixture", "covariance": "diag"}, {"kind": "kmeans"})
HDBSCAN = {"kind": "hdbscan", "min_cluster_size": 10}


@pytest.fixture
def quick_umap(monkeypatch):
    """A map by the first axes, which compiles nothing."""

    def first_axes(points, *, seed, dimensions, n_neighbors, min_dist):
        assert (n_neighbors, min_dist) == (30, 0.0)
        rows = np.arange(len(points))
        return Projection(points.astype(np.float32), points[:, :dimensions].astype(np.float32), rows, 5)

    monkeypatch.setattr(finding, "fit_umap", first_axes)


def found(**settings):
    return find_clusters(LATENT, LEARNED, ClusterSettings.model_validate(settings))


def cells_of(labels):
    return pd.DataFrame(
        {
            "cluster": labels,
            "population": [f"population {number}" for number in TRUTH],
            "held_out": ~LEARNED,
            "chip": np.where(np.arange(240) % 8 < 6, [f"chip {n % 8}" for n in range(240)], ""),
            "acquisition": [f"file {n % 8}" for n in range(240)],
            "condition": np.where(np.arange(240) % 2, "wild type", "BRAF"),
        }
    )


@pytest.mark.parametrize("method", [*METHODS, HDBSCAN], ids=str)
@pytest.mark.parametrize("space", [{"kind": "latent"}, {"kind": "umap", "dimensions": 3}], ids=str)
@pytest.mark.usefixtures("quick_umap")
def test_each_method_finds_four_populations_in_each_space(method, space):
    one = found(method=method, space=space)
    assert one.count == 4
    inside = one.labels >= 0
    assert inside.mean() > 0.8
    assert truth_scores(one.labels[inside], TRUTH[inside])["accuracy"] > 0.97
    assert np.bincount(one.labels[inside & LEARNED]).argmax() == 0
    assert (one.points is None) == (space["kind"] == "latent")
    if one.points is not None:
        assert one.points.shape == (240, 3)
    assert ((one.probability >= 0) & (one.probability <= 1)).all()


@pytest.mark.parametrize("method", [*METHODS, HDBSCAN], ids=str)
def test_cells_that_were_held_out_do_not_change_the_clusters(method):
    moved = np.where(LEARNED[:, None], LATENT, 100.0)
    settings = ClusterSettings.model_validate({"method": method})
    one, other = (find_clusters(latent, LEARNED, settings) for latent in (LATENT, moved))
    np.testing.assert_array_equal(one.labels[LEARNED], other.labels[LEARNED])
    assert one.bic == pytest.approx(other.bic, nan_ok=True)


def test_the_number_is_chosen():
    one = found(n_clusters={"fewest": 2, "most": 6, "resamples": 2})
    assert one.count == 4
    assert [candidate.clusters for candidate in one.candidates] == [2, 3, 4, 5, 6]


def test_the_network_s_own_mixture_is_taken_as_it_is():
    shares = np.random.default_rng(0).dirichlet(np.ones(3), 240)
    settings = ClusterSettings.model_validate({"method": {"kind": "model"}})
    one = find_clusters(LATENT, LEARNED, settings, shares)
    assert np.array_equal(one.probability, shares.max(axis=1))
    assert truth_scores(one.labels, shares.argmax(axis=1))["accuracy"] == 1.0
    assert (np.diff(np.bincount(one.labels)) <= 0).all()
    with pytest.raises(InputError, match="VaDE"):
        find_clusters(LATENT, LEARNED, settings)


def test_memberships_are_how_certain_a_cell_s_own_cluster_is():
    found = FoundClusters(
        np.array([1, -1, 0]), np.array([0.7, 1.0, 0.9]), points=None, count=3, bic=float("nan")
    )
    np.testing.assert_array_equal(found.memberships, [[0, 0.7, 0], [0, 0, 0], [0.9, 0, 0]])


@pytest.mark.usefixtures("quick_umap")
def test_scores_are_of_all_of_learned_and_of_held_out_cells_in_both_spaces():
    one = found(space={"kind": "umap", "dimensions": 3})
    scores = scores_of_parts(LATENT, cells_of(one.labels), one, seed=0)
    for part in ("", "train_", "held_out_"):
        assert scores[f"{part}clustered_silhouette"] != scores[f"{part}silhouette"]
        assert scores[f"{part}accuracy_low"] <= scores[f"{part}accuracy"] <= scores[f"{part}accuracy_high"]
    assert scores["train_truth_points"] == LEARNED.sum()
    assert scores["held_out_truth_points"] == (~LEARNED).sum()
    assert "clustered_accuracy" not in scores


def test_conditions_are_compared_by_chip_and_unknown_chips_by_acquisition():
    cells = cells_of(found().labels)
    assert set(unit_of_cells(cells)) == {*(f"chip {n}" for n in range(6)), "file 6", "file 7"}
    rows = compared(cells, ClusterSettings())
    assert len(rows) == 4
    assert all((row["units"], row["units_against"]) == (4, 4) for row in rows)
    assert min(row["p_corrected"] for row in rows) > 0.05


def test_settings_name_what_can_be_said(tmp_path):
    with pytest.raises(InputError, match=r"unknown setting .*neighbors.*dimensions, neighbours, min_dist"):
        load_settings(None, {"cluster.space": {"kind": "umap", "neighbors": 5}})
    with pytest.raises(InputError, match=r"unknown setting .*least'; known here: fewest, most"):
        load_settings(None, {"cluster.n_clusters": {"least": 5}})
    with pytest.raises(InputError, match="fewest up to most"):
        load_settings(None, {"cluster.n_clusters": {"fewest": 5, "most": 2}})
    with pytest.raises(InputError, match="latent space"):
        load_settings(None, {"cluster.method": {"kind": "model"}, "cluster.space": {"kind": "umap"}})
    assert load_settings(None, {"cluster.n_clusters": 7}).cluster.n_clusters == 7
