import numpy as np
import pytest

from tasks.kernels.patchwork import patchwork
from tasks.kernels.pyramid import downsample_mean

SHAPE = (203, 311)


def planned(scale=1.0, shape=SHAPE, **options):
    return patchwork(shape, scale, **{"longest_px": 96, "overlap_px": 16, "multiple_px": 8} | options)


def cut(patches, yx):
    """The patches of a picture, as if the network said what it sees."""
    for _ in range(patches.level):
        yx = downsample_mean(yx)
    boxes = {place: patches.source_box(place) for place in patches.places}
    return {
        place: patches.scaled(np.ascontiguousarray(yx[box]), box, place)[None] for place, box in boxes.items()
    }


def whole(shape=SHAPE):
    return slice(0, shape[0]), slice(0, shape[1])


def smooth(shape=SHAPE):
    y, x = np.mgrid[: shape[0], : shape[1]]
    return (np.sin(y / 40) + np.cos(x / 30)).astype(np.float32)


@pytest.mark.parametrize("margin_px", [0, 12])
@pytest.mark.parametrize("scale", [0.2, 0.5, 0.77, 1.0, 1.9])
def test_what_is_cut_and_joined_is_what_it_was(scale, margin_px):
    patches, picture = planned(scale, margin_px=margin_px), smooth()
    joined = patches.joined(cut(patches, picture), whole())
    assert joined.shape == (1, *SHAPE)
    inner = (slice(10, -10),) * 2
    tolerance = 1e-6 if scale == 1 else 0.02
    np.testing.assert_allclose(joined[0][inner], picture[inner], atol=tolerance)


@pytest.mark.parametrize("margin_px", [0, 12])
@pytest.mark.parametrize("scale", [0.31, 1.0, 1.37])
def test_a_part_has_the_bits_of_the_whole(scale, margin_px):
    patches = planned(scale, margin_px=margin_px)
    maps = cut(patches, np.random.default_rng(0).random(SHAPE, dtype=np.float32))
    everything = patches.joined(maps, whole())
    for window in [
        (slice(0, 50), slice(0, 70)),
        (slice(31, 32), slice(5, 300)),
        (slice(150, 203), slice(2, 311)),
    ]:
        needed = {place: maps[place] for place in patches.needed(window)}
        np.testing.assert_array_equal(patches.joined(needed, window), everything[:, window[0], window[1]])


@pytest.mark.parametrize("shape", [(1, 1), (1, 500), (96, 96), (97, 200), (1000, 30)])
@pytest.mark.parametrize("scale", [0.25, 1.0, 2.2])
@pytest.mark.parametrize("margin_px", [0, 12])
def test_patches_of_one_shape_cover_every_pixel_and_the_margin(shape, scale, margin_px):
    patches = planned(scale, shape, margin_px=margin_px)
    assert all(edge % 8 == 0 and edge <= 96 for edge in patches.patch_yx)
    covered = np.zeros([size + 2 * margin_px for size in patches.scaled_yx], int)
    for place in patches.places:
        box = patches.box(place)
        assert tuple(one.stop - one.start for one in box) == patches.patch_yx
        covered[tuple(slice(one.start + margin_px, one.stop + margin_px) for one in box)] += 1
    assert covered.min() >= 1
    joined = patches.joined(cut(patches, np.full(shape, 3, np.float32)), whole(shape))
    np.testing.assert_array_equal(joined, np.full((1, *shape), 3, np.float32))


def test_outside_the_plane_it_is_dark():
    picture = np.random.default_rng(0).random((40, 50), dtype=np.float32)
    patches = planned(1.0, picture.shape, margin_px=16)
    assert patches.patch_yx == (72, 88)
    (patch,) = cut(patches, picture).values()
    np.testing.assert_array_equal(patch[0], np.pad(picture, ((16, 16), (16, 22))))


def test_neighbours_share_evenly_what_both_see_and_borders_have_no_say():
    patches = planned(1.0, (96, 170))
    assert patches.counts_yx == (1, 2)
    maps = {
        place: np.full((1, *patches.patch_yx), value, np.float32)
        for value, place in enumerate(patches.places)
    }
    row = patches.joined(maps, whole((96, 170)))[0, 0]
    start = patches.box((0, 1))[1].start
    assert (row[: start + 4] == 0).all()
    assert (row[start + 12 :] == 1).all()
    np.testing.assert_allclose(row[start + 4 : start + 12], (np.arange(8) + 0.5) / 8)


def test_as_few_patches_as_hold_the_plane():
    assert planned(1.0, (96, 96)).counts_yx == (1, 1)
    assert planned(1.0, (97, 176)).counts_yx == (2, 2)
    assert planned(1.0, (97, 176)).patch_yx == (64, 96)


@pytest.mark.parametrize("options", [{"longest_px": 90}, {"overlap_px": 96}, {"overlap_px": 10}])
def test_lengths_that_do_not_fit_are_refused(options):
    with pytest.raises(ValueError, match="expected longest_px"):
        planned(**options)


@pytest.mark.parametrize("scale", [0.0, -1.0, np.inf, np.nan])
def test_a_scale_that_is_none_is_refused(scale):
    with pytest.raises(ValueError, match="scale"):
        planned(scale)
