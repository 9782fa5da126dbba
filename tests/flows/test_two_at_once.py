"""Two processes that ingest one acquisition at the same moment make one result."""

import multiprocessing
import sys
import time
from datetime import timedelta

import numpy as np
import pytest

from storage import checking, images, layout, records
from storage.errors import BusyError
from storage.objects import open_store
from tests.support import ingested, write_tiff

PROCESSES = multiprocessing.get_context("forkserver")
PLANES = np.random.default_rng(0).integers(0, 4000, (6, 64, 48)).astype(np.uint16)
BUSY = 3


def ingest_slowly(path, store, unit_s, ready, go):
    """What `chipcyte ingest` does, in a process of its own; each plane takes its time."""
    stage = sys.modules["tasks.ingest"]
    whole = stage.copy_unit

    def slowly(unit, **given):
        time.sleep(unit_s)
        return whole(unit, **given)

    stage.copy_unit = slowly
    ready.set()
    go.wait(60)
    try:
        ingested(open_store(store, create=True), path)
    except BusyError as error:
        sys.exit(BUSY if "is already being done by process" in str(error) else 1)


@pytest.mark.slow
@pytest.mark.parametrize("unit_s", [0.0, 0.1])
def test_one_result_and_no_corruption(tmp_path, unit_s):
    PROCESSES.set_forkserver_preload([__name__])
    path, store = write_tiff(tmp_path / "a.tif", PLANES, photometric="minisblack"), str(tmp_path / "store")
    go, ready = PROCESSES.Event(), [PROCESSES.Event() for _ in range(3)]
    both = [PROCESSES.Process(target=ingest_slowly, args=(path, store, unit_s, one, go)) for one in ready]
    for process in both:
        process.start()
    assert all(one.wait(60) for one in ready)
    go.set()
    for process in both:
        process.join(60)
    codes = sorted(process.exitcode for process in both)
    assert codes[0] == 0
    assert set(codes) <= {0, BUSY}
    if unit_s:
        assert codes == [0, BUSY, BUSY]
    objects = open_store(store)
    (raw,) = records.listing(objects, "raw")
    image = images.open_image(objects, layout.image_path("raw", raw.key))
    np.testing.assert_array_equal(image.read(images.Region((0,) * 5, image.shape))[:, 0, 0], PLANES)
    assert checking.check_store(objects, older_than=timedelta(0)).problems == []
    assert list(objects.names("progress")) == []
