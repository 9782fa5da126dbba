import numpy as np
import pytest

from tasks.kernels.upright import slants, upright


def a_stroke(slant: float, shift: tuple[float, float] = (0.0, 0.0), side: int = 28) -> np.ndarray:
    y, x = np.mgrid[:side, :side] - (side - 1) / 2
    across = x - shift[1] - slant * (y - shift[0])
    inside = np.clip(2.5 - np.abs(across), 0, 1) * (np.abs(y - shift[0]) < 8)
    return (255 * inside).astype(np.uint8)


@pytest.mark.parametrize("slant", [-0.5, 0.0, 0.3])
@pytest.mark.parametrize("shift", [(0.0, 0.0), (2.0, -3.0)])
def test_the_slant_is_measured_and_taken_away(slant, shift):
    nyx = a_stroke(slant, shift)[None]
    found, centre = slants(nyx)
    assert found[0] == pytest.approx(slant, abs=0.03)
    np.testing.assert_allclose(centre[0], 13.5 + np.array(shift), atol=0.1)
    stands = upright(nyx)
    assert (stands.dtype, stands.shape) == (nyx.dtype, nyx.shape)
    left, middle = slants(stands)
    assert abs(left[0]) < 0.02
    np.testing.assert_allclose(middle[0], 13.5, atol=0.1)
    np.testing.assert_allclose(stands[0].astype(int), a_stroke(0.0), atol=90)


def test_what_stands_already_stays_and_black_stays_black():
    nyx = np.stack([a_stroke(0.0), np.zeros((28, 28), np.uint8)])
    np.testing.assert_array_equal(upright(nyx), nyx)
    assert slants(nyx)[0].tolist() == [0.0, 0.0]


def test_each_picture_is_on_its_own():
    nyx = np.stack([a_stroke(0.4), a_stroke(-0.2, (1.0, 1.0))])
    np.testing.assert_array_equal(upright(nyx)[1], upright(nyx[1:])[0])
