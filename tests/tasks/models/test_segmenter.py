import numpy as np
import pytest

from tasks.models.segmenter import load_segmenter


def test_a_known_segmenter_keeps_its_promises():
    segmenter = load_segmenter("threshold", diameter_px=10.0)
    assert segmenter.name == "threshold"
    assert segmenter.version >= 1
    assert segmenter.halo_px >= 2 * 10
    labels = segmenter.segment(np.zeros((5, 6), np.uint8))
    assert (labels.dtype, labels.shape) == (np.uint32, (5, 6))


def test_an_unknown_segmenter_is_told_the_known_ones():
    with pytest.raises(ValueError, match=r"threshold.*found 'magic'"):
        load_segmenter("magic")


def test_an_unknown_option_is_refused():
    with pytest.raises(TypeError, match="colour"):
        load_segmenter("threshold", colour="red")
