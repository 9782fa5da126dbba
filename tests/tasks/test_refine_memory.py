"""What refine train takes of the memory is known before, and refused where it is too much."""

import subprocess
import sys

import numpy as np
import pytest

from storage.errors import MemoryBudgetError
from tasks.annotations import Annotation, keep_annotation
from tasks.models.cellpose_net import CellposeConfig, seeded_cellpose
from tasks.models.refining_batches import LabelledPlane, scaled, scaled_shape
from tasks.refine_memory import check_learning, check_stored
from tasks.refine_settings import RefineSettings
from tasks.settings import Resources
from tests.support import ROOT

ROOMY = Resources(compute="serial", workers=1, memory_bytes=2**40)
NET = seeded_cellpose(CellposeConfig(2, (4, 8)), seed=0)
MEASURE = """
import gc
from pathlib import Path
import torch
from tasks.models.cellpose_net import CellposeConfig, seeded_cellpose
from tasks.models.refining import RefinePlan, refine
from tests.tasks.test_refine_memory import disc

def status(name):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))

def steps(widths, batch_size, crop_px):
    plan = RefinePlan(
        steps=2, batch_size=batch_size, crop_px=crop_px, warmup_steps=0, report_every=1
    )
    refine(seeded_cellpose(CellposeConfig(2, widths), seed=0), [disc(64)], plan, device=torch.device("cpu"))

steps((4, 8), 1, 64)
gc.collect()
Path("/proc/self/clear_refs").write_text("5")
before = status("VmRSS")
steps((16, 32), 4, 128)
print((status("VmHWM") - before) // (16 * 4 * 128**2))
"""


def disc(edge, radius=10, name="disc"):
    y, x = np.mgrid[:edge, :edge]
    inside = (y - edge // 2) ** 2 + (x - edge // 2) ** 2 < radius**2
    return LabelledPlane((50 + 100 * inside).astype(np.uint8), inside.astype(np.uint32), name, name)


def needed(error):
    return int(str(error.value).split("raise it to ")[1].split()[0])


def test_pictures_of_the_store_are_refused_before_they_are_read(store, monkeypatch):
    for number in range(3):
        plane = disc(300, name=f"p{number}")
        said = Annotation(plane.name, plane.group, plane.yx + np.uint8(number), plane.labels_yx)
        keep_annotation(store, said, made_from=(), standing=None, counts={}, metrics={}, details={})
    from tasks.annotations import standing_annotations

    standing = list(standing_annotations(store).values())
    check_stored(store, standing, ROOMY)
    monkeypatch.setattr("storage.images.OmeImage.read", lambda *_: pytest.fail("a pixel was read"))
    monkeypatch.setattr("tasks.budget.BASE_BYTES", 2**28)
    with pytest.raises(MemoryBudgetError, match="refine train: 3 annotated pictures need 257 MiB") as caught:
        check_stored(store, standing, Resources(memory_bytes=2**28))
    assert needed(caught) == 2**28 + 3 * 300 * 300 * (1 + 4)


def test_pictures_at_the_networks_scale_and_a_step_are_counted(monkeypatch):
    monkeypatch.setattr("tasks.budget.BASE_BYTES", 2**28)
    settings = RefineSettings(batch_size=1, crop_px=8)
    small = Resources(memory_bytes=2**28)
    learning, others = [disc(200, radius=5)], [disc(100)]
    check_learning(learning, others, NET, settings, ROOMY)
    bare, more_views = (
        _refused(learning, others, settings.model_copy(update={"batch_size": size}), small)
        for size in (1, 11)
    )
    rescaled = scaled(learning[0], float(NET.diam_mean))
    own = 200 * 200 * (1 + 4) + 100 * 100 * (1 + 4)
    assert bare > 2**28 + own + rescaled.image_yx.nbytes + rescaled.labels_yx.nbytes
    assert more_views - bare == 10 * (bare - 2**28 - own - rescaled.image_yx.nbytes * 2)
    check_learning(learning, others, NET, settings, Resources(memory_bytes=bare))


def _refused(learning, others, settings, resources):
    with pytest.raises(MemoryBudgetError, match="1 pictures to learn from, 1 others and a step") as caught:
        check_learning(learning, others, NET, settings, resources)
    return needed(caught)


@pytest.mark.parametrize("radius", [4, 10, 31])
def test_the_shape_is_known_before_a_picture_is_rescaled(radius):
    plane = disc(90, radius)
    assert scaled(plane, 17.0).image_yx.shape == scaled_shape(plane, 17.0)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from /proc")
def test_a_step_takes_no_more_than_is_promised():
    from tasks.refine_memory import STEP_BYTES

    answer = subprocess.run(
        [sys.executable, "-c", MEASURE], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert answer.returncode == 0, answer.stderr
    assert 20 < int(answer.stdout.split()[-1]) <= STEP_BYTES
