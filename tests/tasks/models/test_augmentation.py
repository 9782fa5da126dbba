from dataclasses import fields

import numpy as np
import pytest

from tasks.models.augmentation import Augmentation, augmented, random_flips
from tasks.models.batches import epoch_rng
from tests.tasks.models.blobs import ellipses_ncyx


def test_flips_give_the_four_symmetries_equally_often() -> None:
    patch_cyx = np.arange(6, dtype=np.float32).reshape(1, 2, 3)
    symmetries = [patch_cyx, patch_cyx[:, ::-1], patch_cyx[:, :, ::-1], np.rot90(patch_cyx, 2, (1, 2))]
    flipped = random_flips(np.repeat(patch_cyx[None], 4000, axis=0), epoch_rng(0, 1))
    counts = [sum(np.array_equal(found, wanted) for found in flipped) for wanted in symmetries]
    assert sum(counts) == 4000
    assert all(900 < count < 1100 for count in counts)  # 1000 +- 3.6 standard deviations


def test_the_default_changes_nothing() -> None:
    ncyx = ellipses_ncyx(5)
    assert np.array_equal(augmented(ncyx, Augmentation(), epoch_rng(0, 1)), ncyx)


def moments(ncyx: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Centre of mass (x, y) from the middle in px, angle of the long axis from the vertical in degrees."""
    y, x = np.mgrid[: ncyx.shape[2], : ncyx.shape[3]] - (ncyx.shape[2] - 1) / 2
    mass = ncyx[:, 0].sum((1, 2))
    cx, cy = ((ncyx[:, 0] * one).sum((1, 2)) / mass for one in (x, y))
    dy, dx = y - cy[:, None, None], x - cx[:, None, None]
    xy, xx, yy = ((ncyx[:, 0] * one).sum((1, 2)) for one in (dx * dy, dx * dx, dy * dy))
    return cx, cy, np.degrees(0.5 * np.arctan2(2 * xy, yy - xx))


def test_turns_and_shifts_stay_within_their_bounds_and_reach_them() -> None:
    standing = np.repeat(ellipses_ncyx(1, side_px=32), 400, axis=0) ** 0.5
    _, _, turned = moments(augmented(standing, Augmentation(turn_deg=20), epoch_rng(0, 1)))
    assert 18 < np.abs(turned).max() < 21
    assert abs(turned.mean()) < 2
    cx, cy, angle = moments(augmented(standing, Augmentation(shift=0.05), epoch_rng(0, 1)))
    for centre in (cx, cy):
        assert 0.045 * 32 < np.abs(centre).max() <= 0.051 * 32
    assert np.abs(angle).max() < 1


def test_size_shear_and_intensity_do_what_they_say() -> None:
    ncyx = 0.5 * np.repeat(ellipses_ncyx(1, side_px=32), 300, axis=0)
    mass = augmented(ncyx, Augmentation(scale=0.1), epoch_rng(0, 1)).sum((1, 2, 3)) / ncyx[0].sum()
    assert np.exp(-0.21) < mass.min() < np.exp(-0.15)
    assert np.exp(0.15) < mass.max() < np.exp(0.21)
    _, _, slant = moments(augmented(ncyx, Augmentation(shear=0.2), epoch_rng(0, 1)))
    assert 8 < np.abs(slant).max() < 14
    bright = augmented(ncyx, Augmentation(intensity=0.3), epoch_rng(0, 1)).max((1, 2, 3))
    assert (bright >= 0.5 * 0.7).all()
    assert (bright <= 0.5 * 1.3).all()
    assert augmented(2 * ncyx, Augmentation(intensity=1.0), epoch_rng(0, 1)).max() == 1.0


def test_light_changes_smoothly_and_gamma_keeps_black_and_white() -> None:
    grey = np.full((50, 2, 24, 32), 0.5, np.float32)
    lit = augmented(grey, Augmentation(light=0.4), epoch_rng(0, 1))
    assert 0.3 <= lit.min() < 0.35 < 0.65 < lit.max() <= 0.7
    assert np.abs(np.diff(lit, axis=3)).max() < 0.4 * 2 * 6 / 32 * 0.5 * 1.01  # 6 points across 32 px
    assert np.array_equal(lit[:, 0], lit[:, 1])
    assert len(np.unique(lit[:, 0, 0, 0])) == 50
    curved = augmented(np.array([0, 0.25, 1], np.float32).reshape(1, 1, 1, 3).repeat(200, 0),
                       Augmentation(gamma=0.5), epoch_rng(0, 1))[:, 0, 0]  # fmt: skip
    assert np.array_equal(curved[:, [0, 2]], np.tile([0, 1], (200, 1)))
    powers = np.log(np.log(curved[:, 1]) / np.log(0.25))
    assert 0.45 < np.abs(powers).max() <= 0.5001


def test_the_same_generator_changes_the_same_way() -> None:
    every = Augmentation(
        flips=True, intensity=0.1, gamma=0.2, light=0.2, turn_deg=10, shift=0.1, scale=0.1, shear=0.1
    )
    once, again = (augmented(ellipses_ncyx(9), every, epoch_rng(2, 3)) for _ in range(2))
    assert np.array_equal(once, again)


@pytest.mark.parametrize("name", [one.name for one in fields(Augmentation) if one.type is not bool])
def test_negative_changes_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"expected {name} of 0 or more"):
        Augmentation(**{name: -0.1})
