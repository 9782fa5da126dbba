from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from scipy import ndimage
from scipy.stats import chisquare
from skimage.filters import gaussian, threshold_otsu
from skimage.measure import label as connected
from skimage.measure import regionprops

from tasks.kernels.simulation.design import BRAF, POPULATIONS, WILD_TYPE, Condition, ExperimentDesign
from tasks.kernels.simulation.optics import GROOVE_PERIOD_UM
from tasks.kernels.simulation.scene import simulate_field, simulate_stack

EVEN = (0.25, 0.25, 0.25, 0.25)
SMALL = ExperimentDesign(height_px=160, width_px=192, time_points=3, touching_share=0.4)


def only(population):
    return tuple(float(name == population) for name in POPULATIONS)


def touching_labels(labels_yx):
    """Labels with a different label next to them, by dilation, so not by the simulator's own means."""
    found = set()
    for region in regionprops(labels_yx.astype(int)):
        window = tuple(slice(max(s.start - 1, 0), s.stop + 1) for s in region.slice)
        around = ndimage.binary_dilation(labels_yx[window] == region.label, np.ones((3, 3)))
        if set(np.unique(labels_yx[window][around])) - {0, region.label}:
            found.add(region.label)
    return found


def difference_deg(first_deg, second_deg):
    return abs((first_deg - second_deg + 90) % 180 - 90)


@pytest.fixture(scope="module")
def crowded():
    return simulate_field(
        seed=5,
        proportions=EVEN,
        height_px=400,
        width_px=400,
        touching_share=0.4,
        angle_deg=17.0,
        time_points=4,
    )


@pytest.mark.parametrize("chip_index", [0, 1, 2, 3])
def test_the_recorded_grooves_show_at_the_true_angle(chip_index):
    stack = simulate_stack(ExperimentDesign(time_points=1), chip_index, 0)
    image_yx = stack.tyx[0] / gaussian(stack.tyx[0].astype(float), 20)
    image_yx[ndimage.binary_dilation(stack.labels_tyx[0] > 0, iterations=6)] = np.nan
    image_yx = np.nan_to_num(image_yx - np.nanmean(image_yx))
    place_um = np.arange(512) * 0.5
    angles_deg = np.arange(-90.0, 90.0, 0.1)
    power = [
        abs(_wave(np.sin(angle) * place_um) @ image_yx @ _wave(np.cos(angle) * place_um))
        for angle in np.deg2rad(angles_deg)
    ]
    assert difference_deg(angles_deg[np.argmax(power)], stack.angle_deg) < 0.3


def _wave(path_um):
    return np.exp(2j * np.pi * path_um / GROOVE_PERIOD_UM)


def measured(population, what):
    stack = simulate_field(seed=2, proportions=only(population), height_px=512, width_px=512, angle_deg=-20)
    inner = [
        region
        for region in regionprops(stack.labels_tyx[0].astype(int))
        if min(region.bbox[:2]) > 0 and max(region.bbox[2:]) < 512
    ]
    return np.array([what(region) for region in inner])


def test_the_populations_look_as_their_names_say():
    aspect = {
        name: measured(name, lambda r: r.axis_major_length / r.axis_minor_length) for name in POPULATIONS
    }
    solidity = {name: measured(name, lambda r: r.solidity) for name in POPULATIONS}
    assert aspect["round"].max() < 1.25
    assert aspect["elongated"].min() > 1.55
    assert aspect["bent"].min() > 1.5
    assert aspect["lobed"].max() < 1.5
    assert solidity["lobed"].max() < 0.958 < solidity["round"].min()
    assert np.median(solidity["bent"]) < 0.93 < solidity["elongated"].min()


def test_elongated_nuclei_follow_the_grooves_and_round_ones_do_not():
    def off_deg(population):
        stack = simulate_field(
            seed=4, proportions=only(population), height_px=512, width_px=512, angle_deg=25
        )
        return [difference_deg(cell.orientation_deg, 25) for cell in stack.cells]

    assert np.percentile(off_deg("elongated"), 90) < 12
    assert np.median(off_deg("round")) > 30


def test_a_bent_nucleus_is_dimmer_in_the_groove():
    stack = simulate_field(seed=8, proportions=only("bent"), height_px=512, width_px=512)
    image_yx, inside_yx = stack.tyx[0].astype(float), stack.labels_tyx[0] > 0
    empty_x = np.array(
        [np.median(column[~mask]) for column, mask in zip(image_yx.T, inside_yx.T, strict=True)]
    )
    groove_x = ndimage.gaussian_filter(empty_x, 1) < ndimage.uniform_filter1d(empty_x, 40)
    core_yx = ndimage.binary_erosion(inside_yx, iterations=4)
    groove_yx = np.broadcast_to(groove_x, core_yx.shape)
    assert image_yx[core_yx & groove_yx].mean() < 0.92 * image_yx[core_yx & ~groove_yx].mean()


@pytest.mark.parametrize("proportions", [WILD_TYPE.proportions, BRAF.proportions])
def test_populations_come_in_the_stated_proportions(proportions):
    stack = simulate_field(seed=1, proportions=proportions, height_px=900, width_px=900)
    counts = np.array([sum(cell.population == name for cell in stack.cells) for name in POPULATIONS])
    assert counts.sum() > 150
    assert chisquare(counts, counts.sum() * np.array(proportions)).pvalue > 0.01


def test_the_null_gives_all_conditions_the_mean_proportions():
    design = ExperimentDesign(null=True)
    expected = np.add(WILD_TYPE.proportions, BRAF.proportions) / 2
    np.testing.assert_allclose([design.proportions_of(0), design.proportions_of(1)], [expected, expected])
    assert ExperimentDesign().proportions_of(1) == BRAF.proportions


def test_the_null_reaches_the_stacks():
    conditions = (Condition("a", "a", only("round")), Condition("b", "b", only("lobed")))
    design = replace(SMALL, conditions=conditions, height_px=300, width_px=300, time_points=1)
    seen = [{cell.population for cell in simulate_stack(design, chip, 0).cells} for chip in (0, 2)]
    assert seen == [{"round"}, {"lobed"}]
    null = replace(design, null=True)
    assert all(
        {c.population for c in simulate_stack(null, chip, 0).cells} == {"round", "lobed"} for chip in (0, 2)
    )


def test_every_label_is_one_piece_and_listed_with_its_own_numbers(crowded):
    rows = {(cell.t, cell.label): cell for cell in crowded.cells}
    assert len(rows) == len(crowded.cells)
    seen = set()
    for t, labels_yx in enumerate(crowded.labels_tyx.astype(int)):
        for region in regionprops(labels_yx):
            seen.add((t, region.label))
            cell = rows[t, region.label]
            assert connected(labels_yx == region.label, connectivity=2).max() == 1
            assert (cell.centroid_y_px, cell.centroid_x_px) == pytest.approx(region.centroid)
            assert -90 < cell.orientation_deg <= 90
            if region.eccentricity > 0.3:
                assert difference_deg(cell.orientation_deg, np.rad2deg(-region.orientation)) < 2
    assert seen == set(rows)
    assert {label for _, label in seen} == set(range(1, crowded.labels_tyx.max() + 1))


def test_a_horizontal_nucleus_has_orientation_90():
    stack = simulate_field(seed=4, proportions=only("elongated"), angle_deg=90.0)
    assert np.median([difference_deg(cell.orientation_deg, 90) for cell in stack.cells]) < 10


@pytest.mark.parametrize("share", [0.0, 0.3, 0.7])
def test_the_stated_share_touches(share):
    stack = simulate_field(
        seed=6, proportions=EVEN, height_px=700, width_px=700, touching_share=share, time_points=2
    )
    for labels_yx in stack.labels_tyx:
        found = len(touching_labels(labels_yx)) / (len(np.unique(labels_yx)) - 1)
        assert found == pytest.approx(share, abs=0.06)
        assert share or found == 0


def test_a_nucleus_keeps_label_and_population_while_it_moves_a_little(crowded):
    assert all(
        len({cell.population for cell in crowded.cells if cell.label == label}) == 1
        for label in range(1, crowded.labels_tyx.max() + 1)
    )
    moved = [
        np.hypot(after.centroid_y_px - before.centroid_y_px, after.centroid_x_px - before.centroid_x_px)
        for before, after in pairwise(sorted(crowded.cells, key=lambda cell: (cell.label, cell.t)))
        if before.label == after.label and after.t == before.t + 1
    ]
    assert 0.3 < np.median(moved) < 5
    assert max(moved) < 15


def test_listed_nuclei_are_visible_by_about_a_half_or_more():
    design = replace(SMALL, time_points=12)
    areas = np.concatenate(
        [np.bincount(labels_yx.ravel())[1:] for labels_yx in simulate_stack(design, 0, 0).labels_tyx]
    )
    assert areas[areas > 0].min() > 0.33 * np.median(areas[areas > 0])


def test_a_stack_depends_on_the_design_and_its_own_indices_alone():
    first, again = simulate_stack(SMALL, 3, 1), simulate_stack(SMALL, 3, 1)
    np.testing.assert_array_equal(first.tyx, again.tyx)
    np.testing.assert_array_equal(first.labels_tyx, again.labels_tyx)
    assert first.cells == again.cells
    larger = simulate_stack(replace(SMALL, positions=5), 3, 1)
    np.testing.assert_array_equal(first.tyx, larger.tyx)
    assert not np.array_equal(first.tyx, simulate_stack(replace(SMALL, seed=1), 3, 1).tyx)


def test_an_angle_belongs_to_a_chip():
    angles_deg = [
        [simulate_stack(SMALL, chip, position).angle_deg for position in (0, 1)] for chip in range(4)
    ]
    assert all(first == second for first, second in angles_deg)
    assert len({first for first, _ in angles_deg}) == 4
    assert np.abs(angles_deg).max() <= 30


def test_separate_nuclei_stand_out_and_nothing_saturates():
    stack = simulate_field(seed=3, proportions=EVEN, height_px=512, width_px=512)
    image_yx, labels_yx = stack.tyx[0].astype(float), stack.labels_tyx[0].astype(int)
    assert 200 < image_yx.min() < image_yx.max() < 12_000
    smooth_yx = gaussian(image_yx, 1)
    empty = np.median(smooth_yx[labels_yx == 0])
    found_yx = connected(smooth_yx > empty + 0.6 * (threshold_otsu(smooth_yx) - empty))
    overlaps = []
    for region in regionprops(labels_yx):
        mask_yx = labels_yx == region.label
        name = np.bincount(found_yx[mask_yx]).argmax()
        overlaps.append(
            np.sum(mask_yx & (found_yx == name)) / np.sum(mask_yx | (found_yx == name)) if name else 0
        )
    assert np.mean(np.array(overlaps) > 0.5) > 0.95
    background = image_yx[~ndimage.binary_dilation(labels_yx > 0, iterations=5)]
    signal = np.median(ndimage.median(image_yx, labels_yx, np.unique(labels_yx)[1:])) - np.median(background)
    noise = np.std(image_yx[:, 1:] - image_yx[:, :-1]) / np.sqrt(2)
    assert 5 < signal / noise < 25


def test_an_index_outside_the_design_is_refused():
    with pytest.raises(ValueError, match="chip_index between 0 and 3, found 4"):
        simulate_stack(SMALL, 4, 0)


def test_the_densest_design_finds_room():
    for seed in range(3):
        stack = simulate_field(
            seed=seed, proportions=EVEN, nuclei_per_mm2=1600, touching_share=0.8, time_points=6
        )
        assert stack.labels_tyx.max() > 15
