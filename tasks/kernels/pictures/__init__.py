"""Pictures of the report: arrays and plain values in, PNG bytes out; equal input gives equal bytes."""

from tasks.kernels.pictures.charts import composition_bars, confusion, loss_curves
from tasks.kernels.pictures.distributions import histogram_by_condition, scatter_2d
from tasks.kernels.pictures.images import (
    before_after,
    labels_over_image,
    patch_sheet,
    reconstructions,
    spread_rows,
)
from tasks.kernels.pictures.latent import cluster_correlations, latent_distributions, traversals
from tasks.kernels.pictures.measured import heat_over_image, spread_by_acquisition
from tasks.kernels.pictures.style import CATEGORIES, CONDITIONS
from tasks.kernels.pictures.trends import Trend, trend_picture

__all__ = [
    "CATEGORIES",
    "CONDITIONS",
    "Trend",
    "before_after",
    "cluster_correlations",
    "composition_bars",
    "confusion",
    "heat_over_image",
    "histogram_by_condition",
    "labels_over_image",
    "latent_distributions",
    "loss_curves",
    "patch_sheet",
    "reconstructions",
    "scatter_2d",
    "spread_by_acquisition",
    "spread_rows",
    "traversals",
    "trend_picture",
]
