"""Labelled pictures as preprocessing leaves them: the stage segments these, masks are often of raw ones."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.kernels.density import choose_profile, estimate_density
from tasks.kernels.preprocessing import preprocess_frame
from tasks.kernels.rotation import rotate
from tasks.models.refining_batches import LabelledPlane
from tasks.preprocess_settings import PreprocessSettings
from tasks.recipes import recipe_of

LARGEST_TURN_DEG = 30.0
_SETTINGS = PreprocessSettings()


def cleaned_planes(planes: Sequence[LabelledPlane], *, seed: int) -> list[LabelledPlane]:
    """Clean pictures by the default settings; every second one is turned, as if it showed slanting grooves.

    A turned frame has corners without an image. A network that never saw them finds nuclei along their edges.
    """
    rng = np.random.default_rng(seed)
    angles = rng.uniform(-LARGEST_TURN_DEG, LARGEST_TURN_DEG, len(planes))
    return [
        _cleaned(plane, None if number % 2 else float(angle))
        for number, (plane, angle) in enumerate(zip(planes, angles, strict=True))
    ]


def _cleaned(plane: LabelledPlane, angle_deg: float | None) -> LabelledPlane:
    density = estimate_density(plane.yx)
    profile = getattr(_SETTINGS.profiles, choose_profile(density).name)
    clean = preprocess_frame(plane.yx, recipe_of(_SETTINGS, angle_deg, profile, density))
    labels: NDArray[Any] = plane.labels_yx
    if angle_deg is not None:
        labels = rotate(labels, angle_deg, order=0, fill=0)
    return LabelledPlane(clean, labels, plane.group, f"{plane.name}, cleaned")
