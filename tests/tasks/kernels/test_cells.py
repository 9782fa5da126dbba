import numpy as np
import pytest
from skimage.draw import ellipse
from skimage.measure import regionprops_table

from tasks.kernels.cells import COLUMN_TYPES, cell_boxes, measure_cells
from tasks.kernels.rotation import rotate
from tests.tasks.models.flow_networks import nuclei


def one_ellipse(angle_deg=0.0, *, label=7):
    """Half axes 20 px along the vertical and 8 px, turned counter-clockwise."""
    labels = np.zeros((101, 121), np.uint32)
    labels[ellipse(50, 60, 20, 8, rotation=np.deg2rad(angle_deg))] = label
    return labels


def test_an_ellipse_has_its_measures():
    labels = one_ellipse()
    cells = measure_cells(labels, np.full(labels.shape, 3, np.uint16), pixel_size_um=0.5)
    assert cells["label"].tolist() == [7]
    assert cells["centroid_y_px"][0] == pytest.approx(50)
    assert cells["centroid_x_px"][0] == pytest.approx(60)
    assert cells["area_px"][0] == (labels > 0).sum() == pytest.approx(np.pi * 20 * 8, rel=0.03)
    assert cells["area_um2"][0] == pytest.approx(cells["area_px"][0] / 4)
    assert cells["major_axis_um"][0] == pytest.approx(20, rel=0.03)
    assert cells["minor_axis_um"][0] == pytest.approx(8, rel=0.03)
    assert cells["eccentricity"][0] == pytest.approx(np.sqrt(1 - (8 / 20) ** 2), abs=0.02)
    assert cells["solidity"][0] > 0.95
    assert cells["mean_intensity"][0] == 3
    assert cells["total_intensity"][0] == 3 * cells["area_px"][0]
    assert not cells["touches_edge"][0]


def test_the_box_ends_behind_the_last_pixel():
    labels = np.zeros((9, 9), np.int32)
    labels[2:5, 3:8] = 1
    cells = measure_cells(labels, labels, pixel_size_um=1.0)
    assert [int(cells[f"bbox_{name}_px"][0]) for name in ("y0", "x0", "y1", "x1")] == [2, 3, 5, 8]


@pytest.mark.parametrize("angle_deg", [0, 10, 45, 80, -30, -75])
def test_the_orientation_is_the_counter_clockwise_rotation_to_the_vertical(angle_deg):
    # By hand: the long axis points up, turned to the right (clockwise) by the angle.
    y, x = np.mgrid[:101, :121]
    along = -(y - 50) * np.cos(np.deg2rad(angle_deg)) + (x - 60) * np.sin(np.deg2rad(angle_deg))
    across = (x - 60) * np.cos(np.deg2rad(angle_deg)) + (y - 50) * np.sin(np.deg2rad(angle_deg))
    labels = ((along / 25) ** 2 + (across / 8) ** 2 <= 1).astype(np.uint32)
    cells = measure_cells(labels, labels, pixel_size_um=1.0)
    assert cells["orientation_deg"][0] == pytest.approx(angle_deg, abs=1)


def test_rotating_by_the_orientation_stands_the_cell_up():
    labels = one_ellipse(35.0)
    angle_deg = measure_cells(labels, labels, pixel_size_um=1.0)["orientation_deg"][0]
    upright = rotate(labels, angle_deg, order=0, fill=0)
    assert abs(measure_cells(upright, upright, pixel_size_um=1.0)["orientation_deg"][0]) < 1


def test_a_horizontal_cell_has_ninety_degrees():
    labels = np.zeros((21, 41), np.uint8)
    labels[8:12, 5:35] = 1
    assert measure_cells(labels, labels, pixel_size_um=1.0)["orientation_deg"][0] == pytest.approx(90)


def test_rows_follow_the_labels_and_gaps_are_allowed():
    labels = np.zeros((20, 20), np.uint32)
    labels[10:14, 10:14], labels[2:4, 2:4], labels[5:7, 15:17] = 3, 900, 41
    cells = measure_cells(labels, np.arange(400.0).reshape(20, 20), pixel_size_um=1.0)
    assert cells["label"].tolist() == [3, 41, 900]
    assert cells["area_px"].tolist() == [16, 4, 4]
    assert cells["mean_intensity"][2] == np.arange(400.0).reshape(20, 20)[2:4, 2:4].mean()


def test_cells_at_the_border_and_at_the_outside_touch_the_edge():
    labels = np.zeros((30, 30), np.uint32)
    labels[0:3, 10:13], labels[10:13, 10:13], labels[20:23, 10:13] = 1, 2, 3
    inside = np.ones(labels.shape, bool)
    inside[23:] = False
    assert measure_cells(labels, labels, pixel_size_um=1.0)["touches_edge"].tolist() == [True, False, False]
    cells = measure_cells(labels, labels, pixel_size_um=1.0, inside=inside)
    assert cells["touches_edge"].tolist() == [True, False, True]


@pytest.mark.parametrize("filled", [False, True])
def test_columns_have_their_types_even_without_cells(filled):
    labels = one_ellipse() if filled else np.zeros((10, 10), np.uint32)
    cells = measure_cells(labels, labels, pixel_size_um=0.3)
    assert {name: column.dtype.type for name, column in cells.items()} == COLUMN_TYPES
    assert {column.size for column in cells.values()} == {int(filled)}


def test_a_single_pixel_is_a_cell():
    labels = np.zeros((5, 5), np.uint64)
    labels[2, 2] = 1
    cells = measure_cells(labels, labels, pixel_size_um=1.0)
    assert cells["area_px"][0] == 1
    assert -90 < cells["orientation_deg"][0] <= 90


@pytest.mark.parametrize(
    ("labels", "image", "options", "error"),
    [
        (np.zeros((3, 3)), np.zeros((3, 3)), {}, TypeError),
        (np.zeros((3, 3), int), np.zeros((3, 4)), {}, ValueError),
        (np.zeros((3, 3), int), np.zeros((3, 3)), {"pixel_size_um": 0.0}, ValueError),
        (np.zeros((3, 3), int), np.zeros((3, 3)), {"inside": np.ones((2, 2), bool)}, ValueError),
        (np.full((3, 3), -1), np.zeros((3, 3)), {}, ValueError),
        (np.ones((3, 3), int), np.full((3, 3), np.nan), {}, ValueError),
    ],
)
def test_wrong_input_is_refused(labels, image, options, error):
    with pytest.raises(error, match="expected"):
        measure_cells(labels, image, **{"pixel_size_um": 1.0, **options})


def ragged_cells():
    labels = nuclei((150, 170), 40, seed=3, axes_px=(3, 12))
    labels[np.random.default_rng(0).random(labels.shape) < 0.15] = 0
    return labels


def test_the_measures_are_those_of_scikit_image():
    labels = ragged_cells()
    image = np.random.default_rng(1).random(labels.shape).astype(np.float32)
    cells = measure_cells(labels, image, pixel_size_um=1.0)
    names = (
        "label",
        "centroid",
        "area",
        "axis_major_length",
        "axis_minor_length",
        "solidity",
        "eccentricity",
    )
    table = regionprops_table(labels.astype(int), image, properties=(*names, "intensity_mean"))
    ours = ("label", "centroid_y_px", "centroid_x_px", "area_px", "major_axis_um", "minor_axis_um")
    for mine, theirs in zip(
        (*ours, "solidity", "eccentricity", "mean_intensity"), table.values(), strict=True
    ):
        np.testing.assert_allclose(cells[mine], theirs, rtol=1e-6, err_msg=mine)


def test_a_part_of_a_plane_gives_the_numbers_of_the_plane():
    labels = ragged_cells()
    image = np.random.default_rng(1).random(labels.shape).astype(np.float32)
    whole = measure_cells(labels, image, pixel_size_um=0.7)
    part = (slice(0, 100), slice(31, 170))
    seen = np.setdiff1d(labels[part], np.unique(labels[100:]).tolist() + np.unique(labels[:, :31]).tolist())
    mine = np.where(np.isin(labels[part], seen), labels[part], 0)
    cells = measure_cells(mine, image[part], pixel_size_um=0.7, origin_yx=(0, 31), plane_yx=labels.shape)
    assert cells["label"].size > 10
    for name, values in cells.items():
        np.testing.assert_array_equal(values, whole[name][np.isin(whole["label"], cells["label"])], name)


def test_boxes_are_those_of_the_measures():
    labels = ragged_cells()
    cells = measure_cells(labels, labels, pixel_size_um=1.0)
    names = ("label", "bbox_y0_px", "bbox_x0_px", "bbox_y1_px", "bbox_x1_px")
    np.testing.assert_array_equal(cell_boxes(labels), np.stack([cells[name] for name in names], axis=1))
