import numpy as np
import pytest

from tasks.kernels.augmentation import Jitter, random_view, vary_light
from tasks.kernels.simulation.scene import simulate_field

NONE = Jitter(scale=0, stretch=0, turn_deg=0, flip=False, light=0)


@pytest.fixture(scope="module")
def picture():
    field = simulate_field(seed=4, proportions=(0.25, 0.25, 0.25, 0.25), height_px=160, width_px=200)
    return field.tyx[0].astype(np.float32) / 1000, field.labels_tyx[0].astype(np.int32)


def test_without_jitter_a_view_is_a_crop():
    places = np.arange(1, 160 * 200 + 1, dtype=np.int32).reshape(160, 200)
    view = random_view(places.astype(np.float32), places, 96, NONE, np.random.default_rng(0))
    rows, columns = view.inside_yx.any(axis=1), view.inside_yx.any(axis=0)
    crop = view.labels_yx[np.ix_(rows, columns)]
    assert crop.size == view.inside_yx.sum() > 4000
    assert (np.diff(crop, axis=1) == 1).all()
    assert (np.diff(crop, axis=0) == 200).all()


def test_labels_move_with_the_image(picture):
    _, labels = picture
    inside = (labels > 0).astype(np.float32)
    for seed in range(5):
        view = random_view(inside, labels, 128, Jitter(light=0), np.random.default_rng(seed))
        agree = (view.image_yx > 0.5) == (view.labels_yx > 0)
        assert agree[view.inside_yx].mean() > 0.98
        assert not view.labels_yx[~view.inside_yx].any()


def test_the_same_numbers_give_the_same_view(picture):
    views = [random_view(*picture, 64, Jitter(), np.random.default_rng(7)) for _ in range(2)]
    assert np.array_equal(views[0].image_yx, views[1].image_yx)
    assert np.array_equal(views[0].labels_yx, views[1].labels_yx)


def test_large_labels_survive():
    labels = np.full((64, 64), 70_000, np.int32)
    view = random_view(np.ones((64, 64), np.float32), labels, 32, NONE, np.random.default_rng(0))
    assert set(np.unique(view.labels_yx)) <= {0, 70_000}


def test_light_varies_by_its_strength(picture):
    image, _ = picture
    assert vary_light(image, 0.0, np.random.default_rng(0)) is image
    change = [
        np.mean([np.abs(vary_light(image, s, np.random.default_rng(k)) - image).mean() for k in range(20)])
        for s in (0.2, 1.0)
    ]
    assert 0 < change[0] < change[1]
    assert np.isfinite(vary_light(image, 1.0, np.random.default_rng(1))).all()
