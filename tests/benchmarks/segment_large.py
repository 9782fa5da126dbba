"""Segmentation by network of a frame of 20,000 x 20,000 px with two workers, beside a quarter of its edge.

The frame is a simulated field repeated, each shard of it moved by some pixels. Memory of a worker must not
grow with the frame; the driver's grows with the cells, whose table it holds. Needs 10 GB of disk in full.
"""

import math

from tasks import chunked
from tasks.models.segmenter import DEFAULT
from tasks.settings import SegmentSettings
from tests.benchmarks.measuring import scratch_folder
from tests.benchmarks.mosaic import FIELD_PX, repeated
from tests.benchmarks.recordings import simulated_frame
from tests.benchmarks.segment_stage import Peak, peak_of, store_clean, verdict

EDGE_PX = 20_000
SMALLER = 4
GROWTH = 1.1


def run(size: float) -> None:
    edge_px = round(EDGE_PX * math.sqrt(size))
    field = simulated_frame(FIELD_PX, 0.0)
    clean = (field / field.max()).clip(0.001, 1).astype("float32")
    settings = SegmentSettings.model_validate({"method": {"kind": "network", "model": DEFAULT}})
    peaks: list[Peak] = []
    print(f"{'edge px':>9}{'cells':>10}{'seconds':>9}{'driver MiB':>12}{'worker MiB':>12}")
    for edge in (edge_px // SMALLER, edge_px):
        with scratch_folder() as folder:
            image = store_clean(folder, (edge, edge), lambda region: repeated(clean, region))
            peaks.append(peak_of(folder, image, settings))
        peak = peaks[-1]
        memory = f"{peak.driver_bytes / 2**20:>12.0f}{peak.worker_bytes / 2**20:>12.0f}"
        print(f"{edge:>9}{peak.cells:>10}{peak.seconds:>9.0f}{memory}", flush=True)
    chunked.close()
    small, large = peaks
    verdict("worker, large / small", large.worker_bytes / small.worker_bytes, GROWTH, most=True)
    grown = (large.driver_bytes - small.driver_bytes) / max(large.cells - small.cells, 1)
    print(f"driver: {grown:.0f} bytes more for each cell more")
