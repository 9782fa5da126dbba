"""Points of many dimensions in few: on a sheet of paper, or to find clusters in."""

import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_matrix
from sklearn.manifold import TSNE, spectral_embedding
from sklearn.neighbors import NearestNeighbors
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from tasks.kernels.clustering import drawn_rows

FloatArray = npt.NDArray[np.floating]
Float32s = npt.NDArray[np.float32]
SMALLEST_UMAP = 4
FITTED_POINTS = 20_000


@dataclass(frozen=True)
class Projection:
    """A map of some points, in which others can be placed.

    Attributes
    ----------
    fitted
        (m, d): points it was made of.
    placed
        (m, dimensions): where these came to lie.
    rows
        (m,): which of the points given to `fit_umap` they are, ascending.
    n_neighbors
        Neighbours of a point.
    """

    fitted: Float32s
    placed: Float32s
    rows: npt.NDArray[np.int64]
    n_neighbors: int

    def place(self, points: FloatArray) -> Float32s:
        """Return a place (n, dimensions) for each point (n, d): the mean of its neighbours' places.

        Neighbours are those among the fitted points, weighted as UMAP weights the edges of its graph; this
        is where UMAP's own transform begins. A point that was fitted itself is best looked up in `placed`.
        """
        finite = _checked(points).astype(np.float32)
        if len(finite) == 0 or len(self.fitted) == 0:
            return np.zeros((len(finite), self.placed.shape[1]), dtype=np.float32)
        nearest = min(self.n_neighbors, len(self.fitted))
        distances, indices = _neighbours(self.fitted, finite, nearest)
        weights = _edge_weights(distances)
        found = np.einsum("nk,nkd->nd", weights, self.placed[indices]) / weights.sum(axis=1)[:, None]
        return np.asarray(found, dtype=np.float32)


def fit_umap(
    points: FloatArray,
    *,
    seed: int,
    dimensions: int = 2,
    n_neighbors: int = 15,
    min_dist: float = 0.1,
    most_points: int = FITTED_POINTS,
) -> Projection:
    """Make a UMAP (McInnes, Healy and Melville, 2018, arXiv:1802.03426) in which more points can be placed.

    Parameters
    ----------
    points
        (n, d), finite, d of 1 or more.
    seed
        Decides which points are taken, start and optimisation. One thread, so that the seed decides the map.
    dimensions
        Of the map: 2 for a picture, up to d to find clusters in.
    n_neighbors
        Neighbours of a point, 2 or more: few show detail, many show the whole. Of n points at most n - 1.
    min_dist
        How close points may lie, 0 to 1, in the map's own units. 0 for clusters, 0.1 for a picture.
    most_points
        Of more points so many are drawn; the time grows faster than their number.

    Raises
    ------
    ValueError
        The points are not finite (n, d), or a parameter is out of range.
    """
    finite = _checked(points)
    if n_neighbors < 2 or not 0.0 <= min_dist <= 1.0 or dimensions < 1:
        raise ValueError(
            f"expected n_neighbors of 2 or more, min_dist from 0 to 1 and dimensions of 1 or more, found "
            f"{n_neighbors}, {min_dist} and {dimensions}: 15, 0.1 and 2 suit most data"
        )
    rows = drawn_rows(len(finite), most_points, seed)
    fitted = finite[rows]
    if len(fitted) < max(SMALLEST_UMAP, dimensions + 2):
        placed = principal(fitted, dimensions)
    else:
        placed = _umap(fitted, seed, dimensions, min(n_neighbors, len(fitted) - 1), min_dist)
    return Projection(fitted.astype(np.float32), placed, rows, n_neighbors)


def fit_spectral(
    points: FloatArray,
    *,
    seed: int,
    dimensions: int,
    n_neighbors: int = 15,
    most_points: int = FITTED_POINTS,
) -> Projection:
    """Make a spectral map (Ng, Jordan and Weiss, 2002) in which more points can be placed.

    The smoothest functions on the graph of neighbours, scaled to the unit sphere: points lie close if many
    short ways lead from one to the other. Nothing in it is drawn but the points, so that maps of equal data
    hardly differ, which UMAPs do.

    Parameters
    ----------
    points
        (n, d), finite, n above `dimensions` + 1.
    seed
        Decides which points are taken.
    dimensions
        Of the map, about as many as there are clusters, or a few more.
    n_neighbors, most_points
        As for `fit_umap`.

    Raises
    ------
    ValueError
        The points are not finite (n, d), there are too few, or a parameter is out of range.
    """
    finite = _checked(points)
    if n_neighbors < 2 or not 1 <= dimensions < len(finite) - 1:
        raise ValueError(
            f"expected n_neighbors of 2 or more and 1 to {len(finite) - 2} dimensions for {len(finite)} "
            f"points, found {n_neighbors} and {dimensions}: 15 and 10 suit most data"
        )
    rows = drawn_rows(len(finite), most_points, seed)
    fitted = finite[rows].astype(np.float32)
    nearest = min(n_neighbors, len(fitted) - 1)
    indices = _neighbours(fitted, fitted, nearest + 1)[1]
    ends = np.arange(0, indices.size + 1, nearest + 1)
    graph = csr_matrix((np.ones(indices.size), indices.ravel(), ends), (len(fitted), len(fitted)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a graph in parts: each has an axis of its own, as it should
        found = spectral_embedding(
            graph.maximum(graph.T), n_components=dimensions, drop_first=False, random_state=0
        )
    lengths = np.linalg.norm(found, axis=1, keepdims=True)
    return Projection(fitted, (found / lengths).astype(np.float32), rows, n_neighbors)


def umap_2d(points: FloatArray, *, seed: int, n_neighbors: int = 15, min_dist: float = 0.1) -> Float32s:
    """Two coordinates for each point by UMAP, float32 (n, 2), without a unit.

    Neighbours stay neighbours; distances between groups and their sizes mean little. Fewer than 4 points get
    principal components, as a graph of so few neighbours says nothing. Of more than 20,000 points as many
    make the map and the others are placed in it. Parameters and errors as for `fit_umap`.
    """
    made = fit_umap(points, seed=seed, n_neighbors=n_neighbors, min_dist=min_dist)
    return place_all(made, points)


def place_all(made: Projection, points: FloatArray) -> Float32s:
    """Return a place for each point that `fit_umap` was given: its own, or by neighbours."""
    out = np.empty((len(points), made.placed.shape[1]), dtype=np.float32)
    rest = np.ones(len(points), dtype=bool)
    rest[made.rows] = False
    out[made.rows] = made.placed
    if rest.any():
        out[rest] = made.place(np.asarray(points)[rest])
    return out


def tsne_2d(points: FloatArray, *, seed: int, perplexity: float = 30.0) -> Float32s:
    """Two coordinates for each point by t-SNE (van der Maaten and Hinton, 2008), float32 (n, 2).

    Starts from principal components (Kobak and Berens, 2019). Takes about a minute for 10,000 points. Fewer
    than 4 points, or points without spread, get principal components.

    Parameters
    ----------
    points
        (n, d), finite.
    seed
        Decides the optimisation.
    perplexity
        About how many neighbours a point has, above 1; at most a third of n.
    """
    finite = _checked(points)
    start = principal(finite, 2)
    if len(finite) < SMALLEST_UMAP or not start[:, 0].any():
        return start
    fitted = TSNE(
        perplexity=min(perplexity, (len(finite) - 1) / 3),
        init=1e-4 * start / start[:, 0].std(),
        random_state=seed,
    )
    return np.asarray(fitted.fit_transform(finite.astype(np.float32)), dtype=np.float32)


def principal_2d(points: FloatArray) -> Float32s:
    """Coordinates along the two directions of largest variance; see `principal`."""
    return principal(points, 2)


def principal(points: FloatArray, dimensions: int) -> Float32s:
    """Coordinates along the directions of largest variance (Pearson, 1901), float32 (n, dimensions).

    Each direction points to where its largest entry is positive, so the picture does not mirror itself from
    run to run. Points that span fewer directions get 0 in the others.
    """
    finite = _checked(points)
    out = np.zeros((len(finite), dimensions), dtype=np.float32)
    if len(finite) == 0:
        return out
    centred = finite - finite.mean(axis=0)
    _, _, directions = np.linalg.svd(centred, full_matrices=False)
    directions = directions[:dimensions]
    largest = np.abs(directions).argmax(axis=1)
    signs = np.where(directions[np.arange(len(directions)), largest] < 0, -1.0, 1.0)
    out[:, : len(directions)] = centred @ (directions * signs[:, None]).T
    return out


def _neighbours(among: FloatArray, points: FloatArray, count: int) -> tuple[Float32s, npt.NDArray[np.int64]]:
    """Exact nearest neighbours, by matrix products: in 16 dimensions four times as fast as a tree."""
    found = NearestNeighbors(n_neighbors=count, algorithm="brute").fit(among.astype(np.float32))
    distances, indices = found.kneighbors(points.astype(np.float32))
    return distances.astype(np.float32), indices


def _edge_weights(distances: Float32s) -> Float32s:
    """Weight of each neighbour, (n, k): exp(-(d - nearest) / scale), the scale such that they sum to log2 k.

    Where distances are so equal that no scale does, all weigh alike.
    """
    beyond = distances - distances[:, :1]
    target = np.log2(max(distances.shape[1], 2))
    low, high = np.full(len(beyond), 1e-6, np.float32), np.full(len(beyond), 1e6, np.float32)
    for _ in range(40):  # bisection of the logarithm: 1e12 to one part in 1e4
        middle = np.sqrt(low * high)
        too_wide = np.exp(-beyond / middle[:, None]).sum(axis=1) > target
        low, high = np.where(too_wide, low, middle), np.where(too_wide, middle, high)
    weights: Float32s = np.exp(-beyond / np.sqrt(low * high)[:, None]).astype(np.float32)
    return weights


def _umap(points: FloatArray, seed: int, dimensions: int, n_neighbors: int, min_dist: float) -> Float32s:
    """UMAP in a thread of its own: the same map in every process, and nothing else changed by it.

    numba tells OpenMP how many threads it has, and OpenMP would keep to that in whatever the calling thread
    computes next: a network's sums, which then round differently.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="umap") as alone:
        return alone.submit(_umap_alone, points, seed, dimensions, n_neighbors, min_dist).result()


def _umap_alone(
    points: FloatArray, seed: int, dimensions: int, n_neighbors: int, min_dist: float
) -> Float32s:
    """UMAP on exact neighbours: umap's own approximate search compiles for a minute above 4096 points."""
    with threadpool_limits(1):  # several threads choose others of neighbours that are equally near
        distances, indices = _neighbours(points, points, n_neighbors)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # umap warns of one thread, of a missing tensorflow, of few points
        from umap import UMAP  # compiles for seconds, so only whoever draws pays

        reducer = UMAP(
            n_neighbors=n_neighbors,
            n_components=dimensions,
            min_dist=min_dist,
            random_state=seed,
            n_jobs=1,
            precomputed_knn=(indices, distances, None),
            force_approximation_algorithm=True,  # else few points would be searched again
        )
        return np.asarray(reducer.fit_transform(points), dtype=np.float32)


def _checked(points: FloatArray) -> npt.NDArray[np.float64]:
    finite = np.asarray(points, dtype=np.float64)
    if finite.ndim != 2 or finite.shape[1] == 0:
        raise ValueError(f"expected points (n, d) with d of 1 or more, found {finite.shape}: embed cells")
    if not np.isfinite(finite).all():
        raise ValueError("expected finite points, found infinite or undefined ones: leave those rows out")
    return finite
