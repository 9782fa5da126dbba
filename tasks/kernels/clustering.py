"""Groups among points: mixtures of Gaussians, k-means, HDBSCAN; fitted to some points, applied to any."""

import warnings
from dataclasses import dataclass
from typing import Any, Literal, Protocol, get_args

import numpy as np
import numpy.typing as npt
from sklearn.cluster import HDBSCAN, KMeans
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import KNeighborsClassifier

Covariance = Literal["full", "tied", "diag", "spherical"]
FloatArray = npt.NDArray[np.floating]
Floats = npt.NDArray[np.float64]
Codes = npt.NDArray[np.int64]
NOISE = -1
START_POINTS = 20_000  # starts are compared on so many points; the best goes on with all of them


@dataclass(frozen=True)
class Assignment:
    """The cluster of each of n points."""

    labels: Codes
    """(n,): 0 to k - 1, or -1 for noise."""
    probability: Floats
    """(n,): how certain it is, 0 to 1; 1 for methods that do not say."""


class Clusters(Protocol):
    """Clusters that were found among points; cluster 0 had the most of these, equal ones by first centre."""

    @property
    def count(self) -> int:
        """Number k of clusters."""

    @property
    def converged(self) -> bool:
        """Whether the fit came to its end."""

    def assign(self, points: FloatArray) -> Assignment:
        """Return the cluster of each point (n, d), which need not be one of those fitted to."""

    def bic(self, points: FloatArray) -> float:
        """Bayesian information criterion (Schwarz, 1978) on points, lower is better; nan if not defined."""


@dataclass(frozen=True)
class Mixture:
    """k Gaussians."""

    estimator: Any
    converged: bool

    @property
    def count(self) -> int:
        """Number k of Gaussians."""
        return int(self.estimator.n_components)

    @property
    def means(self) -> Floats:
        """(k, d): centres, in the units of the points."""
        return np.asarray(self.estimator.means_, dtype=np.float64)

    def probabilities(self, points: FloatArray) -> Floats:
        """Return the probability of each Gaussian for each point, (n, k); rows sum to 1."""
        return np.asarray(self.estimator.predict_proba(checked(points)), dtype=np.float64)

    def assign(self, points: FloatArray) -> Assignment:
        """Return the most probable Gaussian of each point."""
        probabilities = self.probabilities(points)
        return Assignment(probabilities.argmax(axis=1), probabilities.max(axis=1))

    def bic(self, points: FloatArray) -> float:
        """-2 log likelihood + parameters log n."""
        return float(self.estimator.bic(checked(points)))


@dataclass(frozen=True)
class Centres:
    """k centres; a point belongs to the nearest."""

    centres: Floats
    """(k, d), in the units of the points."""
    converged: bool

    @property
    def count(self) -> int:
        """Number k of centres."""
        return len(self.centres)

    def assign(self, points: FloatArray) -> Assignment:
        """Return the nearest centre of each point."""
        squares = squared_distances(checked(points), self.centres)
        return Assignment(squares.argmin(axis=1), np.ones(len(squares)))

    def bic(self, points: FloatArray) -> float:
        """That of balls of one size around the centres (Pelleg and Moore, 2000)."""
        finite = checked(points)
        squares = squared_distances(finite, self.centres)
        n, d, k = *finite.shape, self.count
        sizes = np.bincount(squares.argmin(axis=1), minlength=k)
        variance = max(float(squares.min(axis=1).sum()) / (n * d), np.finfo(float).tiny)
        weights = float((sizes[sizes > 0] * np.log(sizes[sizes > 0] / n)).sum())
        log_likelihood = weights - 0.5 * n * d * (np.log(2 * np.pi * variance) + 1)
        return float(-2 * log_likelihood + (k - 1 + k * d + 1) * np.log(n))


@dataclass(frozen=True)
class Dense:
    """Dense regions; a point that was not fitted to belongs where its nearest fitted point does."""

    nearest: Any
    count: int
    converged: bool = True

    def assign(self, points: FloatArray) -> Assignment:
        """Return the region of each point, -1 for noise; exact for the points fitted to."""
        labels = np.asarray(self.nearest.predict(checked(points)), dtype=np.int64)
        return Assignment(labels, np.ones(len(labels)))

    def bic(self, points: FloatArray) -> float:  # noqa: ARG002 - as of the others
        """There is no likelihood, so nan."""
        return float("nan")


def fit_mixture(
    points: FloatArray, n_clusters: int, *, seed: int, covariance: Covariance = "full", n_init: int = 5
) -> Mixture:
    """Fit a mixture of Gaussians by expectation-maximisation (Dempster, Laird and Rubin, 1977).

    Parameters
    ----------
    points
        (n, d), finite, n at least `n_clusters`. Of more than 20,000 the starts see as many, drawn; the best
        goes on with all.
    n_clusters
        Number k of Gaussians.
    seed
        Decides the k-means starts.
    covariance
        Shape of the Gaussians: "full" each its own ellipsoid, "tied" one ellipsoid for all, "diag" along the
        axes, "spherical" a ball each.
    n_init
        Starts, of which the likeliest fit is kept.

    Raises
    ------
    ValueError
        The points are not finite (n, d), or there are fewer than clusters, or a parameter is out of range.
    """
    finite = checked(points)
    _check_count(len(finite), n_clusters, n_init)
    if covariance not in get_args(Covariance):
        raise ValueError(
            f"expected a covariance out of {get_args(Covariance)}, found {covariance!r}: choose one"
        )
    mixture = GaussianMixture(n_clusters, covariance_type=covariance, n_init=n_init, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # told in `converged`
        mixture.fit(_drawn(finite, seed))
        if len(finite) > START_POINTS:
            mixture = _refined(mixture, finite)
    return Mixture(_numbered(mixture, finite), bool(mixture.converged_))


def fit_kmeans(points: FloatArray, n_clusters: int, *, seed: int, n_init: int = 5) -> Centres:
    """Fit k centres that the points are near to (Lloyd, 1982; Arthur and Vassilvitskii, 2007).

    Parameters and errors as for `fit_mixture`.
    """
    finite = checked(points)
    _check_count(len(finite), n_clusters, n_init)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer distinct points than clusters
        fitted = KMeans(n_clusters, n_init=n_init, random_state=seed).fit(finite)
    order = _order(fitted.labels_, fitted.cluster_centers_)
    return Centres(np.asarray(fitted.cluster_centers_[order], dtype=np.float64), fitted.n_iter_ < 300)


def fit_hdbscan(
    points: FloatArray, *, seed: int, min_cluster_size: int = 50, min_samples: int | None = None
) -> Dense:
    """Find dense regions and the noise between them (Campello, Moulavi and Sander, 2013).

    Parameters
    ----------
    points
        (n, d), finite. Of more than 20,000 as many are searched, drawn with `seed`; few dimensions, such as
        those of a UMAP, suit it best.
    min_cluster_size
        Points that make a region, 2 or more, of those that are searched.
    min_samples
        Neighbours that make a point's density; None: as many as make a region. Fewer leave less noise.
    """
    finite = _drawn(checked(points), seed)
    if min_cluster_size < 2:
        raise ValueError(f"expected min_cluster_size of 2 or more, found {min_cluster_size}: raise it")
    if len(finite) <= max(min_cluster_size, min_samples or 0):
        found = np.full(len(finite), NOISE)
    else:
        found = HDBSCAN(min_cluster_size=min_cluster_size, min_samples=min_samples, copy=True).fit_predict(
            finite
        )
    count = int(found.max(initial=-1)) + 1
    order = _order(found, np.array([finite[found == number].mean(axis=0) for number in range(count)]))
    place = np.append(np.argsort(order), NOISE)  # noise is the last, which -1 takes
    nearest = KNeighborsClassifier(n_neighbors=1).fit(finite, place[found])
    return Dense(nearest, count)


def checked(points: FloatArray) -> Floats:
    """Return points as float64 (n, d); ValueError if they are not finite or there is none."""
    finite = np.asarray(points, dtype=np.float64)
    if finite.ndim != 2 or 0 in finite.shape:
        raise ValueError(
            f"expected points (n, d) with one or more of each, found {finite.shape}: embed cells"
        )
    if not np.isfinite(finite).all():
        bad = np.flatnonzero(~np.isfinite(finite).all(axis=1))
        raise ValueError(f"expected finite points, found others, first in row {bad[0]}: leave it out")
    return finite


def squared_distances(points: Floats, centres: Floats) -> Floats:
    """Squared distances (n, k) of points (n, d) to centres (k, d)."""
    crossed = points @ centres.T
    own, theirs = (np.einsum("nd,nd->n", one, one) for one in (points, centres))
    squares: Floats = np.maximum(own[:, None] - 2 * crossed + theirs[None], 0.0)
    return squares


def drawn_rows(count: int, most: int, seed: int) -> Codes:
    """Return all rows of so many, or `most` of them drawn, ascending."""
    if count <= most:
        return np.arange(count)
    return np.sort(np.random.default_rng(seed).choice(count, most, replace=False))


def _drawn(points: Floats, seed: int) -> Floats:
    """Return the points, or as many of them as starts are compared on."""
    return points[drawn_rows(len(points), START_POINTS, seed)]


def _refined(mixture: Any, points: Floats) -> Any:
    """Return a mixture that went on from another, on all points."""
    further = GaussianMixture(
        mixture.n_components,
        covariance_type=mixture.covariance_type,
        weights_init=mixture.weights_,
        means_init=mixture.means_,
        precisions_init=mixture.precisions_,
        random_state=mixture.random_state,
        init_params="random_from_data",  # replaced by the three above; k-means would cost as much as the fit
    )
    return further.fit(points)


def _numbered(mixture: Any, points: Floats) -> Any:
    """Give the components of a mixture their numbers, so that these do not depend on the start."""
    order = _order(mixture.predict(points), mixture.means_)
    names = ["weights_", "means_"]
    if mixture.covariance_type != "tied":  # which has one for all
        names += ["covariances_", "precisions_", "precisions_cholesky_"]
    for name in names:
        setattr(mixture, name, getattr(mixture, name)[order])
    return mixture


def _order(found: npt.NDArray[Any], centres: npt.NDArray[Any]) -> npt.NDArray[np.intp]:
    """Return clusters by falling size, equal sizes by the first coordinate of their centre."""
    if len(centres) == 0:
        return np.empty(0, dtype=np.intp)
    sizes = np.bincount(found[found >= 0], minlength=len(centres))
    return np.lexsort((centres[:, 0], -sizes))


def _check_count(n_points: int, n_clusters: int, n_init: int) -> None:
    if not 1 <= n_clusters <= n_points:
        raise ValueError(f"expected 1 to {n_points} clusters (one a point), found {n_clusters}: change it")
    if n_init < 1:
        raise ValueError(f"expected n_init of 1 or more, found {n_init}: raise it")
