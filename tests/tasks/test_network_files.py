"""A network that learned in a store segments wherever a worker runs, also where the store is no folder."""

from pathlib import Path

import numpy as np
import pytest

from flows.planning import plan_run
from storage.arrays import digest
from storage.errors import InputError
from storage.objects import Objects
from tasks import network_files
from tasks.models.cellpose_checkpoints import save_cellpose
from tasks.models.cellpose_net import CellposeConfig, seeded_cellpose
from tasks.network_files import local_model, model_of
from tasks.segment import segment
from tasks.settings import SegmentSettings
from tasks.stage import Outcome, Question, folder, produce
from tests.support import QUICK, SERIAL, labels_of, write_tiff
from tests.tasks.test_segment_network import cleaned


@pytest.fixture
def learned(store):
    """A segmenter artifact of drawn weights; its key."""
    content = save_cellpose(seeded_cellpose(CellposeConfig(2, (4, 8)), seed=4))

    def write(key):
        path = folder("segmenter", key, "network.pt")
        store.put(path, content)
        return Outcome(path, {path: digest(content)})

    return produce(store, Question("segmenter", "drawn", (), {}, 1), write).key


@pytest.fixture
def elsewhere(monkeypatch, tmp_path):
    """As if the store were on S3; the copies of this machine, and how often a network was fetched."""
    fetched, get = [], Objects.get

    def noting(objects, name):
        fetched.extend([name] * name.endswith("network.pt"))
        return get(objects, name)

    monkeypatch.setattr(Objects, "folder", None)
    monkeypatch.setattr(Objects, "get", noting)
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path / "temp"))
    (tmp_path / "temp").mkdir()
    network_files._copy.cache_clear()
    yield tmp_path / "temp", fetched
    network_files._copy.cache_clear()


def segmented(store, model, clean):
    method = {"kind": "network", "model": model, "diameter_px": 20.0, "flow_threshold": 0}
    settings = SegmentSettings(tile_px=64, min_area_um2=0.5, method=method)
    return segment.fn(clean, store.url, settings, SERIAL)


def test_a_network_of_the_store_is_its_file(store, learned):
    assert local_model(store, "cyto3") == "cyto3"
    path = store.folder / folder("segmenter", learned, "network.pt")
    assert local_model(store, model_of(learned)) == str(path)
    clean = cleaned(store, np.random.default_rng(0).random((1, 1, 90, 100)).astype(np.float32))
    by_key, by_file = segmented(store, model_of(learned), clean), segmented(store, str(path), clean)
    assert by_key.key == by_file.key, "the weights are what counts"
    assert by_file.reused


def test_a_plan_counts_the_patches_of_a_network_of_the_store(store, learned, tmp_path):
    path = write_tiff(tmp_path / "a.tif", np.zeros((70, 90), np.uint16))
    method = {"kind": "network", "model": model_of(learned)}
    settings = QUICK.model_copy(update={"segment": SegmentSettings(method=method)})
    assert plan_run([str(path)], settings, store.url)["counts"]["patches"] == 1


def test_a_network_of_a_store_that_is_no_folder_is_fetched_once(store, learned, request):
    yx = np.random.default_rng(0).random((1, 1, 90, 100)).astype(np.float32)
    here = segmented(store, model_of(learned), cleaned(store, yx))
    expected = labels_of(store, cleaned(store, yx), here)
    temp, fetched = request.getfixturevalue("elsewhere")
    clean = cleaned(store, yx, key="d" * 16)
    made = segmented(store, model_of(learned), clean)
    np.testing.assert_array_equal(labels_of(store, clean, made), expected)
    assert len(fetched) == 1
    (copy,) = temp.glob("chipcyte-networks-*/*.pt")
    assert copy.read_bytes() == store.get(folder("segmenter", learned, "network.pt"))
    assert copy.parent.stat().st_mode & 0o077 == 0


def test_a_damaged_copy_is_replaced(store, learned, elsewhere):
    path = Path(local_model(store, model_of(learned)))
    whole = path.read_bytes()
    network_files._copy.cache_clear()
    path.write_bytes(b"half")
    assert local_model(store, model_of(learned)) == str(path)
    assert path.read_bytes() == whole


def test_a_network_that_the_store_does_not_hold_is_said(store):
    clean = cleaned(store, np.ones((1, 1, 40, 50), np.float32))
    with pytest.raises(InputError, match=r"expected a network segmenter/beef in .* found none"):
        segmented(store, "segmenter/beef", clean)
