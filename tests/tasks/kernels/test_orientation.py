import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.kernels.orientation import (
    MIN_CONFIDENCE,
    Orientation,
    estimate_rotation_deg,
    pool_orientations,
)
from tasks.kernels.rotation import rotate
from tasks.kernels.simulation import scene
from tasks.kernels.simulation.scene import simulate_field

shapes = st.tuples(st.integers(1, 40), st.integers(1, 40))


def grooves(angle_deg, *, side_px=400, seed=0):
    """Stripes 20 px apart that a counter-clockwise rotation makes vertical, under as much noise."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:side_px, :side_px]
    across = x * np.cos(np.deg2rad(angle_deg)) + y * np.sin(np.deg2rad(angle_deg))
    return 100 + 5 * np.sin(2 * np.pi * across / 20) + rng.normal(0, 5, across.shape)


def apart_deg(one, other):
    return abs((one - other + 90) % 180 - 90)


@pytest.mark.parametrize("angle_deg", [0.0, 3.3, -20.1, 45.0, -45.0, 71.7, 89.9, -89.8, 90.0])
def test_the_angle_of_plain_grooves_is_found(angle_deg):
    found = estimate_rotation_deg(grooves(angle_deg))
    assert apart_deg(found.angle_deg, angle_deg) < 0.1
    assert -90 < found.angle_deg <= 90
    assert found.confidence > 0.7
    assert found.votes.sum() == pytest.approx(1)


@pytest.mark.parametrize("seed", range(6))
def test_the_angle_under_nuclei_is_found(seed):
    angle_deg = float(np.random.default_rng(seed).uniform(-60, 60))
    stack = simulate_field(
        seed=seed,
        proportions=(0.4, 0.1, 0.1, 0.4),
        nuclei_per_mm2=1200,
        height_px=512,
        width_px=512,
        angle_deg=angle_deg,
        time_points=2,
    )
    found = pool_orientations([estimate_rotation_deg(yx) for yx in stack.tyx])
    assert apart_deg(found.angle_deg, stack.angle_deg) < 0.3
    assert found.confidence > 0.5


def test_the_estimate_makes_the_grooves_vertical():
    raw = grooves(17.0)
    upright = rotate(raw, estimate_rotation_deg(raw).angle_deg, grow=False)[100:300, 100:300]
    assert upright.mean(axis=0).std() > 5 * upright.mean(axis=1).std()


def test_a_turned_image_turns_the_estimate():
    raw = grooves(10.0)
    turned = estimate_rotation_deg(np.rot90(raw)).angle_deg  # counter-clockwise by 90
    assert apart_deg(turned, estimate_rotation_deg(raw).angle_deg - 90) < 0.05


def test_a_large_image_is_reduced_but_its_angle_is_kept():
    assert apart_deg(estimate_rotation_deg(grooves(12.5, side_px=1500)).angle_deg, 12.5) < 0.1


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.float32, np.float64])
def test_every_dtype_gives_the_same_angle(dtype):
    assert apart_deg(estimate_rotation_deg(grooves(25.0).astype(dtype)).angle_deg, 25) < 0.15


def test_noise_gives_little_confidence():
    noise = np.random.default_rng(0).normal(size=(400, 400))
    assert estimate_rotation_deg(noise).confidence < 0.3


@pytest.mark.parametrize("shape", [(50, 50), (1, 60), (60, 1), (1, 1)])
def test_without_edges_nothing_is_claimed(shape):
    found = estimate_rotation_deg(np.full(shape, 7, np.uint16))
    assert (found.angle_deg, found.confidence) == (0.0, 0.0)


def test_pooling_outvotes_an_image_without_grooves():
    noise = np.random.default_rng(1).normal(size=(400, 400))
    found = pool_orientations(
        [estimate_rotation_deg(yx) for yx in (grooves(-33.0), grooves(-33.0, seed=2), noise)]
    )
    assert apart_deg(found.angle_deg, -33) < 0.1


def test_pooling_does_not_depend_on_the_order():
    estimates = [estimate_rotation_deg(grooves(8.0 + seed / 10, seed=seed)) for seed in range(3)]
    one, other = pool_orientations(estimates), pool_orientations(estimates[::-1])
    assert one.angle_deg == pytest.approx(other.angle_deg, abs=1e-9)


def test_pooling_nothing_is_an_error():
    with pytest.raises(ValueError, match="at least one"):
        pool_orientations([])


@given(shapes, st.integers(0, 5))
def test_tiny_images_of_noise_do_no_harm(shape, seed):
    found = estimate_rotation_deg(np.random.default_rng(seed).random(shape))
    assert 0 <= found.confidence <= 1
    assert -90 < found.angle_deg <= 90


def without_grooves(monkeypatch, proportions, **how):
    monkeypatch.setattr(scene, "_Chip", lambda angle_deg, _, chip=scene._Chip: chip(angle_deg, 0.0))
    return simulate_field(
        seed=4, proportions=proportions, height_px=384, width_px=384, touching_share=0.2, **how
    )


@pytest.mark.parametrize("angle_deg", [-62.0, 0.0, 24.0, 88.0])
def test_without_grooves_elongated_nuclei_give_the_angle(monkeypatch, angle_deg):
    stack = without_grooves(monkeypatch, (0.15, 0.45, 0.3, 0.1), angle_deg=angle_deg, time_points=2)
    found = pool_orientations([estimate_rotation_deg(yx) for yx in stack.tyx])
    assert found.source == "nuclei"
    assert found.confidence > 0.6
    assert apart_deg(found.angle_deg, angle_deg) < 4


@pytest.mark.parametrize("nuclei_per_mm2", [60, 900])
def test_round_nuclei_claim_nothing(monkeypatch, nuclei_per_mm2):
    stack = without_grooves(
        monkeypatch, (0.6, 0.0, 0.0, 0.4), angle_deg=30.0, nuclei_per_mm2=nuclei_per_mm2, time_points=2
    )
    found = pool_orientations([estimate_rotation_deg(yx) for yx in stack.tyx])
    assert found.confidence < MIN_CONFIDENCE


def test_where_grooves_show_the_nuclei_have_no_say():
    stack = simulate_field(seed=2, proportions=(0, 1, 0, 0), height_px=384, width_px=384, angle_deg=15.0)
    found = estimate_rotation_deg(stack.tyx[0])
    assert found.source == "grooves"
    assert apart_deg(found.angle_deg, 15.0) < 0.3
    assert estimate_rotation_deg(stack.tyx[0], min_confidence=0.999).source == "grooves"  # neither is so sure


def test_votes_alone_pool_as_orientations_do():
    found = estimate_rotation_deg(grooves(12.0))
    bare = Orientation(0.0, 0.0, found.votes, found.nuclei_votes)
    again = pool_orientations([bare])
    assert (again.angle_deg, again.confidence, again.source) == (found.angle_deg, found.confidence, "grooves")
