"""Finds clusters among latent means: which space, which method, how many."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from storage.errors import InputError
from tasks import announce
from tasks.cluster_settings import (
    ChosenNumber,
    ClusterSettings,
    GaussianMixture,
    Hdbscan,
    KMeans,
    ModelMixture,
    UmapSpace,
)
from tasks.kernels.cluster_count import Candidate, choose_count
from tasks.kernels.clustering import Clusters, fit_hdbscan, fit_kmeans, fit_mixture
from tasks.kernels.projection import fit_umap, place_all

Points = NDArray[np.float64]


@dataclass(frozen=True)
class FoundClusters:
    """What was found among n cells.

    Attributes
    ----------
    labels
        (n,): cluster of each cell, the largest 0; -1 for noise.
    probability
        (n,): how certain that is.
    points
        (n, d): the cells in the space that was clustered; None if it is the latent space.
    count
        Number of clusters.
    bic
        Bayesian information criterion on the cells fitted to; nan if the method has none.
    converged
        Whether the fit came to its end.
    candidates
        What was found of each number of clusters tried, if it was chosen.
    """

    labels: NDArray[np.int64]
    probability: NDArray[np.float64]
    points: Points | None
    count: int
    bic: float
    converged: bool = True
    candidates: tuple[Candidate, ...] = ()

    @property
    def memberships(self) -> Points:
        """(n, k): `probability` of each cell in the column of its cluster, else 0; of noise 0 throughout."""
        rows = np.zeros((len(self.labels), self.count))
        known = np.flatnonzero(self.labels >= 0)
        rows[known, self.labels[known]] = self.probability[known]
        return rows


def find_clusters(
    latent: Points,
    learned: NDArray[np.bool_],
    settings: ClusterSettings,
    responsibilities: NDArray[np.floating] | None = None,
) -> FoundClusters:
    """Find clusters.

    Parameters
    ----------
    latent
        (n, d): latent mean of each cell.
    learned
        (n,): cells that the network learned from. Space and clusters are fitted to these alone and applied to
        the others, so that scores of the others are those of cells nothing has seen. Fewer than two: to all.
    settings
        Space, method, number.
    responsibilities
        (n, k): of the network's own mixture, if it has one.

    Raises
    ------
    InputError
        The network's own mixture is asked for, and it has none.
    """
    fitted_to = learned if learned.sum() >= 2 else np.ones(len(latent), dtype=bool)
    if isinstance(settings.method, ModelMixture):
        return _of_the_model(responsibilities)
    points = _space(latent, fitted_to, settings)
    clusters, candidates = _fitted(points[fitted_to], settings)
    assigned = clusters.assign(points)
    return FoundClusters(
        labels=assigned.labels,
        probability=assigned.probability,
        points=points if isinstance(settings.space, UmapSpace) else None,
        count=clusters.count,
        bic=clusters.bic(points[fitted_to]),
        converged=clusters.converged,
        candidates=tuple(candidates),
    )


def _of_the_model(responsibilities: NDArray[np.floating] | None) -> FoundClusters:
    """Take the most probable component of each cell, numbered by falling size."""
    if responsibilities is None:
        raise InputError(
            "expected a network with a mixture of its own (VaDE), found one without; choose another "
            "cluster.method.kind or train with clusters"
        )
    shares = np.asarray(responsibilities, dtype=np.float64)
    sizes = np.bincount(shares.argmax(axis=1), minlength=shares.shape[1])
    ordered = shares[:, np.argsort(-sizes, kind="stable")]
    return FoundClusters(
        ordered.argmax(axis=1), ordered.max(axis=1), None, count=shares.shape[1], bic=float("nan")
    )


def _space(latent: Points, fitted_to: NDArray[np.bool_], settings: ClusterSettings) -> Points:
    if not isinstance(settings.space, UmapSpace):
        return latent
    space = settings.space
    made = fit_umap(
        latent[fitted_to],
        seed=settings.seed,
        dimensions=space.dimensions,
        n_neighbors=space.neighbours,
        min_dist=space.min_dist,
    )
    points = np.empty((len(latent), space.dimensions))
    points[fitted_to] = place_all(made, latent[fitted_to])
    points[~fitted_to] = made.place(latent[~fitted_to])
    return points


def _fitted(points: Points, settings: ClusterSettings) -> tuple[Clusters, list[Candidate]]:
    method, seed = settings.method, settings.seed
    if isinstance(method, Hdbscan):
        return (
            fit_hdbscan(
                points, seed=seed, min_cluster_size=method.min_cluster_size, min_samples=method.min_samples
            ),
            [],
        )
    number, candidates = _number(points, settings)
    return _fit(points, number, settings.method, seed), candidates


def _fit(points: Points, number: int, method: Any, seed: int) -> Clusters:
    if isinstance(method, KMeans):
        return fit_kmeans(points, number, seed=seed, n_init=method.n_init)
    assert isinstance(method, GaussianMixture)
    return fit_mixture(points, number, seed=seed, covariance=method.covariance, n_init=method.n_init)


def _number(points: Points, settings: ClusterSettings) -> tuple[int, list[Candidate]]:
    wanted = settings.n_clusters
    if isinstance(wanted, ChosenNumber):
        return choose_count(
            points,
            partial(_fit, method=settings.method, seed=settings.seed),
            range(wanted.fewest, wanted.most + 1),
            resamples=wanted.resamples,
            least_stability=wanted.least_stability,
            seed=settings.seed,
        )
    allowed = max(1, min(wanted, len(points) // 2))
    if allowed < wanted:
        announce.warn(f"{len(points)} cells cannot bear {wanted} clusters; {allowed} are fitted")
    return allowed, []
