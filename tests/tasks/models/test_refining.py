import copy
from functools import cache

import numpy as np
import pytest
import torch

from tasks.kernels.augmentation import Jitter
from tasks.kernels.dynamics import labels_from_flows
from tasks.kernels.simulation.scene import simulate_field
from tasks.models.cellpose_net import CellposeConfig, seeded_cellpose
from tasks.models.refining import RefinePlan, refine
from tasks.models.refining_batches import FLOW_SCALE, LabelledPlane, draw_batch, median_diameter_px, scaled
from tasks.models.training import TrainingDivergedError

CPU = torch.device("cpu")
SMALL = CellposeConfig(1, (16, 32))
PLAN = RefinePlan(
    steps=6, batch_size=2, crop_px=64, learning_rate=3e-3, warmup_steps=2, report_every=2, seed=3
)


@cache
def simulated(seed=1, edge_px=128):
    field = simulate_field(
        seed=seed,
        proportions=(0.25, 0.25, 0.25, 0.25),
        height_px=edge_px,
        width_px=edge_px,
        nuclei_per_mm2=1400,
    )
    return LabelledPlane(field.tyx[0], field.labels_tyx[0], f"chip-{seed}", f"field {seed}")


def network(seed=0):
    net = seeded_cellpose(SMALL, seed=seed)
    net.diam_mean.fill_(17.0)
    return net


def weights_of(net):
    return torch.cat([value.flatten().float() for value in net.state_dict().values()])


def test_scaling_brings_nuclei_to_the_diameter():
    plane = simulated()
    for diameter_px in (10.0, 30.0):
        picture = scaled(plane, diameter_px)
        assert median_diameter_px(picture.labels_yx) == pytest.approx(diameter_px, rel=0.08)
        assert picture.nuclei == len(np.unique(plane.labels_yx)) - 1
    low, high = np.percentile(picture.image_yx, (1, 99))
    assert (low, high) == (pytest.approx(0, abs=0.05), pytest.approx(1, abs=0.05))


def test_scaling_takes_any_dtype_and_pictures_without_nuclei():
    plane = simulated()
    bright = LabelledPlane(plane.yx.astype(np.float64) * 1e6, plane.labels_yx.astype(np.int64) * 1000)
    expected, found = scaled(plane, 17.0), scaled(bright, 17.0)
    np.testing.assert_allclose(found.image_yx, expected.image_yx, atol=1e-3)
    assert np.array_equal(found.labels_yx, expected.labels_yx)
    flat = scaled(LabelledPlane(np.full((40, 40), 7), np.zeros((40, 40), int)), 17.0)
    assert not flat.image_yx.any()
    assert flat.nuclei == 0


def test_an_image_and_labels_of_two_shapes_are_refused():
    with pytest.raises(ValueError, match="of one shape"):
        LabelledPlane(np.zeros((4, 4)), np.zeros((4, 5), int))


def test_targets_give_the_labels_back():
    batch = draw_batch(
        [scaled(simulated(edge_px=256), 20.0)],
        batch_size=3,
        crop_px=160,
        channels=2,
        jitter=Jitter(),
        rng=np.random.default_rng(5),
    )
    assert batch.images.shape == (3, 2, 160, 160)
    assert not batch.images[:, 1].any()
    for flow_y, flow_x, cell, inside in batch.targets.numpy():
        flows = np.stack([flow_y, flow_x]) / FLOW_SCALE
        lengths = np.hypot(*flows)[cell > 0]
        assert np.median(lengths) == pytest.approx(1.0, abs=1e-5)
        labels = labels_from_flows(flows, cell - 0.5, min_area_px=30)
        assert (labels > 0)[cell > 0].mean() > 0.85
        assert not cell[inside == 0].any()


def test_a_network_learns():
    reports = []
    plan = RefinePlan(steps=80, batch_size=2, crop_px=64, learning_rate=5e-3, warmup_steps=5, seed=1)
    refine(network(), [simulated()], plan, device=CPU, on_report=reports.append)
    assert [report["step"] for report in reports] == [20, 40, 60, 80]
    assert reports[-1]["loss"] < 0.7 * reports[0]["loss"]  # 0.53 to 0.55 of it by four seeds


def test_the_network_given_is_left_as_it_is():
    net = network()
    before = copy.deepcopy(net.state_dict())
    better = refine(net, [simulated()], PLAN, device=CPU)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert not better.training
    assert float(better.diam_labels) == pytest.approx(median_diameter_px(simulated().labels_yx), rel=1e-6)


def test_a_resumed_training_ends_with_the_same_weights():
    states = []
    whole = refine(network(), [simulated()], PLAN, device=CPU, on_checkpoint=states.append)
    resumed = refine(network(9), [simulated()], PLAN, device=CPU, resume=states[0])
    assert [state["step"] for state in states] == [2, 4, 6]
    assert torch.equal(weights_of(whole), weights_of(resumed))


def test_another_plan_does_not_resume():
    states = []
    refine(network(), [simulated()], PLAN, device=CPU, on_checkpoint=states.append)
    other = RefinePlan(**{**vars(PLAN), "seed": 4})
    with pytest.raises(ValueError, match="seed"):
        refine(network(), [simulated()], other, device=CPU, resume=states[0])


def test_stop_ends_early():
    asked = []

    def stop(step, net):
        asked.append(step)
        return step >= 4

    refine(network(), [simulated()], PLAN, device=CPU, stop=stop)
    assert asked == [2, 4]


@pytest.mark.parametrize(
    ("planes", "plan", "said"),
    [
        ([], PLAN, "at least one nucleus"),
        ([LabelledPlane(np.zeros((9, 9)), np.zeros((9, 9), int))], PLAN, "at least one nucleus"),
        ([simulated()], RefinePlan(**{**vars(PLAN), "crop_px": 63}), "divisible by 2"),
    ],
)
def test_what_cannot_be_learned_from_is_refused(planes, plan, said):
    with pytest.raises(ValueError, match=said):
        refine(network(), planes, plan, device=CPU)


@pytest.mark.parametrize(
    "wrong", [{"steps": 0}, {"learning_rate": 0.0}, {"average_decay": 1.0}, {"weight_decay": -1.0}]
)
def test_a_plan_that_makes_no_sense_is_refused(wrong):
    with pytest.raises(ValueError, match="expected"):
        RefinePlan(**wrong)


def test_a_diverging_loss_is_said():
    net = network()
    with torch.no_grad():
        net.output[2].weight.fill_(float("nan"))
    with pytest.raises(TrainingDivergedError, match="step 1 of 6"):
        refine(net, [simulated()], PLAN, device=CPU)


def test_the_learning_rate_rises_and_falls():
    plan = RefinePlan(steps=100, warmup_steps=10, learning_rate=1.0)
    rates = [plan.learning_rate_at(step) for step in range(1, 101)]
    assert rates[:10] == pytest.approx([k / 10 for k in range(1, 11)])
    assert rates[9:] == sorted(rates[9:], reverse=True)
    assert rates[-1] < 0.01
