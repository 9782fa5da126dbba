"""Memory that refine train takes, known before it is taken: one process holds all pictures at once."""

import math
from collections.abc import Iterable, Sequence

from storage import images
from storage.objects import Objects
from storage.records import Record
from tasks import budget
from tasks.models.cellpose_net import CellposeNet
from tasks.models.refining_batches import LabelledPlane, scaled_shape
from tasks.refine_settings import RefineSettings
from tasks.settings import Resources

LABEL_BYTES = 4
SCALED_BYTES = 8  # a pixel of a picture at the network's scale: float32, and int32 of its labels
STEP_BYTES = (
    150  # of a step, for each pixel of its views and feature of the finest scale; see test_refine_memory
)


def check_stored(objects: Objects, standing: Iterable[Record], resources: Resources) -> None:
    """Raise MemoryBudgetError if the pictures of a store, read whole, would not fit; reads their shapes."""
    pictures = [images.open_image(objects, record.path) for record in standing]
    needed = sum(one.shape[-2] * one.shape[-1] * (one.dtype.itemsize + LABEL_BYTES) for one in pictures)
    budget.check_bytes(f"refine train: {len(pictures)} annotated pictures", needed, resources)


def check_learning(
    learning: Sequence[LabelledPlane],
    others: Sequence[LabelledPlane],
    net: CellposeNet,
    settings: RefineSettings,
    resources: Resources,
) -> None:
    """Raise MemoryBudgetError if all pictures, those learned from rescaled as well, and a step do not fit."""
    held = sum(one.yx.nbytes + one.labels_yx.nbytes for one in (*learning, *others))
    again = SCALED_BYTES * sum(math.prod(scaled_shape(one, float(net.diam_mean))) for one in learning)
    step = STEP_BYTES * net.config.widths[0] * settings.batch_size * settings.crop_px**2
    what = f"refine train: {len(learning)} pictures to learn from, {len(others)} others and a step"
    budget.check_bytes(what, held + again + step, resources)
