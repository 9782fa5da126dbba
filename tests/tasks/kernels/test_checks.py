import numpy as np
import pytest

from tasks.kernels.checks import finite_float32, require_plane


@pytest.mark.parametrize("shape", [(3,), (2, 3, 4), (0, 5)])
def test_only_planes_pass(shape):
    with pytest.raises(ValueError, match="axes y x"):
        require_plane(np.zeros(shape))


def test_only_real_numbers_pass():
    with pytest.raises(TypeError, match="complex64"):
        require_plane(np.zeros((2, 2), np.complex64))


def test_nan_is_counted_in_the_error():
    yx = np.zeros((3, 4), np.float32)
    yx[0, :2] = np.nan
    with pytest.raises(ValueError, match="2 NaN or infinite pixels of 12"):
        finite_float32(yx, "frame")


def test_float32_is_not_copied():
    yx = np.ones((2, 2), np.float32)
    assert finite_float32(yx) is yx
