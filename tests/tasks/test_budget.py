import json
import subprocess
import sys

import pytest

from storage.errors import MemoryBudgetError
from tasks import budget
from tasks.models.network import NetworkSegmenter
from tasks.models.networks import load_network
from tasks.models.segmenter import DEFAULT
from tasks.settings import Resources, SegmentSettings
from tests.support import ROOT

MEASURE = """
import gc, json, sys
import numpy as np, tifffile
from pathlib import Path
from storage import images, layout
from storage.objects import open_store
from storage.progress import Ledger
from tasks import segment
from tests.support import QUICK, ingested
from tasks.chunked import _serially
from tasks import chunked

edge, folder = int(sys.argv[1]), Path(sys.argv[2])

def status(name):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))

def measured(function, unit):
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")
    before = status("VmRSS")
    done = function(unit)
    peaks.setdefault(getattr(function.function, "func", function.function).__name__, []).append(
        status("VmHWM") - before
    )
    return done

peaks = {}
chunked._serially = lambda function, units: (measured(function, unit) for unit in units)
rng = np.random.default_rng(0)
y, x = np.mgrid[:edge, :edge]
blobs = 3000 * (np.cos(y / 9) * np.cos(x / 11) > 0.6) + 400
for name in ("warm", "measured"):  # what libraries take once is part of BASE_BYTES
    peaks.clear()
    pixels = rng.poisson(blobs[:256, :256] if name == "warm" else blobs).astype(np.uint16)
    tifffile.imwrite(folder / f"{name}.tif", pixels)
    objects = open_store(str(folder / "store"), create=True)
    raw = ingested(objects, folder / f"{name}.tif")
    from tasks.preprocess import preprocess
    still = QUICK.preprocess.model_copy(update={"rotation": {"kind": "fixed", "angle_deg": 0.5}})
    still = type(still).model_validate(still.model_dump(warnings=False))
    clean = preprocess.fn(raw, objects.url, still, QUICK.resources)
    segment.segment.fn(clean, objects.url, QUICK.segment, QUICK.resources)
shape = images.open_image(objects, layout.image_path("clean", clean.key)).shape[-2:]
print(json.dumps({"clean_px": shape[0] * shape[1], "peaks": {n: max(v) for n, v in peaks.items()}}))
"""

WHOLE = """
import sys
from pathlib import Path
import numpy as np, tifffile, torch
from storage.objects import open_store
from tasks.settings import SegmentSettings
from tests.support import QUICK, carry, found_in

torch.set_num_threads(1)  # as a worker has
folder = Path(sys.argv[1])
y, x = np.mgrid[:1400, :1400]
blobs = 3000 * (np.cos(y / 9) * np.cos(x / 11) > 0.6) + 400
(folder / "in").mkdir()
tifffile.imwrite(folder / "in" / "a.tif", np.random.default_rng(0).poisson(blobs).astype(np.uint16))
segment = SegmentSettings.model_validate({"method": {"kind": sys.argv[2]}})
objects = open_store(str(folder / "store"), create=True)
carry(objects, found_in(folder / "in")[0], QUICK.model_copy(update={"segment": segment}))
lines = Path("/proc/self/status").read_text().splitlines()
print(next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM")))
"""


def test_a_unit_over_its_share_is_refused_with_the_numbers():
    resources = Resources(compute="serial", workers=2, memory_bytes=2**30)
    needed = budget.unit_bytes(100, (2048, 2048))
    assert needed == budget.BASE_BYTES + 100 * 2048 * 2048
    with pytest.raises(MemoryBudgetError) as caught:
        budget.check("segment a.tif", 100, (2048, 2048), resources)
    assert str(caught.value) == (
        "segment a.tif: a unit of 2048 x 2048 px needs 1,400 MiB, each of 2 workers has 512 MiB; "
        f"raise resources.memory_bytes to {2 * needed} or lower resources.workers"
    )


def test_what_the_error_advises_helps():
    shape = (2048, 2048)
    enough = Resources(compute="serial", workers=2, memory_bytes=2 * budget.unit_bytes(100, shape))
    budget.check("x", 100, shape, enough)
    with pytest.raises(MemoryBudgetError):
        budget.check("x", 100, (2049, 2048), enough)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from /proc")
def test_units_take_no_more_than_is_promised(tmp_path):
    edge = 1536
    found = json.loads(_told_by(MEASURE, str(edge), str(tmp_path)))
    clean_px, peaks = found["clean_px"], found["peaks"]
    assert peaks["copy_unit"] <= budget.INGEST * edge**2
    assert peaks["whole_unit"] <= budget.PREPROCESS * clean_px
    assert peaks["tile_unit"] <= budget.SEGMENT * min(clean_px, 1200**2)
    assert peaks["measure_unit"] <= budget.SEGMENT * min(clean_px, 1200**2)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from /proc")
@pytest.mark.parametrize("method", ["threshold", "network"])
def test_a_process_takes_no_more_than_is_promised(method, tmp_path):
    """From the file to its patches, libraries included, since these are most of it."""
    network = load_network(DEFAULT)
    edge = SegmentSettings().tile_px + 2 * NetworkSegmenter(network).halo_px
    promised = budget.unit_bytes(budget.SEGMENT, (edge, edge))
    if method == "network":
        promised = max(
            budget.network_unit_bytes(budget.SEGMENT, (edge, edge)),
            budget.network_unit_bytes(network.bytes_a_px, (network.patch_px, network.patch_px)),
        )
    assert promised / 2 < int(_told_by(WHOLE, str(tmp_path), method)) <= promised


def _told_by(script: str, *arguments: str) -> str:
    """Return the last line that a script prints in a process of its own."""
    answer = subprocess.run(
        [sys.executable, "-c", script, *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert answer.returncode == 0, answer.stderr
    return answer.stdout.splitlines()[-1]
