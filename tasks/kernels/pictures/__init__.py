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
from tasks.kernels.pictures.style import CATEGORIES, CONDITIONS
from tasks.kernels.pictures.trends import Trend, trend_picture

__all__ = [
    "CATEGORIES",
    "CONDITIONS",
    "Trend",
    "before_after",
    "composition_bars",
    "confusion",
    "histogram_by_condition",
    "labels_over_image",
    "loss_curves",
    "patch_sheet",
    "reconstructions",
    "scatter_2d",
    "spread_rows",
    "trend_picture",
]
