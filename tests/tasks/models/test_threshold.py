import numpy as np
import pytest
from scipy import ndimage
from skimage.draw import ellipse

from tasks.kernels.histograms import add_histograms, plane_histogram
from tasks.kernels.preprocessing import preprocess_frame
from tasks.kernels.recipe import Recipe
from tasks.kernels.rotation import rotate
from tasks.kernels.simulation.scene import simulate_field
from tasks.models.threshold import ThresholdSegmenter, dense_labels, plane_levels, to_unit_range

POPULATIONS = ("round", "elongated", "bent", "lobed")


def field(seed, proportions=(0.25, 0.25, 0.25, 0.25), **options):
    """A clean frame and its true labels, upright."""
    stack = simulate_field(seed=seed, proportions=proportions, **options)
    clean = preprocess_frame(stack.tyx[0], Recipe(angle_deg=stack.angle_deg))
    return clean, rotate(stack.labels_tyx[0], stack.angle_deg, order=0, fill=0).astype(int)


def true_positives(truth, found, least_iou=0.5):
    width = int(found.max()) + 1
    common = np.bincount(truth.ravel() * width + found.ravel(), minlength=(truth.max() + 1) * width)
    common = common.reshape(-1, width)
    joint = common.sum(axis=1, keepdims=True) + common.sum(axis=0, keepdims=True) - common
    return int((common[1:, 1:] > least_iou * joint[1:, 1:]).sum())


def drawn(*shapes, size=(120, 120), noise=0.02, seed=0):
    """Bright ellipses (y, x, radius y, radius x), slightly blurred, on a dark noisy ground."""
    yx = np.full(size, 0.1)
    for y, x, radius_y, radius_x in shapes:
        yx[ellipse(y, x, radius_y, radius_x, size)] = 0.8
    rng = np.random.default_rng(seed)
    return np.clip(ndimage.gaussian_filter(yx, 1) + rng.normal(0, noise, size), 0.01, 1).astype(np.float32)


@pytest.mark.parametrize("seed", range(4))
def test_simulated_nuclei_are_found(seed):
    clean, truth = field(
        seed, touching_share=0.3, nuclei_per_mm2=1200, height_px=384, width_px=384, angle_deg=-17.0
    )
    found = ThresholdSegmenter().segment(clean)
    n = np.unique(truth[truth > 0]).size
    assert abs(int(found.max()) - n) <= max(1, 0.03 * n)
    assert 2 * true_positives(truth, found) / (n + found.max()) > 0.93


@pytest.mark.parametrize("population", range(4), ids=POPULATIONS)
def test_single_nuclei_of_any_shape_stay_whole(population):
    proportions = tuple(float(i == population) for i in range(4))
    clean, truth = field(5, proportions, nuclei_per_mm2=500, height_px=384, width_px=384)
    n = np.unique(truth[truth > 0]).size
    found = ThresholdSegmenter().segment(clean)
    assert found.max() == n
    assert true_positives(truth, found) == n


@pytest.mark.parametrize("seed", range(3))
def test_grooves_without_nuclei_give_nothing(seed):
    stack = simulate_field(
        seed=seed, proportions=(1, 0, 0, 0), nuclei_per_mm2=1, angle_deg=12.0, height_px=320, width_px=320
    )
    assert stack.labels_tyx.max() == 0
    assert ThresholdSegmenter().segment(preprocess_frame(stack.tyx[0], Recipe(angle_deg=12.0))).max() == 0


@pytest.mark.parametrize("distance_px", [18, 20, 22, 24])
def test_touching_discs_are_parted(distance_px):
    yx = drawn((60, 45, 12, 12), (60, 45 + distance_px, 12, 12))
    labels = ThresholdSegmenter().segment(yx)
    assert labels.max() == 2
    assert labels[60, 40] != labels[60, 50 + distance_px]


@pytest.mark.parametrize("radius_x", [12, 20, 30, 40])
def test_a_long_nucleus_stays_whole(radius_x):
    assert ThresholdSegmenter().segment(drawn((60, 60, 9, radius_x))).max() == 1


def test_dim_nuclei_beside_bright_ones_are_found():
    yx = drawn((30, 30, 12, 12), (30, 80, 12, 12), (80, 30, 12, 12))
    yx[60:, :60] = 0.1 + (yx[60:, :60] - 0.1) * 0.4
    assert ThresholdSegmenter().segment(yx).max() == 3


def test_a_background_that_rises_is_no_nucleus():
    yx = drawn((30, 30, 12, 12), (80, 90, 12, 12)) * 0.6
    yx += np.linspace(0, 0.35, 120, dtype=np.float32)
    assert ThresholdSegmenter().segment(yx).max() == 2


def test_holes_are_filled_and_specks_dropped():
    yx = drawn((60, 60, 14, 14), (20, 20, 2, 2))
    yx[58:62, 58:62] = 0.1
    labels = ThresholdSegmenter().segment(yx)
    assert labels.max() == 1
    assert labels[60, 60] == 1


def test_the_smallest_area_can_be_given():
    yx = drawn((60, 60, 12, 12), (20, 20, 5, 5))
    assert ThresholdSegmenter(min_area_px=30).segment(yx).max() == 2
    assert ThresholdSegmenter(min_area_px=200).segment(yx).max() == 1


@pytest.mark.parametrize("scale", [0.5, 2])
def test_the_diameter_scales_everything(scale):
    yx = drawn((30, 30, 12, 12), (30, 52, 12, 12), (80, 70, 8, 16))
    zoomed = np.clip(ndimage.zoom(yx, scale, order=1), 0, 1)
    assert ThresholdSegmenter(diameter_px=24 * scale).segment(zoomed).max() == 3


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.float32, np.float64])
def test_every_dtype_gives_the_same_nuclei(dtype):
    yx = drawn((30, 30, 12, 12), (80, 90, 12, 12))
    expected = ThresholdSegmenter().segment(yx) > 0
    found = ThresholdSegmenter().segment((yx * 250).astype(dtype)) > 0
    assert (found != expected).mean() < 0.002


def test_a_tile_with_its_halo_gives_the_labels_of_the_plane():
    clean, _ = field(3, touching_share=0.6, nuclei_per_mm2=1500, height_px=400, width_px=400, angle_deg=10.0)
    segmenter = ThresholdSegmenter()
    height, width = clean.shape
    core, halo = 130, segmenter.halo_px
    corners = [(y, x) for y in range(0, height, core) for x in range(0, width, core)]
    histogram = add_histograms([plane_histogram(clean[y : y + core, x : x + core]) for y, x in corners])
    whole = segmenter.segment(clean)
    for y, x in corners:
        top, left = max(y - halo, 0), max(x - halo, 0)
        window = segmenter.segment(clean[top : y + core + halo, left : x + core + halo], histogram=histogram)
        tile = window[y - top : y - top + core, x - left : x - left + core]
        expected = whole[y : y + core, x : x + core]
        pairs = np.unique(np.stack([tile.ravel(), expected.ravel()]), axis=1)
        assert np.unique(pairs[0]).size == np.unique(pairs[1]).size == pairs.shape[1]
        assert not pairs[:, 0].any() or pairs[:, 0].all()


def test_the_dark_outside_makes_no_nuclei():
    clean, truth = field(8, nuclei_per_mm2=900, height_px=320, width_px=320, angle_deg=45.0)
    found = ThresholdSegmenter().segment(clean)
    assert not found[clean == 0].any()
    assert abs(int(found.max()) - np.unique(truth[truth > 0]).size) <= 2


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0, 300])
def test_a_constant_plane_has_no_nuclei(value):
    assert ThresholdSegmenter().segment(np.full((40, 50), value)).max() == 0


@pytest.mark.parametrize("shape", [(1, 1), (1, 70), (70, 1), (3, 3)])
def test_tiny_planes_do_no_harm(shape):
    yx = np.random.default_rng(0).random(shape)
    assert ThresholdSegmenter().segment(yx).shape == shape


@pytest.mark.parametrize("seed", range(3))
def test_noise_has_no_nuclei(seed):
    noise = np.random.default_rng(seed).normal(100, 10, (300, 300))
    assert ThresholdSegmenter().segment(noise).max() == 0


@pytest.mark.parametrize(
    "yx",
    [np.zeros(4), np.zeros((2, 3, 4)), np.zeros((0, 3)), np.full((3, 3), np.nan), np.zeros((2, 2), complex)],
)
def test_anything_but_a_finite_plane_is_refused(yx):
    with pytest.raises(ValueError, match="expected"):
        ThresholdSegmenter().segment(yx)


@pytest.mark.parametrize(
    "options", [{"diameter_px": 1}, {"min_area_px": 0}, {"half_height": 1.0}, {"neck": 0.0}]
)
def test_strange_options_are_refused(options):
    with pytest.raises(ValueError, match="expected"):
        ThresholdSegmenter(**options)


def test_levels_need_enough_bright_pixels():
    counts = np.zeros(100, np.int64)
    counts[10:14] = 1000
    counts[80] = 50
    assert plane_levels(counts, 51) is None
    levels = plane_levels(counts, 50)
    assert levels.dark == pytest.approx(0.12, abs=0.01)
    assert levels.bright == pytest.approx(0.805)


def test_floats_in_range_pass_and_others_are_stretched():
    floats = np.array([[0.0, 0.2, 1.0]], np.float32)
    assert to_unit_range(floats) is floats
    np.testing.assert_allclose(to_unit_range(np.array([[10, 20, 30]])), [[1 / 65535, 0.5, 1]])


def test_labels_become_dense_in_the_order_of_first_pixels():
    labels = np.array([[0, 9, 9], [4, 4, 2], [7, 7, 9]])
    np.testing.assert_array_equal(dense_labels(labels, 2), [[0, 1, 1], [2, 2, 0], [3, 3, 1]])
