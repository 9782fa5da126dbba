import logging

import fastremap
import numpy as np
import pytest
import torch
from cellpose.dynamics import compute_masks
from cellpose.metrics import average_precision
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage

from tasks.kernels.dynamics import halo_px, labels_from_flows
from tasks.kernels.dynamics_loops import fill_field, follow
from tasks.kernels.flow_targets import flow_error_by_label, flows_from_labels
from tasks.kernels.flow_targets_loops import AREA, boxes_of
from tasks.kernels.holes_loops import fill_holes
from tasks.kernels.simulation.scene import simulate_field
from tests.support import DATA


@pytest.fixture(scope="module")
def simulated():
    field = simulate_field(
        seed=2, proportions=(0.25,) * 4, height_px=320, width_px=320, touching_share=0.6, nuclei_per_mm2=1600
    )
    return fastremap.renumber(field.labels_tyx[0])[0]


def as_of_a_network(labels, amplitude, seed=0):
    """Flows and cell probability with a network's blur, and noise of about the size of its errors."""
    rng = np.random.default_rng(seed)
    noise = ndimage.gaussian_filter(rng.normal(size=(3, *labels.shape)), (0, 1.5, 1.5))
    noise /= noise.std()
    flows = ndimage.gaussian_filter(flows_from_labels(labels), (0, 1, 1)) + amplitude * noise[:2]
    cellprob = ndimage.gaussian_filter(np.where(labels > 0, 5.0, -5.0), 1) + noise[2]
    return flows.astype(np.float32), cellprob.astype(np.float32)


def perfect(labels):
    return flows_from_labels(labels), np.where(labels > 0, 5, -5).astype(np.float32)


def f1(found, known, iou=0.9):
    _, true, false, missed = average_precision([known.astype(int)], [found.astype(int)], threshold=[iou])
    return float((2 * true / (2 * true + false + missed))[0, 0])


def of_cellpose(flows, cellprob):
    logging.getLogger("cellpose").setLevel(logging.ERROR)
    return compute_masks(5 * flows, cellprob, min_size=15, max_size_fraction=2, device=torch.device("cpu"))


@pytest.mark.filterwarnings("ignore:Sparse invariant checks")
@pytest.mark.parametrize("amplitude", [None, 0, 0.1, 0.2])
def test_equals_cellpose_on_simulated_cells(simulated, amplitude):
    given_ = perfect(simulated) if amplitude is None else as_of_a_network(simulated, amplitude)
    found = labels_from_flows(*given_)
    assert found.max() > 25
    assert f1(found, of_cellpose(*given_)) >= 0.99
    assert f1(found, simulated, iou=0.75) >= 0.99


@pytest.mark.filterwarnings("ignore:Sparse invariant checks")
def test_equals_cellpose_on_real_masks():
    path = DATA / "dsb2018" / "train.npz"
    if not path.is_file():
        pytest.skip(f"no real data at {path}")
    with np.load(path, allow_pickle=False) as pictures:
        names = [name for name in pictures.files if name.startswith("lab")][::40]
        every = [fastremap.renumber(pictures[name])[0] for name in names if pictures[name].size < 360 * 360]
    ours, theirs = [], []
    for number, labels in enumerate(every):
        given_ = as_of_a_network(labels, 0.1, seed=number)
        ours.append(np.pad(labels_from_flows(*given_), ((0, 360 - labels.shape[0]), (0, 0))))
        theirs.append(np.pad(of_cellpose(*given_), ((0, 360 - labels.shape[0]), (0, 0))))
    _, true, false, missed = average_precision(
        [one.astype(int) for one in theirs], [one.astype(int) for one in ours], threshold=[0.9]
    )
    assert true.sum() > 150
    assert 2 * true.sum() / (2 * true + false + missed).sum() >= 0.985


def test_labels_come_back_from_their_flows(simulated):
    found = labels_from_flows(*perfect(simulated))
    assert found.dtype == np.uint32
    assert f1(found, simulated, 0.95) == 1
    firsts = np.unique(found, return_index=True)[1][1:]
    assert (np.diff(firsts) > 0).all()
    np.testing.assert_array_equal(np.unique(found), np.arange(found.max() + 1))


def test_a_region_with_its_halo_gives_the_labels_of_the_plane(simulated):
    flows, cellprob = as_of_a_network(simulated, 0.35)
    whole = labels_from_flows(flows, cellprob)
    sides = boxes_of(whole, int(whole.max()))
    halo = halo_px(np.hypot(sides[:, 1] - sides[:, 0], sides[:, 3] - sides[:, 2]).max() / 2)
    compared = 0
    for y, x in ((61, 97), (130, 160), (163, 61), (0, 201), (201, 0)):
        y0, x0 = max(y - halo, 0), max(x - halo, 0)
        region = slice(y0, y + 80 + halo), slice(x0, x + 80 + halo)
        found = labels_from_flows(flows[:, *region], cellprob[region])
        core = slice(y - y0, y - y0 + 80), slice(x - x0, x - x0 + 80)
        np.testing.assert_array_equal(found[core] > 0, whole[region][core] > 0)
        for label in np.unique(whole[region][core])[1:]:
            mask = whole[region] == label
            assert mask.sum() == sides[label, AREA]
            number = found[mask][0]
            np.testing.assert_array_equal(found == number, mask)
            compared += 1
    assert halo < 80
    assert compared > 15


@pytest.mark.parametrize("niter", [1, 2, 13, 64, 200])
def test_leaving_out_rounds_changes_no_end(simulated, niter):
    """Follow every pixel to the last step, in numpy, by the same rule."""
    small = np.s_[100:160, 100:160]
    flows, cellprob = perfect(simulated[small])
    field = np.zeros((61, 61, 2), np.float32)
    pixels = fill_field(flows, cellprob, 0.0, field)
    at = np.stack(np.divmod(pixels, 60)).astype(np.int32) * 1024
    for _ in range(niter):
        (y, x), (fy, fx) = at >> 10, (at & 1023).astype(np.float32) / np.float32(1024)
        ey, ex = np.float32(1) - fy, np.float32(1) - fx
        step = sum(
            weight[:, None] * field[y + down, x + right]
            for weight, down, right in ((ey * ex, 0, 0), (ey * fx, 0, 1), (fy * ex, 1, 0), (fy * fx, 1, 1))
        )
        at = np.clip(at + np.rint(step.T).astype(np.int32), 0, 59 * 1024)
    y, x = (at + 512) >> 10
    np.testing.assert_array_equal(follow(field, pixels, niter), y * 60 + x)


@settings(max_examples=40, deadline=None)
@given(arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9))))
def test_holes_are_filled_as_scipy_fills_them(mask):
    labels = mask.astype(np.uint32)
    fill_holes(labels, boxes_of(labels, 1))
    np.testing.assert_array_equal(labels, ndimage.binary_fill_holes(mask))


def test_a_hole_in_the_cell_probability_is_filled():
    labels = np.zeros((40, 40), np.uint8)
    labels[8:30, 8:30] = 1
    flows, cellprob = perfect(labels)
    cellprob[14, 16] = -5
    np.testing.assert_array_equal(labels_from_flows(flows, cellprob), labels)


def test_areas_are_kept_within_limits():
    labels = np.zeros((60, 60), np.uint8)
    for number, (corner, side) in enumerate([(2, 5), (12, 10), (30, 25)], start=1):
        labels[corner : corner + side, corner : corner + side] = number
    given_ = perfect(labels)
    areas = {
        limits: np.bincount(labels_from_flows(*given_, min_area_px=limits[0], max_area_px=limits[1]).ravel())
        for limits in ((15, None), (26, None), (25, 624), (101, 625))
    }
    assert [one[1:].tolist() for one in areas.values()] == [[25, 100, 625], [100, 625], [25, 100], [625]]


def test_masks_at_odds_with_their_flows_go(simulated):
    flows, cellprob = as_of_a_network(simulated, 0.35)
    every = labels_from_flows(flows, cellprob, flow_threshold=0, min_area_px=0)
    errors = flow_error_by_label(every, flows)
    good = labels_from_flows(flows, cellprob, flow_threshold=0.25, min_area_px=0)
    assert 0 < good.max() < every.max()
    assert good.max() == pytest.approx(np.sum(errors <= 0.25), abs=2)  # holes are filled after the test
    assert np.nanmax(flow_error_by_label(good, flows)) < 0.3


def test_no_cell_gives_no_label():
    flows = np.ones((2, 9, 7), np.float32)
    assert not labels_from_flows(flows, np.full((9, 7), -1.0)).any()
    assert not labels_from_flows(flows, np.zeros((9, 7))).any()


@pytest.mark.parametrize("step", [1.0, -1.0, 1e30])
def test_pixels_stop_at_the_border(step):
    found = labels_from_flows(
        np.full((2, 9, 7), step), np.ones((9, 7)), flow_threshold=0, cellprob_threshold=0.5
    )
    np.testing.assert_array_equal(found, np.ones((9, 7)))


def test_layout_and_dtype_mean_nothing_and_the_input_is_left_alone(simulated):
    flows, cellprob = perfect(simulated)
    turned = np.moveaxis(np.ascontiguousarray(np.moveaxis(flows, 0, -1)), -1, 0).astype(np.float64)
    kept = turned.copy()
    turned.flags.writeable = cellprob.flags.writeable = False
    found = labels_from_flows(turned, cellprob)
    np.testing.assert_array_equal(found, labels_from_flows(flows, cellprob.T.copy().T))
    np.testing.assert_array_equal(turned, kept)


@pytest.mark.parametrize(
    ("flows", "cellprob", "says"),
    [
        (np.zeros((5, 5, 2)), np.zeros((5, 5)), "flows: expected axes c y x of shape"),
        (np.zeros((2, 5, 5)), np.zeros((1, 5, 5)), "cellprob: expected a plane"),
        (np.full((2, 5, 5), np.nan), np.zeros((5, 5)), "flows: expected finite values"),
        (np.zeros((2, 5, 5)), np.full((5, 5), np.inf), "cellprob: expected finite values"),
    ],
)
def test_what_is_no_network_output_is_refused(flows, cellprob, says):
    with pytest.raises(ValueError, match=says):
        labels_from_flows(flows, cellprob)


def test_strange_options_are_refused():
    with pytest.raises(ValueError, match="niter: expected 1 step or more, found 0"):
        labels_from_flows(np.zeros((2, 5, 5)), np.zeros((5, 5)), niter=0)
    wide = np.broadcast_to(np.float32(0), (1, (1 << 20) + 1))
    with pytest.raises(ValueError, match="label it region by region"):
        labels_from_flows(np.broadcast_to(wide, (2, *wide.shape)), wide)
