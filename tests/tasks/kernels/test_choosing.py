import numpy as np
import pytest

from tasks.kernels.choosing import choose_frames, doubt_by_label


@pytest.fixture(scope="module")
def nuclei():
    """Two discs on noise, and their masks."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:80, :120]
    labels = np.zeros((80, 120), np.uint32)
    labels[(y - 40) ** 2 + (x - 30) ** 2 < 18**2] = 1
    labels[(y - 40) ** 2 + (x - 90) ** 2 < 18**2] = 2
    return labels, (labels > 0) * 0.6 + 0.1 + rng.normal(0, 0.02, labels.shape)


def test_true_outlines_leave_no_doubt(nuclei):
    labels, yx = nuclei
    doubt = doubt_by_label(labels, yx)
    assert np.isnan(doubt[0])
    assert (doubt[1:] < 0.02).all()


def test_a_cut_cell_and_a_cell_of_nothing_are_doubtful(nuclei):
    labels, yx = nuclei
    cut = labels.copy()
    cut[:40][labels[:40] == 1] = 3
    cut[5:20, 50:70] = 4
    doubt = doubt_by_label(cut, yx)
    assert doubt[4] > 0.6
    assert min(doubt[1], doubt[3]) > 0.2
    assert doubt[2] < 0.02
    np.testing.assert_allclose(doubt_by_label(cut, 1000 * yx), doubt)


def test_doubt_where_there_is_nothing():
    assert np.isnan(doubt_by_label(np.zeros((9, 9), int), np.zeros((9, 9)))).all()


def test_the_most_doubtful_frame_comes_first_and_every_chip_has_its_turn():
    doubts = np.array([0.1, 0.9, 0.8, 0.2, 0.3])
    same = np.zeros((5, 1))
    assert choose_frames(doubts, same, ["a", "a", "a", "b", "b"], 4) == [1, 4, 2, 3]


def test_of_equally_doubtful_frames_unlike_ones_are_chosen():
    features = np.array([[0.0], [0.1], [0.2], [9.0]])
    assert choose_frames(np.ones(4), features, ["a"] * 4, 2) == [0, 3]


def test_no_more_than_there_are_and_gaps_in_the_middle():
    doubts = np.array([np.nan, 0.1, 0.9])
    features = np.full((3, 2), np.nan)
    assert choose_frames(doubts, features, ["a", "a", "a"], 9) == [2, 0, 1]
    assert choose_frames(np.zeros(0), np.zeros((0, 2)), [], 3) == []
