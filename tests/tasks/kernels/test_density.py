import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.kernels.density import Density, choose_profile, estimate_density, pool_densities
from tasks.kernels.simulation.scene import simulate_field
from tests.support import DATA

MIXED = (0.25, 0.25, 0.25, 0.25)


def chip(nuclei_per_mm2, seed, angle_deg=0.0, edge_px=512):
    stack = simulate_field(
        seed=seed,
        proportions=MIXED,
        nuclei_per_mm2=nuclei_per_mm2,
        height_px=edge_px,
        width_px=edge_px,
        touching_share=0.2,
        angle_deg=angle_deg,
    )
    return stack.tyx[0], stack.labels_tyx[0]


def count(labels_yx):
    return len(np.unique(labels_yx)) - 1


@pytest.mark.parametrize(("nuclei_per_mm2", "seed"), [(100, 1), (400, 2), (800, 3), (1500, 8)])
def test_cells_of_a_simulated_chip_are_counted(nuclei_per_mm2, seed):
    yx, labels_yx = chip(nuclei_per_mm2, seed, angle_deg=15.0 * (seed % 3))
    halved = cv2.resize(yx, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    for reduced_by, frame in ((1, yx), (2, halved)):
        found = estimate_density(frame, pixel_size_um=0.5, reduced_by=reduced_by)
        assert found.cells == pytest.approx(count(labels_yx), abs=1, rel=0.1)
        assert found.area_px == yx.size
        assert found.covered == pytest.approx((labels_yx > 0).mean(), rel=0.25)
        assert found.per_mm2 == pytest.approx(found.cells / (yx.size * 0.25e-6))


def test_neither_gain_nor_offset_nor_turning_changes_the_count():
    yx, _ = chip(900, 11, edge_px=320)
    cells = estimate_density(yx).cells
    assert estimate_density(yx * np.float32(0.01) - 40).cells == cells
    assert estimate_density(yx[::-1].T).cells == pytest.approx(cells, abs=1)


def test_large_frames_are_reduced_by_themselves():
    yx, _ = chip(600, 12, edge_px=400)
    large = np.kron(yx, np.ones((3, 3), np.uint16))
    found = estimate_density(large)
    assert found.cells == pytest.approx(estimate_density(yx).cells, abs=1)
    assert found.area_px == pytest.approx(9 * yx.size, rel=0.01)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.float32])
@pytest.mark.parametrize("shape", [(1, 1), (1, 3000), (700, 3), (64, 64)])
def test_frames_without_cells_have_none(dtype, shape):
    assert estimate_density(np.full(shape, 7, dtype)).cells == 0
    noise = np.random.default_rng(0).poisson(60, shape).astype(dtype)
    assert estimate_density(noise).cells <= 1


def test_grooves_and_shading_are_no_cells():
    y, x = np.mgrid[-1:1:512j, -1:1:512j]
    light = 300 * (1 - 0.3 * (x**2 + y**2)) * (1 - 0.1 * (np.sin(x * 80) > 0))
    assert estimate_density(np.random.default_rng(0).poisson(light)).cells == 0


def test_parts_are_pooled():
    one, two = Density(3, 50.0, 1000.0, 0.5), Density(1, 150.0, 3000.0, 0.5)
    assert pool_densities([one, two]) == Density(4, 200.0, 4000.0, 0.5)
    with pytest.raises(ValueError, match="of one pixel size"):
        pool_densities([one, Density(1, 1.0, 10.0, None)])
    with pytest.raises(ValueError, match="at least one"):
        pool_densities([])


def of(per_mm2, covered, pixel_size_um=0.5):
    return Density(round(per_mm2), covered * 4e6, 4e6, pixel_size_um)  # 4 megapixels of 0.5 um are 1 mm2


@pytest.mark.parametrize(
    ("density", "name"),
    [
        (of(0, 0.0), "sparse"),
        (of(249, 0.049), "sparse"),
        (of(250, 0.02), "medium"),
        (of(100, 0.05), "medium"),
        (of(899, 0.199), "medium"),
        (of(900, 0.1), "dense"),
        (of(100, 0.2), "dense"),
    ],
)
def test_profiles_follow_the_limits(density, name):
    choice = choose_profile(density)
    assert choice.name == name
    assert f"{density.cells} cells per mm2" in choice.reason
    assert f"{density.covered:.1%} of the frame" in choice.reason


def test_without_a_pixel_size_the_choice_says_so():
    choice = choose_profile(of(1200, 0.15, pixel_size_um=None))
    assert choice.name == "dense"
    assert "about 300 cells per megapixel" in choice.reason
    assert "pixel size is not known" in choice.reason


@given(st.floats(0, 5000), st.floats(0, 1))
def test_more_cells_never_choose_a_sparser_profile(per_mm2, covered):
    order = ["sparse", "medium", "dense"]
    here = order.index(choose_profile(of(per_mm2, covered)).name)
    assert order.index(choose_profile(of(per_mm2 + 100, covered)).name) >= here
    assert order.index(choose_profile(of(per_mm2, min(covered + 0.1, 1))).name) >= here


@pytest.mark.parametrize("options", [{"reduced_by": 0}, {"pixel_size_um": 0.0}, {"pixel_size_um": -1.0}])
def test_sizes_must_be_positive(options):
    with pytest.raises(ValueError, match="density: expected reduced_by"):
        estimate_density(np.ones((9, 9)), **options)


def test_nuclei_of_many_laboratories_are_counted():
    path = DATA / "dsb2018" / "train.npz"
    if not path.is_file():
        pytest.skip(f"no real data at {path}")
    with np.load(path, allow_pickle=False) as pictures:
        names = [name for name in pictures.files if name.startswith("img")][::40]
        ratios = [
            (estimate_density(pictures[name]).cells + 1) / (count(pictures[name.replace("img", "lab")]) + 1)
            for name in names
        ]
    assert np.median(ratios) == pytest.approx(0.95, abs=0.1)
    assert np.quantile(ratios, 0.1) > 0.5
    assert np.quantile(ratios, 0.9) < 1.2
