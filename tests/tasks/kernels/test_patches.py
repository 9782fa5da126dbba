import numpy as np
import pytest
from skimage.transform import resize

from tasks.kernels.cells import measure_cells
from tasks.kernels.patches import (
    as_stored,
    crop_and_pad,
    crop_and_resize,
    extract_patches,
    patch_size_px,
)


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


@pytest.mark.parametrize("dtype", ["float32", "float16", "uint8"])
@pytest.mark.parametrize("bad", [np.nan, -np.inf])
def test_what_is_not_finite_is_refused_where_a_patch_would_show_it(plane, dtype, bad):
    yx, labels = plane
    cells = measure_cells(labels, yx, pixel_size_um=1.0)
    yx = yx / 3000
    yx[40, 50] = bad
    assert extract_patches(yx, labels, cells, size_px=16, dtype=dtype).any()
    yx[22, 33] = bad
    with pytest.raises(ValueError, match="1 NaN or infinite"):
        extract_patches(yx, labels, cells, size_px=16, dtype=dtype)


# --- turned


@pytest.fixture
def bar():
    """A bar of 21 x 5 px, level, in a plane of its own; it is brighter at its left end."""
    labels = np.zeros((60, 60), np.uint32)
    labels[20:25, 30:51] = 3
    yx = np.where(labels == 3, np.linspace(1.0, 0.5, 60, dtype=np.float32)[None], 0.1).astype(np.float32)
    return yx, labels, measure_cells(labels, yx, pixel_size_um=1.0)


def sides(patch):
    rows, columns = np.nonzero(patch > 0.25)
    return np.ptp(rows) + 1, np.ptp(columns) + 1


def test_no_turn_is_no_change(plane):
    yx, labels = plane
    cells = measure_cells(labels, yx, pixel_size_um=1.0)
    plain = extract_patches(yx, labels, cells, size_px=17)
    turned = extract_patches(yx, labels, cells, size_px=17, turns_deg=np.zeros(3))
    for n, odd in enumerate(cells["bbox_y1_px"] - cells["bbox_y0_px"]):
        if odd % 2 and (cells["bbox_x1_px"] - cells["bbox_x0_px"])[n] % 2:
            np.testing.assert_allclose(turned[n], plain[n], rtol=1e-6)
        assert turned[n].sum() == pytest.approx(plain[n].sum(), rel=1e-5)


@pytest.mark.parametrize("keep", [True, False])
def test_a_quarter_turn_is_that_of_the_array(bar, keep):
    yx, labels, cells = bar
    plain = extract_patches(yx, labels, cells, size_px=25, keep_background=keep)[0]
    turned = extract_patches(yx, labels, cells, size_px=25, keep_background=keep, turns_deg=np.array([90.0]))
    np.testing.assert_allclose(turned[0], np.rot90(plain), atol=1e-5)  # counter-clockwise on the screen


def test_the_angle_of_the_table_makes_the_long_axis_vertical(bar):
    yx, labels, cells = bar
    assert abs(cells["orientation_deg"][0]) == pytest.approx(90)
    patch = extract_patches(yx, labels, cells, size_px=32, turns_deg=cells["orientation_deg"])[0]
    assert sides(patch) == (21, 5)
    slanted_labels = np.zeros((60, 60), np.uint32)
    y, x = np.mgrid[:60, :60]
    along, across = (x - 30) * 0.8 + (y - 30) * 0.6, (x - 30) * 0.6 - (y - 30) * 0.8
    slanted_labels[(abs(along) < 15) & (abs(across) < 4)] = 1
    cells = measure_cells(slanted_labels, yx, pixel_size_um=1.0)
    ones = np.ones((60, 60), np.float32)
    patch = extract_patches(ones, slanted_labels, cells, size_px=40, turns_deg=cells["orientation_deg"])[0]
    height, width = sides(patch)
    assert height == pytest.approx(30, abs=2)
    assert width == pytest.approx(8, abs=2)


def test_a_turned_cell_fills_the_patch_when_resized(bar):
    yx, labels, cells = bar
    patch = extract_patches(yx, labels, cells, size_px=42, mode="resize", turns_deg=cells["orientation_deg"])[
        0
    ]
    height, width = sides(patch)
    assert height == 42
    assert width == pytest.approx(10, abs=1)


def test_what_is_made_smaller_is_averaged():
    """A board of single black and white pixels becomes grey, whatever the phase."""
    yx = (np.indices((64, 64)).sum(axis=0) % 2).astype(np.float32)
    labels = np.ones((64, 64), np.uint32)
    patch = crop_and_resize(yx, labels, 1, (0, 0, 64, 64), size_px=16)
    np.testing.assert_allclose(patch, 0.5, atol=0.01)


def test_resizing_up_is_that_of_scikit_image(plane):
    yx, labels = plane
    square = np.zeros((10, 10), np.float32)
    square[2:9] = yx[20:27, 30:40]
    np.testing.assert_allclose(
        crop_and_resize(yx, labels, 5, (20, 30, 27, 40), size_px=24),
        resize(square, (24, 24), order=1, anti_aliasing=False),
        rtol=1e-5,
    )


@pytest.mark.parametrize(
    ("dtype", "error"), [("float16", 5e-4), ("uint8", 0.5 / 255), ("uint16", 0.5 / 65535)]
)
def test_numbers_are_stored_as_shares(dtype, error):
    values = np.linspace(0, 1, 1001, dtype=np.float32)
    stored = as_stored(values, dtype)
    assert stored.dtype == dtype
    scale = np.iinfo(dtype).max if dtype.startswith("u") else 1
    np.testing.assert_allclose(stored.astype(np.float64) / scale, values, atol=1.01 * error)


def test_half_precision_is_that_of_numpy():
    rng = np.random.default_rng(0)
    values = np.concatenate(
        [rng.uniform(0, 1, 5000), 10 ** rng.uniform(-9, 4.8, 5000), [0, 1, 2**-14, 2**-24, 65504]]
    ).astype(np.float32)
    exact = np.arange(2**15, dtype=np.uint16).view(np.float16)[:0x7C00].astype(np.float32)
    ties = ((exact[:-1].astype(np.float64) + exact[1:]) / 2).astype(np.float32)
    for one in (values, exact, ties, -values, values * 1e3):
        with np.errstate(over="ignore"):
            np.testing.assert_array_equal(as_stored(one, "float16"), one.astype(np.float16))
    assert as_stored(np.zeros((0, 4, 4), np.float32), "float16").shape == (0, 4, 4)
