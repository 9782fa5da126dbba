import numpy as np
import pytest
import torch

from tasks.models.cellpose_checkpoints import save_cellpose
from tasks.models.cellpose_net import CellposeConfig, seeded_cellpose
from tasks.models.network import ArrayPicture, NetworkSegmenter, as_picture, grey_range
from tasks.models.networks import load_network
from tests.tasks.models.flow_networks import KnowsTheAnswer, coordinates, nuclei

TINY = CellposeConfig(in_channels=2, widths=(4, 8))
SHAPE = (300, 420)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "tiny.pt"
    net = seeded_cellpose(TINY, seed=4)
    net.diam_mean.fill_(20.0)
    path.write_bytes(save_cellpose(net))
    return path


@pytest.fixture
def network(checkpoint):
    return load_network(str(checkpoint))


def knowing(labels, **options):
    picture = as_picture(coordinates(labels.shape))
    return KnowsTheAnswer(labels, picture.grey, **options)


def same_objects(found, known, *, least_iou=1.0):
    """Whether two label images hold the same objects, whatever their numbers."""
    (a, b), both = np.unique(np.stack([found.ravel(), known.ravel()]), axis=1, return_counts=True)
    iou = both / (np.bincount(found.ravel())[a] + np.bincount(known.ravel())[b] - both)
    good = (iou >= least_iou) & (a > 0) & (b > 0)
    return good.sum() == len(np.unique(found)) - 1 == len(np.unique(known)) - 1


@pytest.mark.parametrize("patch_px", [96, 128, 256, 512])
def test_what_a_network_knows_is_found_whatever_its_patches(patch_px):
    labels = nuclei(SHAPE, 80, seed=1)
    network = knowing(labels, patch_px=patch_px)
    found = NetworkSegmenter(network, diameter_px=17.0).segment(coordinates(SHAPE))
    assert found.dtype == np.uint32
    assert same_objects(found, labels, least_iou=0.98)
    assert (
        len(network.asked)
        == len(set(network.asked))
        == -(-300 // (patch_px - 32)) * -(-420 // (patch_px - 32))
    )


@pytest.mark.parametrize("diameter_px", [12.0, 31.0])
def test_a_window_gives_the_labels_of_the_whole(diameter_px, network):
    """Of noise, which is the hardest for what must be equal."""
    rng = np.random.default_rng(0)
    segmenter = NetworkSegmenter(network, diameter_px=diameter_px, flow_threshold=0, min_area_px=1)
    patches = segmenter.patches(SHAPE, diameter_px)
    maps = {place: rng.normal(0, 4, (3, *patches.patch_yx)).astype(np.float16) for place in patches.places}
    whole = segmenter.labels(patches.joined(maps, (slice(0, 300), slice(0, 420))), diameter_px)
    assert whole.max() > 100
    margin = segmenter.halo_px
    core = (slice(140, 170), slice(180, 240))
    window = tuple(slice(one.start - margin, one.stop + margin) for one in core)
    needed = {place: maps[place] for place in patches.needed(window)}
    part = segmenter.labels(patches.joined(needed, window), diameter_px)
    assert same_objects(part[margin:-margin, margin:-margin], whole[core])


def test_a_network_is_read_once_and_again_when_its_file_changes(checkpoint):
    first = load_network(str(checkpoint))
    assert load_network(str(checkpoint)) is first
    assert first.diameter_px == 20.0
    content = checkpoint.read_bytes()
    other = checkpoint.with_name("other.pt")
    other.write_bytes(content)
    assert load_network(str(other)).digest == first.digest
    other.write_bytes(save_cellpose(seeded_cellpose(TINY, seed=5)))
    assert load_network(str(other)).digest != first.digest


def test_maps_do_not_depend_on_what_else_is_asked_for(network):
    nyx = np.random.default_rng(1).random((3, 64, 48), dtype=np.float32)
    together = network.maps(nyx)
    alone = np.concatenate([network.maps(nyx[k : k + 1]) for k in range(3)])
    assert together.shape == (3, 3, 64, 48)
    np.testing.assert_array_equal(together, alone)


@pytest.mark.parametrize(
    "dtype", [bool, np.uint8, np.int8, np.uint16, np.int16, np.int32, np.uint64, np.float16, np.float64]
)
def test_every_number_type_is_taken(dtype, network):
    y, x = np.mgrid[:70, :90]
    yx = ((y - 30) ** 2 + (x - 40) ** 2 < 100) * 1.0
    yx = (yx if dtype == "?" else yx * 90).astype(dtype)
    labels = NetworkSegmenter(network).segment(yx)
    assert (labels.dtype, labels.shape) == (np.uint32, yx.shape)


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (3, 2), (17, 33), (129, 8)])
@pytest.mark.parametrize("diameter_px", [None, 5.0, 200.0])
def test_odd_and_tiny_pictures_are_taken(shape, diameter_px, network):
    yx = np.random.default_rng(0).integers(0, 255, shape).astype(np.uint8)
    labels = NetworkSegmenter(network, diameter_px=diameter_px).segment(yx)
    assert labels.shape == shape


@pytest.mark.parametrize("value", [0, 7, -3.5, 1e30])
def test_an_even_picture_has_no_nuclei_and_needs_no_network(value):
    assert NetworkSegmenter(None).segment(np.full((30, 40), value)).max() == 0  # type: ignore[arg-type]


@pytest.mark.parametrize(("factor", "offset"), [(1e-30, 0), (1e30, 0), (1e-3, 1e6), (-1, 0), (1e300, -1e300)])
def test_range_and_offset_do_not_matter(factor, offset):
    yx = np.random.default_rng(0).random((40, 50)) * abs(factor) + offset
    picture = as_picture(yx)
    scaled = picture.part((slice(0, 40), slice(0, 50)), 0)
    assert np.isfinite(scaled).all()
    assert np.percentile(scaled, 1) == pytest.approx(0, abs=1e-3)
    assert np.percentile(scaled, 99) == pytest.approx(1, abs=1e-3)


def test_a_few_bright_pixels_are_not_lost():
    yx = np.zeros((100, 100), np.uint8)
    yx[50:54, 50:54] = 9
    assert as_picture(yx).grey == (0, 9)
    assert grey_range(lambda: [np.zeros((2, 2), np.float32)]) is None


@pytest.mark.parametrize("level", [1, 2, 3])
def test_parts_of_a_halved_picture_are_those_of_the_whole(level):
    yx = np.random.default_rng(0).random((77, 93)).astype(np.float32)
    picture = ArrayPicture(yx, (0.0, 1.0))
    size = [-(-edge // 2**level) for edge in yx.shape]
    whole = picture.part((slice(0, size[0]), slice(0, size[1])), level)
    assert whole.shape == tuple(size)
    np.testing.assert_array_equal(picture.part((slice(2, size[0]), slice(1, 7)), level), whole[2:, 1:7])


@pytest.mark.parametrize(
    "yx", [np.zeros(3), np.zeros((0, 3)), np.array([[np.nan, 1]]), np.zeros((2, 2), complex)]
)
def test_what_is_no_plane_of_numbers_is_refused(yx, network):
    with pytest.raises((ValueError, TypeError), match="expected"):
        NetworkSegmenter(network).segment(yx)


@pytest.mark.parametrize("diameter_px", [0, -3, np.nan, np.inf])
def test_a_diameter_that_is_none_is_refused(diameter_px, network):
    with pytest.raises(ValueError, match="diameter_px: expected"):
        NetworkSegmenter(network, diameter_px=diameter_px)


@pytest.mark.gpu
def test_a_gpu_gives_the_maps_of_the_cpu(checkpoint):
    from tasks.models.cellpose_checkpoints import load_cellpose
    from tasks.models.cellpose_fused import fused
    from tasks.models.convolutional import ConvolutionalNetwork

    net = fused(load_cellpose(checkpoint))
    nyx = np.random.default_rng(1).random((5, 64, 64), dtype=np.float32)
    one, other = (
        ConvolutionalNetwork("x", "0", 17.0, net.to(device), torch.device(device)).maps(nyx)
        for device in ("cpu", "cuda")
    )
    np.testing.assert_allclose(one, other, atol=0.05 * np.abs(one).max())
