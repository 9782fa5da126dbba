import numpy as np
import pytest
from skimage.feature import structure_tensor
from skimage.transform import rotate

from tasks.kernels.simulation.design import POPULATIONS, WILD_TYPE, Condition, ExperimentDesign
from tasks.kernels.simulation.field import make_field
from tasks.kernels.simulation.optics import GROOVE_PERIOD_UM, Optics, groove_profile, record_frame
from tasks.kernels.simulation.placement import place_tracks
from tasks.kernels.simulation.shapes import draw_shape

EVEN = (0.25, 0.25, 0.25, 0.25)


def groove_image(angle_deg, pixel_size_um=0.5):
    return groove_profile(make_field(240, 240, pixel_size_um=pixel_size_um, angle_deg=angle_deg).u_yx)


@pytest.mark.parametrize("angle_deg", [-30.0, -8.5, 0.0, 12.0, 29.0])
def test_turning_the_grooves_by_their_angle_makes_them_vertical(angle_deg):
    upright_yx = rotate(groove_image(angle_deg), angle_deg, order=3)[80:160, 80:160]
    wrong_yx = rotate(groove_image(angle_deg), -angle_deg, order=3)[80:160, 80:160]
    assert upright_yx.std(axis=0).max() < 0.12
    assert upright_yx.mean(axis=0).std() > 0.3
    if angle_deg:
        assert wrong_yx.std(axis=0).max() > 0.4


@pytest.mark.parametrize("angle_deg", [-30.0, -8.5, 0.0, 12.0, 29.0])
def test_gradients_of_the_grooves_point_across_them(angle_deg):
    tensor = structure_tensor(groove_image(angle_deg, pixel_size_um=0.15), sigma=1)
    rr, rc, cc = (part[20:-20, 20:-20].sum() for part in tensor)
    across_deg = np.rad2deg(0.5 * np.arctan2(2 * rc, cc - rr))
    assert across_deg == pytest.approx(angle_deg, abs=0.2)


def test_grooves_are_5_um_wide_every_10_um():
    profile_x = groove_profile(make_field(4, 4000, pixel_size_um=0.05, angle_deg=0).u_yx)[0]
    walls_um = np.flatnonzero(np.diff(profile_x > 0.5)) * 0.05
    np.testing.assert_allclose(np.diff(walls_um), GROOVE_PERIOD_UM / 2, atol=0.1)
    assert (profile_x.min(), profile_x.max()) == pytest.approx((0, 1), abs=1e-3)


@pytest.mark.parametrize("population", POPULATIONS)
def test_an_outline_lies_at_depth_one_and_encloses_a_disc_of_12_um(population):
    rng = np.random.default_rng(3)
    areas_um2 = []
    for _ in range(40):
        shape = draw_shape(population, rng)
        u_um, v_um = shape.outline_uv().T
        np.testing.assert_allclose(shape.depth(u_um, v_um), 1.0, atol=1e-9)
        areas_um2.append(0.5 * abs(np.sum(u_um * np.roll(v_um, 1) - v_um * np.roll(u_um, 1))))
    assert np.mean(areas_um2) == pytest.approx(np.pi * 36, rel=0.05)


def test_an_unknown_population_is_refused():
    with pytest.raises(ValueError, match=r"expected one of round, elongated, bent, lobed, found .* 'square'"):
        draw_shape("square", np.random.default_rng(0))


def test_bent_nuclei_lie_on_walls_and_elongated_ones_between_them():
    shapes = [(name, draw_shape(name, np.random.default_rng(1))) for name in ["bent", "elongated"] * 10]
    tracks = place_tracks(
        shapes,
        corners_uv=np.array([[0.0, 0.0], [300.0, 0.0], [0.0, 300.0]]),
        touching_share=0.0,
        time_points=5,
        touch_um=0.3,
        rng=np.random.default_rng(2),
    )
    for track in tracks:
        to_wall_um = np.abs((track.centre_tuv[:, 0] + 2.5) % 5.0 - 2.5)
        assert (to_wall_um < 1.25).all() if track.population == "bent" else (to_wall_um > 1.25).all()


def test_places_name_chips_by_condition_and_replicate():
    places = ExperimentDesign().places()
    assert [place.file for place in places[:3]] == ["wt-1_p1.ome.tif", "wt-1_p2.ome.tif", "wt-2_p1.ome.tif"]
    assert (places[-1].chip, places[-1].condition, places[-1].replicate) == ("braf-2", "BRAF", 2)
    assert len({place.file for place in places}) == ExperimentDesign().stack_count == 8


def test_the_camera_is_linear_with_poisson_and_read_noise():
    optics = Optics(
        background_photons=300, lamp=1, groove_contrast=0, falloff=0, bright_y=0, bright_x=0,
        blur_um=0.5, counts_per_photon=2.5, offset_counts=200,
    )  # fmt: skip
    flat_yx = np.zeros((400, 400))
    counts_yx = record_frame(
        flat_yx, flat_yx, optics=optics, pixel_size_um=0.5, frame=0, rng=np.random.default_rng(0)
    )
    assert counts_yx.dtype == np.uint16
    assert counts_yx.mean() == pytest.approx(200 + 2.5 * 300, rel=1e-3)
    assert counts_yx.var() == pytest.approx(2.5**2 * (300 + 2.0**2) + 1 / 12, rel=0.02)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"seed": -1}, "seed between 0"),
        ({"chips": 0}, "chips between 1"),
        ({"positions": 0}, "positions between 1"),
        ({"time_points": 0}, "time_points between 1"),
        ({"height_px": 10}, "height_px between 64"),
        ({"pixel_size_um": float("nan")}, "pixel_size_um between 0.1"),
        ({"touching_share": 1.5}, "touching_share between 0"),
        ({"nuclei_per_mm2": (800.0, 100.0)}, r"nuclei_per_mm2\[1\] between 800"),
        ({"nuclei_per_mm2": (800.0, 9000.0)}, r"between 800 and 1600, found 9000.0; choose"),
        ({"conditions": ()}, "at least one condition"),
        ({"conditions": (WILD_TYPE, WILD_TYPE)}, "rename the repeated one"),
    ],
)
def test_a_design_refuses_what_it_cannot_draw(wrong, says):
    with pytest.raises(ValueError, match=says):
        ExperimentDesign(**wrong)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((" ", "a", EVEN), "with a name"),
        (("wild type", "wild type", EVEN), "becomes part of file names"),
        (("wild type", "wt", (0.5, 0.5)), "4 shares"),
        (("wild type", "wt", (0.5, 0.5, 0.5, -0.5)), "at least 0"),
        (("wild type", "wt", (0.5, 0.5, 0.5, 0.5)), "found sum 2"),
    ],
)
def test_a_condition_refuses_nonsense(arguments, says):
    with pytest.raises(ValueError, match=says):
        Condition(*arguments)


def test_nuclei_that_find_no_room_are_refused():
    shapes = [("round", draw_shape("round", np.random.default_rng(0)))] * 30
    with pytest.raises(ValueError, match="lower nuclei_per_mm2"):
        place_tracks(
            shapes,
            corners_uv=np.array([[0.0, 0.0], [30.0, 0.0], [0.0, 30.0]]),
            touching_share=0.0,
            time_points=1,
            touch_um=0.3,
            rng=np.random.default_rng(0),
        )
