import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from skimage import transform

from tasks.kernels.geometry import (
    affine_to_raw,
    rotated_shape,
    rotation_matrix,
    to_clean_yx,
    to_raw_yx,
    valid_region,
)
from tasks.kernels.rotation import rotate, rotate_back, rotate_block, rotate_region, source_box

angles = st.floats(-180, 180).map(lambda angle_deg: round(angle_deg, 3))
turns = angles | st.sampled_from([0.0, 45.0, 90.0, -90.0, 180.0])
shapes = st.tuples(st.integers(1, 40), st.integers(1, 40))
orders = st.sampled_from([0, 1, 3])
fills = st.sampled_from([None, 0.0, 7.0])


# Compiling takes seconds the first time, so tests that may do it have no deadline.


def spots(shape, places_yx, sigma_px=2.0):
    y, x = np.indices(shape)
    return sum(
        np.exp(-((y - place[0]) ** 2 + (x - place[1]) ** 2) / (2 * sigma_px**2)) for place in places_yx
    )


@pytest.mark.parametrize("order", [0, 1, 3])
@pytest.mark.parametrize("grow", [True, False])
@pytest.mark.parametrize("angle_deg", [0, 7.3, -33, 45, 90, -90, 180, 123.4])
def test_the_pixels_are_those_of_scikit_image(angle_deg, grow, order):
    yx = np.random.default_rng(0).random((61, 83))
    for fill, outside in ((0.25, {"mode": "constant", "cval": 0.25}), (None, {"mode": "symmetric"})):
        expected = transform.rotate(yx, angle_deg, resize=grow, order=order, clip=False, **outside)
        found = rotate(yx.astype(np.float32), angle_deg, grow=grow, order=order, fill=fill)
        assert found.shape == expected.shape
        # The nearest pixel is a matter of rounding where a place lies halfway.
        off = np.abs(found - expected) > 2e-6
        assert off.mean() <= (0.02 if order == 0 else 0)


@settings(deadline=None)
@given(shapes)
def test_quarter_turns_are_exact(shape):
    yx = np.arange(shape[0] * shape[1], dtype=np.float32).reshape(shape)
    for order in (0, 1, 3):
        np.testing.assert_array_equal(rotate(yx, 90, order=order), np.rot90(yx))
        np.testing.assert_array_equal(rotate(yx, -90, order=order), np.rot90(yx, -1))
    assert valid_region(shape, 90).all()


@settings(max_examples=200, deadline=None)
@given(st.data(), shapes, turns, orders, st.booleans(), fills)
def test_a_region_is_that_part_of_the_whole(data, shape, angle_deg, order, grow, fill):
    yx = np.random.default_rng(0).integers(0, 60000, shape, dtype=np.uint16)
    how = {"order": order, "grow": grow, "fill": fill}
    whole = rotate(yx, angle_deg, **how)
    region = tuple(
        slice(start, data.draw(st.integers(start + 1, side)))
        for side in whole.shape
        for start in [data.draw(st.integers(0, side - 1))]
    )
    found = rotate_region(yx.__getitem__, region, shape_yx=shape, angle_deg=angle_deg, **how)
    assert found.dtype == whole.dtype
    np.testing.assert_array_equal(found, whole[region])
    box = source_box(region, shape_yx=shape, angle_deg=angle_deg, **how)
    assert all(0 <= part.start < part.stop <= side for part, side in zip(box, shape, strict=True))


@pytest.mark.parametrize("order", [0, 1, 3])
def test_what_a_region_needs_is_about_its_own_size(order):
    region = np.s_[20_000:20_512, 30_000:30_512]
    box = source_box(region, shape_yx=(40_000, 40_000), angle_deg=30.0, order=order)
    most_px = 512 * (np.sin(np.deg2rad(30)) + np.cos(np.deg2rad(30))) + 7
    assert all(part.stop - part.start <= most_px for part in box)


def test_a_region_far_out_mirrors_no_more_than_it_needs():
    box = source_box(np.s_[0:512, 0:512], shape_yx=(40_000, 40_000), angle_deg=45.0)
    assert all(part.stop - part.start < 800 for part in box)


def test_large_images_keep_places_exact():
    """A ramp along x, 56 000 px from the origin: the value is the place."""
    shape, region = (40_000, 40_000), np.s_[28_000:28_064, 50_000:50_064]
    box = source_box(region, shape_yx=shape, angle_deg=45.0)
    ramp = np.broadcast_to(
        np.arange(box[1].start, box[1].stop) % 1024, [part.stop - part.start for part in box]
    )
    found = rotate_block(ramp, box, region, shape_yx=shape, angle_deg=45.0)
    points = np.stack(np.mgrid[region], axis=-1).reshape(-1, 2)
    expected = to_raw_yx(points, shape, 45.0)[:, 1].reshape(found.shape) % 1024
    np.testing.assert_allclose(found, expected, atol=2e-4)


@given(shapes, angles, st.booleans())
def test_the_matrix_goes_there_and_back(shape, angle_deg, grow):
    matrix = rotation_matrix(shape, angle_deg, grow)
    clean = np.array([[0, 0, 1], [3.5, 2, 1], [10, -4, 1]]).T
    np.testing.assert_allclose(np.linalg.inv(matrix) @ (matrix @ clean), clean, atol=1e-9)
    assert np.linalg.det(matrix) == pytest.approx(1)
    assert affine_to_raw(shape, angle_deg, grow)["affine"] == matrix[:2].tolist()


@given(angles, st.booleans(), st.integers(0, 99))
def test_points_come_back_where_they_were(angle_deg, grow, seed):
    points_yx = np.random.default_rng(seed).uniform(-10, 2100, (50, 2))
    clean_yx = to_clean_yx(points_yx, (2048, 1500), angle_deg, grow)
    np.testing.assert_allclose(to_raw_yx(clean_yx, (2048, 1500), angle_deg, grow), points_yx, atol=1e-9)


@pytest.mark.parametrize("order", [0, 1, 3])
@pytest.mark.parametrize("grow", [True, False])
@pytest.mark.parametrize("angle_deg", [12.3, -71.0, 140.0])
def test_what_is_found_in_the_rotated_image_lies_there_in_the_raw_one(angle_deg, grow, order):
    places_yx = np.array([[40.2, 60.7], [75.0, 90.4], [62.3, 40.9], [90.1, 70.6]])
    clean = rotate(spots((131, 140), places_yx).astype(np.float32), angle_deg, order=order, grow=grow, fill=0)
    marks, count = ndimage.label(clean > 0.2)
    found = np.array(ndimage.center_of_mass(clean, marks, range(1, count + 1)))
    raw_yx = to_raw_yx(found, (131, 140), angle_deg, grow)
    distances = np.linalg.norm(raw_yx[:, None] - places_yx[None], axis=-1)
    assert count == len(places_yx)
    assert distances.min(axis=0).max() < 0.25
    back_yx = to_clean_yx(places_yx, (131, 140), angle_deg, grow)
    assert np.linalg.norm(found[:, None] - back_yx[None], axis=-1).min(axis=0).max() < 0.25


@pytest.mark.parametrize("angle_deg", [8.0, 33.3, -61.0])
def test_labels_come_back_to_their_cells(angle_deg):
    y, x = np.indices((200, 260))
    labels = np.zeros(y.shape, np.uint32)
    for label, (at_y, at_x) in enumerate([(30, 30), (30, 90), (100, 130), (170, 200), (150, 40)], start=1):
        labels[(y - at_y) ** 2 + (x - at_x) ** 2 <= 10**2] = label
    turned = rotate(labels, angle_deg, order=0, fill=0)
    back = rotate_back(turned, shape_yx=labels.shape, angle_deg=angle_deg)
    assert (back.dtype, back.shape) == (labels.dtype, labels.shape)
    for label in range(1, 6):
        joint = ((labels == label) & (back == label)).sum()
        assert joint / ((labels == label) | (back == label)).sum() > 0.9


def test_an_image_comes_back_smoothed_but_in_its_place():
    yx = spots((80, 90), [(30, 40), (50, 60)], sigma_px=4).astype(np.float32)
    back = rotate_back(rotate(yx, 27.0, order=3), shape_yx=yx.shape, angle_deg=27.0, order=3)
    np.testing.assert_allclose(back, yx, atol=0.01)


@given(shapes, angles)
def test_the_grown_image_holds_every_corner(shape, angle_deg):
    height, width = shape
    corners = np.array([[y, x] for y in (0, height - 1) for x in (0, width - 1)], float)
    places = to_clean_yx(corners, shape, angle_deg).T
    for axis, side_px in enumerate(rotated_shape(shape, angle_deg)):
        assert places[axis].min() == pytest.approx(0, abs=1e-6)
        assert places[axis].max() <= side_px - 0.5 + 1e-6


@settings(deadline=None)
@given(shapes, angles)
def test_valid_pixels_hold_nothing_from_outside(shape, angle_deg):
    rotated = rotate(np.ones(shape, np.float32), angle_deg, fill=0)
    inside = valid_region(shape, angle_deg)
    assert inside.shape == rotated.shape
    np.testing.assert_allclose(rotated[inside], 1, atol=1e-4)
    part = np.s_[: rotated.shape[0] // 2 + 1, rotated.shape[1] // 2 :]
    region = np.s_[0 : part[0].stop, part[1].start : rotated.shape[1]]
    np.testing.assert_array_equal(valid_region(shape, angle_deg, region=region), inside[part])


def test_the_valid_region_keeps_the_area():
    assert valid_region((200, 300), 33.0).sum() == pytest.approx(199 * 299, rel=0.005)


@pytest.mark.parametrize("dtype", [np.bool_, np.uint8, np.int32, np.uint32, np.int64, np.float64])
def test_the_nearest_pixel_keeps_dtype_and_values(dtype):
    labels = np.zeros((40, 40), dtype)
    labels[10:20, 10:30] = np.iinfo(dtype).max if np.dtype(dtype).kind in "iu" else 1
    rotated = rotate(labels, 20.0, order=0, fill=0)
    assert rotated.dtype == dtype
    assert set(np.unique(rotated)) == set(np.unique(labels))


def test_the_mirror_fill_makes_no_edge():
    flat = np.full((50, 50), 3, np.uint16)
    for order in (0, 1, 3):
        np.testing.assert_allclose(rotate(flat, 31.0, order=order), 3, rtol=1e-6)


def test_a_view_with_strides_is_read_as_it_looks():
    yx = np.random.default_rng(0).random((40, 60)).astype(np.float32)
    np.testing.assert_array_equal(rotate(yx[::-2, ::3], 20.0), rotate(yx[::-2, ::3].copy(), 20.0))


def test_an_unknown_order_is_an_error():
    with pytest.raises(ValueError, match="order"):
        rotate(np.zeros((4, 4)), 3.0, order=2)


def test_nan_is_an_error_that_says_so():
    with pytest.raises(ValueError, match="NaN"):
        rotate(np.full((4, 4), np.nan), 3.0)


def test_a_block_of_another_size_than_its_box_is_an_error():
    with pytest.raises(ValueError, match="expected the pixels of"):
        rotate_block(np.zeros((4, 4)), np.s_[0:5, 0:4], np.s_[0:1, 0:1], shape_yx=(9, 9), angle_deg=3.0)


def test_a_wrong_shape_on_the_way_back_is_an_error():
    with pytest.raises(ValueError, match="pass the shape and the angle"):
        rotate_back(np.zeros((4, 4), np.uint32), shape_yx=(9, 9), angle_deg=3.0)
