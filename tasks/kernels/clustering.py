"""Groups among points: Gaussian mixtures, and the scaling that comes before them."""

import warnings
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture

Covariance = Literal["full", "tied", "diag", "spherical"]
FloatArray = npt.NDArray[np.floating]


@dataclass(frozen=True)
class GaussianMixtureResult:
    """A fitted mixture of k Gaussians and the cluster of each of the n points; cluster 0 is the largest."""

    labels: npt.NDArray[np.int64]
    """(n,): the most probable cluster, 0 to k - 1; a cluster that is nobody's first choice has no points."""
    probabilities: npt.NDArray[np.float64]
    """(n, k): probability of each cluster; rows sum to 1."""
    means: npt.NDArray[np.float64]
    """(k, d): centres, in the units of the points."""
    bic: float
    """Bayesian information criterion (Schwarz, 1978) on these points; lower is better."""
    converged: bool
    """Whether the best start converged; if not, raise `n_init` or standardise the points."""


def standardise(points: FloatArray) -> npt.NDArray[np.float64]:
    """Shift and scale each column to mean 0 and standard deviation 1; a constant column becomes 0.

    Parameters
    ----------
    points
        (n, d), finite.

    Returns
    -------
    numpy.ndarray
        float64 (n, d).

    Raises
    ------
    ValueError
        The points are not (n, d) with n of 1 or more, or not finite.
    """
    centred = _checked(points)
    scale = np.abs(centred).max(axis=0)
    centred = centred - centred.mean(axis=0)
    deviation = centred.std(axis=0)
    varies = deviation > 1e-12 * scale  # below, the deviation is rounding of the mean
    return np.where(varies, centred / np.where(varies, deviation, 1.0), 0.0)


def gaussian_mixture(
    points: FloatArray, n_clusters: int, *, seed: int, covariance: Covariance = "full", n_init: int = 5
) -> GaussianMixtureResult:
    """Fit a mixture of Gaussians by expectation-maximisation (Dempster, Laird and Rubin, 1977).

    Clusters are numbered by falling size, equal sizes by the first coordinate of their centre, so that the
    numbers do not depend on the order in which the fit found them.

    Parameters
    ----------
    points
        (n, d), finite, n at least `n_clusters`.
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
    finite = _checked(points)
    _check_mixture(len(finite), n_clusters, covariance, n_init)
    mixture = GaussianMixture(n_clusters, covariance_type=covariance, n_init=n_init, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # told in `converged`
        found = mixture.fit_predict(finite)
    sizes = np.bincount(found, minlength=n_clusters)
    order = np.lexsort((mixture.means_[:, 0], -sizes))
    return GaussianMixtureResult(
        labels=np.argsort(order)[found],
        probabilities=mixture.predict_proba(finite)[:, order],
        means=mixture.means_[order],
        bic=float(mixture.bic(finite)),
        converged=bool(mixture.converged_),
    )


def _checked(points: FloatArray) -> npt.NDArray[np.float64]:
    finite = np.asarray(points, dtype=np.float64)
    if finite.ndim != 2 or 0 in finite.shape:
        raise ValueError(
            f"expected points (n, d) with one or more of each, found {finite.shape}: embed cells"
        )
    if not np.isfinite(finite).all():
        bad = np.flatnonzero(~np.isfinite(finite).all(axis=1))
        raise ValueError(f"expected finite points, found others, first in row {bad[0]}: leave it out")
    return finite


def _check_mixture(n_points: int, n_clusters: int, covariance: str, n_init: int) -> None:
    if not 1 <= n_clusters <= n_points:
        raise ValueError(f"expected 1 to {n_points} clusters (one a point), found {n_clusters}: change it")
    if covariance not in get_args(Covariance):
        raise ValueError(
            f"expected a covariance out of {get_args(Covariance)}, found {covariance!r}: choose one"
        )
    if n_init < 1:
        raise ValueError(f"expected n_init of 1 or more, found {n_init}: raise it")
