import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from skimage import transform

from tasks.kernels.orientation import (
    estimate_rotation_deg,
    pool_orientations,
    rotate,
    rotated_shape,
    rotation_matrix,
    valid_region,
)
from tasks.kernels.simulation.scene import simulate_field

angles = st.floats(-180, 180).map(lambda angle_deg: round(angle_deg, 3))
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


@pytest.mark.parametrize("grow", [True, False])
@pytest.mark.parametrize("angle_deg", [0, 7.3, -33, 45, 90, -90, 180, 123.4])
def test_the_geometry_is_that_of_scikit_image(angle_deg, grow):
    yx = np.random.default_rng(0).random((60, 83)).astype(np.float32)
    expected = transform.rotate(yx, angle_deg, resize=grow, preserve_range=True)
    found = rotate(yx, angle_deg, grow=grow, fill=0)
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, atol=1e-5)


@given(shapes)
def test_quarter_turns_are_exact(shape):
    yx = np.arange(shape[0] * shape[1], dtype=np.float32).reshape(shape)
    np.testing.assert_array_equal(rotate(yx, 90), np.rot90(yx))
    np.testing.assert_array_equal(rotate(yx, -90), np.rot90(yx, -1))
    assert valid_region(shape, 90).all()


@given(shapes, angles, st.booleans())
def test_the_matrix_goes_there_and_back(shape, angle_deg, grow):
    matrix = rotation_matrix(shape, angle_deg, grow)
    clean = np.array([[0, 0, 1], [3.5, 2, 1], [10, -4, 1]]).T
    np.testing.assert_allclose(np.linalg.inv(matrix) @ (matrix @ clean), clean, atol=1e-9)
    assert np.linalg.det(matrix) == pytest.approx(1)


@given(shapes, angles)
def test_the_grown_image_holds_every_corner(shape, angle_deg):
    height, width = shape
    corners = np.array([[y, x, 1] for y in (0, height - 1) for x in (0, width - 1)], float).T
    y, x, _ = np.linalg.inv(rotation_matrix(shape, angle_deg)) @ corners
    grown = rotated_shape(shape, angle_deg)
    for places, side_px in ((y, grown[0]), (x, grown[1])):
        assert places.min() == pytest.approx(0, abs=1e-6)
        assert places.max() <= side_px - 0.5 + 1e-6


def test_the_matrix_finds_a_pixel_again():
    raw = np.zeros((60, 90))
    raw[20, 70] = 1
    clean = rotate(raw, 27.0, order=1, fill=0)
    weights = clean / clean.sum()
    y, x = np.indices(clean.shape)
    source = rotation_matrix(raw.shape, 27.0) @ [(weights * y).sum(), (weights * x).sum(), 1]
    np.testing.assert_allclose(source[:2], [20, 70], atol=0.1)


@given(shapes, angles)
def test_valid_pixels_hold_nothing_from_outside(shape, angle_deg):
    rotated = rotate(np.ones(shape, np.float32), angle_deg, fill=0)
    inside = valid_region(shape, angle_deg)
    assert inside.shape == rotated.shape
    np.testing.assert_allclose(rotated[inside], 1, atol=1e-4)


def test_the_valid_region_keeps_the_area():
    assert valid_region((200, 300), 33.0).sum() == pytest.approx(199 * 299, rel=0.005)


def test_labels_keep_their_dtype_and_values():
    labels = np.zeros((40, 40), np.uint32)
    labels[10:20, 10:30] = 4_000_000_000
    rotated = rotate(labels, 20.0, order=0, fill=0)
    assert rotated.dtype == np.uint32
    assert set(np.unique(rotated)) == {0, 4_000_000_000}


def test_the_mirror_fill_makes_no_edge():
    flat = np.full((50, 50), 3, np.uint16)
    np.testing.assert_allclose(rotate(flat, 31.0), 3, rtol=1e-6)


@given(shapes, st.integers(0, 5))
def test_tiny_images_of_noise_do_no_harm(shape, seed):
    found = estimate_rotation_deg(np.random.default_rng(seed).random(shape))
    assert 0 <= found.confidence <= 1
    assert -90 < found.angle_deg <= 90


def test_an_unknown_order_is_an_error():
    with pytest.raises(ValueError, match="order"):
        rotate(np.zeros((4, 4)), 3.0, order=2)
