import numpy as np
import pytest

from tasks.kernels.cells import measure_cells
from tasks.kernels.patches import crop_and_pad, crop_and_resize, extract_patches, patch_size_px


@pytest.fixture
def plane():
    """An image of distinct values with three cells, one of them in the corner."""
    labels = np.zeros((50, 60), np.uint32)
    labels[20:27, 30:40], labels[28:31, 30:40], labels[0:5, 0:4] = 5, 6, 9
    return np.arange(1, 3001, dtype=np.float32).reshape(50, 60), labels


def test_a_cell_keeps_its_size_in_the_middle(plane):
    yx, labels = plane
    patch = crop_and_pad(yx, labels, 5, (20, 30, 27, 40), size_px=16)
    assert patch.dtype == np.float32
    y0, x0 = 8 - 7 // 2, 8 - 10 // 2  # the box's middle pixel (23, 35) lies at (8, 8)
    np.testing.assert_array_equal(patch[y0 : y0 + 7, x0 : x0 + 10], yx[20:27, 30:40])
    assert patch[8, 8] == yx[23, 35]
    assert np.count_nonzero(patch) == 70


def test_neighbours_and_background_are_kept_on_demand(plane):
    yx, labels = plane
    patch = crop_and_pad(yx, labels, 5, (20, 30, 27, 40), size_px=16, keep_background=True)
    np.testing.assert_array_equal(patch, yx[15:31, 27:43])


def test_beyond_the_image_lies_nothing(plane):
    yx, labels = plane
    patch = crop_and_pad(yx, labels, 9, (0, 0, 5, 4), size_px=12, keep_background=True)
    np.testing.assert_array_equal(patch[4:, 4:], yx[:8, :8])
    assert not patch[:4].any()
    assert not patch[:, :4].any()


def test_a_cell_that_is_too_large_loses_its_rim(plane):
    yx, labels = plane
    patch = crop_and_pad(yx, labels, 5, (20, 30, 27, 40), size_px=4)
    np.testing.assert_array_equal(patch, yx[21:25, 33:37])


def test_resizing_fills_the_patch_and_keeps_the_aspect(plane):
    _, labels = plane
    patch = crop_and_resize(np.ones(labels.shape), labels, 5, (20, 30, 27, 40), size_px=40)
    rows, columns = np.nonzero(patch > 0.5)
    assert np.ptp(columns) + 1 == 40
    assert np.ptp(rows) + 1 == pytest.approx(28, abs=1)
    assert patch.max() == pytest.approx(1)


def test_resizing_to_the_own_size_changes_nothing(plane):
    yx, labels = plane
    box = (20, 30, 27, 40)
    np.testing.assert_allclose(
        crop_and_resize(yx, labels, 5, box, size_px=10),
        crop_and_pad(yx, labels, 5, box, size_px=10),
        rtol=1e-6,
    )


@pytest.mark.parametrize(("mode", "single"), [("pad", crop_and_pad), ("resize", crop_and_resize)])
def test_row_n_shows_cell_n(plane, mode, single):
    yx, labels = plane
    cells = measure_cells(labels, yx, pixel_size_um=1.0)
    patches = extract_patches(yx, labels, cells, size_px=16, mode=mode)
    assert patches.shape == (3, 16, 16)
    assert patches.dtype == np.float32
    boxes = {5: (20, 30, 27, 40), 6: (28, 30, 31, 40), 9: (0, 0, 5, 4)}
    for patch, label in zip(patches, cells["label"], strict=True):
        np.testing.assert_array_equal(patch, single(yx, labels, int(label), boxes[int(label)], size_px=16))


def test_no_cells_give_no_patches(plane):
    yx, labels = plane
    cells = measure_cells(np.zeros_like(labels), yx, pixel_size_um=1.0)
    assert extract_patches(yx, labels, cells, size_px=24).shape == (0, 24, 24)


def test_the_size_holds_the_given_share_of_cells():
    sides = np.arange(1, 101)
    assert patch_size_px(sides, sides // 2) == 104
    assert patch_size_px(sides // 2, sides, percentile=50, multiple=1) == 51
    assert patch_size_px(np.array([32]), np.array([3])) == 32


@pytest.mark.parametrize(
    ("heights", "options"), [([], {}), ([3, 4], {}), ([3], {"percentile": 101}), ([3], {"multiple": 0})]
)
def test_a_size_from_nothing_is_refused(heights, options):
    with pytest.raises(ValueError, match="expected"):
        patch_size_px(np.array(heights), np.arange(1, 1 + (len(heights) == 1)), **options)


@pytest.mark.parametrize("box", [(5, 5, 5, 9), (-1, 0, 3, 3), (0, 0, 51, 10), (0, 0, 10, 61)])
def test_boxes_outside_are_refused(plane, box):
    with pytest.raises(ValueError, match="bbox"):
        crop_and_pad(*plane, 5, box, size_px=8)


def test_other_wrong_input_is_refused(plane):
    yx, labels = plane
    with pytest.raises(ValueError, match="one shape"):
        crop_and_pad(yx[1:], labels, 5, (0, 0, 2, 2), size_px=8)
    with pytest.raises(ValueError, match="size_px"):
        crop_and_pad(yx, labels, 5, (0, 0, 2, 2), size_px=0)
    with pytest.raises(ValueError, match="mode"):
        extract_patches(yx, labels, measure_cells(labels, yx, pixel_size_um=1.0), size_px=8, mode="stretch")
