import fastremap
import numpy as np
import pytest
import torch
from cellpose.dynamics import flow_error, masks_to_flows_gpu
from scipy import ndimage

from tasks.kernels.flow_targets import flow_error_by_label, flows_from_labels
from tasks.kernels.simulation.scene import simulate_field
from tests.support import DATA

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def simulated():
    return simulate_field(
        seed=1, proportions=(0.25,) * 4, height_px=256, width_px=256, touching_share=0.6
    ).labels_tyx[0]


def of_cellpose(labels):
    return masks_to_flows_gpu(labels.astype(int), device=CPU)[0]


def beside_another(labels):
    """Pixels with another cell at one of their eight neighbours."""
    square = np.ones((3, 3))
    least = ndimage.grey_erosion(np.where(labels == 0, 2**30, labels.astype(np.int64)), footprint=square)
    return ndimage.grey_dilation(labels, footprint=square) != least


def cosines(labels):
    """Pooled over the pixels of cells, then over those with no other cell beside them."""
    cosine = (flows_from_labels(labels) * of_cellpose(labels)).sum(axis=0)
    return cosine[labels > 0], cosine[(labels > 0) & ~beside_another(labels)]


def test_equals_cellpose_on_simulated_cells(simulated):
    every, alone = cosines(fastremap.renumber(simulated)[0])
    assert every.size > 3000
    assert np.mean(every >= 0.99) >= 0.99
    assert np.mean(alone >= 0.99) >= 0.998


def test_equals_cellpose_on_real_masks():
    path = DATA / "dsb2018" / "train.npz"
    if not path.is_file():
        pytest.skip(f"no real data at {path}")
    with np.load(path, allow_pickle=False) as pictures:
        names = [name for name in pictures.files if name.startswith("lab")][::20]
        labels = [pictures[name] for name in names if pictures[name].shape == (256, 256)]
    pairs = [cosines(fastremap.renumber(one)[0]) for one in labels]
    every, alone = (np.concatenate(one) for one in zip(*pairs, strict=True))
    assert len(labels) > 8
    assert np.mean(every >= 0.99) >= 0.985  # the share beside another cell is large in small nuclei
    assert np.mean(alone >= 0.99) >= 0.997


def test_every_pixel_of_a_disc_looks_to_its_centre():
    y, x = np.mgrid[:41, :41] - 20
    away = np.hypot(y, x)
    flows = flows_from_labels((away < 15).astype(np.uint8))
    looks = -(flows[0] * y + flows[1] * x) / np.maximum(away, 1)
    assert looks[(away < 15) & (away > 2)].min() > 0.97
    assert flows[:, away >= 15].max() == flows[:, away >= 15].min() == 0
    assert not flows[:, 20, 20].any()


def test_a_cell_asks_nothing_of_others(simulated):
    whole = flows_from_labels(simulated)
    touching = np.unique(simulated[beside_another(simulated) & (simulated > 0)])
    assert touching.size > 1
    for label in touching[:5]:
        alone = flows_from_labels((simulated == label).astype(np.uint8))
        np.testing.assert_array_equal(np.where(simulated == label, whole, 0), alone)


@pytest.mark.parametrize("dtype", [np.int32, np.uint64, np.int64])
def test_numbers_mean_nothing(simulated, dtype):
    names = np.arange(simulated.max() + 1)[::-1].astype(dtype) * 10_000_000 + 7
    names[0] = 0
    np.testing.assert_array_equal(flows_from_labels(names[simulated]), flows_from_labels(simulated))


def test_a_part_apart_from_the_centre_has_no_flow():
    labels = np.zeros((20, 20), np.uint8)
    labels[2:11, 2:11] = 1
    labels[15, 15] = 1
    flows = flows_from_labels(labels)
    assert not flows[:, 15, 15].any()
    assert np.hypot(*flows).sum() == pytest.approx(80)  # all of the square but its level centre
    assert not flows_from_labels(np.zeros((5, 5), np.uint8)).any()


def test_the_error_is_cellposes(simulated):
    labels = fastremap.renumber(simulated.astype(np.int32))[0]
    noise = np.random.default_rng(0).normal(scale=0.3, size=(2, *labels.shape))
    given = (flows_from_labels(labels) + noise).astype(np.float32)
    errors = flow_error_by_label(labels, given)
    expected, _ = flow_error(labels.astype(int), 5 * given, CPU)
    assert errors.shape == (labels.max() + 1,)
    assert np.isnan(errors[0])
    np.testing.assert_allclose(errors[1:], expected, atol=0.1)
    assert np.median(np.abs(errors[1:] - expected)) < 0.005


def test_the_error_runs_from_0_to_4(simulated):
    flows = flows_from_labels(simulated)
    labels = np.where(simulated == 2, 0, simulated)
    errors = flow_error_by_label(labels, flows)
    present = np.unique(labels)[1:]
    assert np.isnan(errors[[0, 2]]).all()
    assert errors[present].max() < 1e-9
    assert flow_error_by_label(labels, -flows)[present] == pytest.approx(4, abs=0.1)


@pytest.mark.parametrize(
    ("labels", "error", "says"),
    [
        (np.zeros((2, 3, 3), int), ValueError, "labels: expected a plane"),
        (np.zeros((3, 3)), TypeError, "labels: expected integers, found float64"),
        (np.full((3, 3), -1), ValueError, "labels: expected 0 or more, found -1"),
    ],
)
def test_what_is_no_label_image_is_refused(labels, error, says):
    with pytest.raises(error, match=says):
        flows_from_labels(labels)


def test_the_error_refuses_what_does_not_fit():
    with pytest.raises(ValueError, match="labels: expected numbers up to 9, one a pixel at most, found 10"):
        flow_error_by_label(np.full((3, 3), 10), np.zeros((2, 3, 3)))
    with pytest.raises(ValueError, match="flows: expected axes c y x of shape"):
        flow_error_by_label(np.ones((3, 3), int), np.zeros((3, 3, 2)))
