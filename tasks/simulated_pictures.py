"""Simulated pictures with exact masks to learn from: nuclei of all shapes, sizes, densities and angles."""

import numpy as np

from tasks.kernels.simulation.scene import simulate_field
from tasks.models.refining_batches import LabelledPlane

EDGE_PX = 256
SMALLEST_PX_UM, LARGEST_PX_UM = 0.3, 0.9
SPARSEST_PER_MM2, DENSEST_PER_MM2 = 50.0, 1400.0
_TRIES = 20  # a crowded field may find no room for its last nucleus


def simulated_planes(count: int, *, seed: int) -> list[LabelledPlane]:
    """Return pictures of 256 x 256 px; the same seed gives the same ones, fewer are the first of them."""
    return [_plane(number, seed) for number in range(count)]


def _plane(number: int, seed: int) -> LabelledPlane:
    rng = np.random.default_rng([seed, number])
    for _ in range(_TRIES):
        round_, elongated, bent, lobed = rng.dirichlet(np.full(4, 1.5)).tolist()
        try:
            stack = simulate_field(
                seed=int(rng.integers(2**31)),
                proportions=(round_, elongated, bent, lobed),
                nuclei_per_mm2=float(np.exp(rng.uniform(np.log(SPARSEST_PER_MM2), np.log(DENSEST_PER_MM2)))),
                height_px=EDGE_PX,
                width_px=EDGE_PX,
                pixel_size_um=float(np.exp(rng.uniform(np.log(SMALLEST_PX_UM), np.log(LARGEST_PX_UM)))),
                touching_share=float(rng.uniform(0, 0.6)),
                angle_deg=float(rng.uniform(-80, 80)),
            )
        except ValueError:
            continue
        return LabelledPlane(stack.tyx[0], stack.labels_tyx[0], f"simulated-{number}", f"simulated-{number}")
    raise RuntimeError(
        f"expected room for the nuclei of simulated picture {number}, found none in {_TRIES} tries"
    )
