"""Cellpose 4's networks: the package's own classes, whose weights are drawn because theirs are 1.2 GB."""

import numpy as np
import pytest
import torch
from segment_anything import sam_model_registry
from segment_anything.build_sam import _build_sam

from storage.errors import InputError
from tasks.models.cellpose4 import Cellpose4Network
from tasks.models.network import NetworkSegmenter
from tasks.models.networks import load_network
from tasks.segment import segment
from tasks.settings import SegmentSettings
from tests.support import SERIAL, cells_of, labels_of
from tests.tasks.test_segment_network import cleaned

SMALL = {
    "encoder_embed_dim": 32,
    "encoder_depth": 2,
    "encoder_num_heads": 2,
    "encoder_global_attn_indexes": [1],
}
CPU = torch.device("cpu")


def drawn(path, *, seed=0):
    """Write a network of the package's class with drawn weights, as the package itself saves it.

    Flows lead to the middle of each token of 8 x 8 px, but for what is drawn: so there is something to label.
    """
    from cellpose.vit import CPSAM

    torch.manual_seed(seed)
    net = CPSAM()
    toward = 2.0 * (3.5 - torch.arange(8.0))
    flows = torch.stack([toward[:, None].expand(8, 8), toward.expand(8, 8), torch.zeros(8, 8)])
    net.out.bias.data[:] = flows.ravel()
    net.save_model(path)
    return path


@pytest.fixture
def small(monkeypatch):
    """Make the package build its transformer with two narrow layers in place of twenty-four wide ones."""
    monkeypatch.setitem(sam_model_registry, "vit_l", lambda _: _build_sam(**SMALL))


@pytest.fixture
def weights(small, tmp_path):
    return drawn(tmp_path / "cpsam_v2")


def image(shape, seed=0):
    return np.random.default_rng(seed).random(shape, dtype=np.float32)


def test_maps_are_those_of_the_packages_own_evaluation(weights):
    from cellpose.core import run_net
    from cellpose.models import CellposeModel

    nyx = image((2, 240, 240))
    yxc = np.zeros((2, 240, 240, 3), np.float32)
    yxc[..., 0] = nyx
    peer = CellposeModel(pretrained_model=str(weights), device=CPU, use_bfloat16=False)
    expected = np.moveaxis(run_net(peer.net, yxc, bsize=256)[0], -1, 1)
    framed = np.pad(nyx, ((0, 0), (8, 8), (8, 8)))  # as the package makes 256 px of 240
    maps = load_network(str(weights)).maps(framed)[..., 8:-8, 8:-8]
    assert expected.shape == (2, 3, 240, 240)
    assert maps.std(axis=(0, 2, 3)).min() > 0.1
    np.testing.assert_allclose(maps, expected, atol=1e-5 * np.abs(expected).max())


def test_a_picture_is_segmented_as_it_is_and_other_weights_say_other_things(weights, tmp_path):
    yx = image((300, 280))
    segmenter = NetworkSegmenter(load_network(str(weights)), flow_threshold=0, min_area_px=16)
    labels = segmenter.segment(yx)
    assert (labels.dtype, labels.shape) == (np.uint32, yx.shape)
    assert labels.max() > 100
    assert segmenter.diameter_of([]) == 30.0
    np.testing.assert_array_equal(segmenter.segment(yx), labels)
    other = load_network(str(drawn(tmp_path / "mine", seed=1)))
    assert other.digest != segmenter.network.digest
    assert not np.array_equal(other.maps(yx[None, :256, :256]), segmenter.network.maps(yx[None, :256, :256]))


def test_found_by_name_and_labelled_by_the_stage_whatever_the_tiles(weights, store, monkeypatch):
    monkeypatch.setenv("CELLPOSE_LOCAL_MODELS_PATH", str(weights.parent))
    clean = cleaned(store, image((330, 300))[None, None])
    method = {"kind": "network", "model": weights.name, "flow_threshold": 0}
    options = {"method": method, "min_area_um2": 4}
    made = [
        segment.fn(clean, store.url, SegmentSettings(tile_px=tile_px, **options), SERIAL)
        for tile_px in (128, 512)
    ]
    assert made[0].counts["cells"] > 100
    np.testing.assert_array_equal(*(labels_of(store, clean, one) for one in made))
    assert cells_of(store, made[0]).equals(cells_of(store, made[1]))


def test_missing_weights_are_one_sentence_that_says_where_to_put_them(store, tmp_path, monkeypatch):
    monkeypatch.setenv("CELLPOSE_LOCAL_MODELS_PATH", str(tmp_path))
    clean = cleaned(store, image((40, 50))[None, None])
    settings = SegmentSettings(method={"kind": "network", "model": "cpsam_v2"})
    with pytest.raises(InputError) as caught:
        segment.fn(clean, store.url, settings, SERIAL)
    assert f"found 'cpsam_v2', which is no file, neither by itself nor in {tmp_path}" in str(caught.value)
    assert "put the weights there, or set CELLPOSE_LOCAL_MODELS_PATH" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.glob("cpsam*")), "nothing is downloaded"


def test_a_file_without_all_weights_is_refused(weights, tmp_path):
    state = torch.load(weights, weights_only=True)
    torch.save({name: one for name, one in state.items() if "blocks.1" not in name}, tmp_path / "half")
    with pytest.raises(ValueError, match=r"half: expected a network of Cellpose 4, found no encoder\.blocks"):
        load_network(str(tmp_path / "half"))


def test_other_files_are_refused(small, tmp_path):
    (tmp_path / "cpsam").write_bytes(b"<!DOCTYPE html>")
    torch.save({"W2": torch.ones(1), "encoder.x": torch.ones(1)}, tmp_path / "mine")
    for name in ("cpsam", "mine"):
        with pytest.raises(ValueError, match=f"{name}: expected a network of Cellpose 4, found"):
            load_network(str(tmp_path / name))


def test_a_dino_network_without_its_package_says_what_to_install(tmp_path, monkeypatch):
    from cellpose import vit

    monkeypatch.delattr(vit, "dinov3_vitl16", raising=False)
    proj = torch.ones(1024, 1, 1, 1)
    state = {"encoder.cls_token": torch.ones(1), "encoder.patch_embed.proj.weight": proj}
    torch.save(state, tmp_path / "cpdino")
    with pytest.raises(ValueError, match="found it is not installed: install it from"):
        load_network(str(tmp_path / "cpdino"))


@pytest.mark.long
def test_the_whole_transformer(tmp_path):
    """Of 300 million weights, 1.2 GB on disk."""
    network = Cellpose4Network.load("cpsam", drawn(tmp_path / "cpsam"), "0" * 16, CPU)
    maps = network.maps(image((1, 256, 256)))
    assert maps.shape == (1, 3, 256, 256)
    assert np.isfinite(maps).all()
    assert sum(one.numel() for one in network.net.parameters()) > 3e8
