import numpy as np
import pytest

from tasks.kernels.alignment import nuclei_votes
from tasks.kernels.orientation import ANGLES_DEG


def ellipses(angle_deg, *, count=25, aspect=2.0, side_px=400):
    """Bright ellipses whose long axes a counter-clockwise rotation by the angle makes vertical."""
    y, x = np.indices((side_px, side_px), float)
    turn = np.deg2rad(angle_deg)
    yx = np.full(y.shape, 100, np.float32)
    for n in range(count):
        at_y, at_x = 40 + 70 * (n // 5), 40 + 70 * (n % 5)
        across = (x - at_x) * np.cos(turn) + (y - at_y) * np.sin(turn)
        along = -(x - at_x) * np.sin(turn) + (y - at_y) * np.cos(turn)
        yx[(across * np.sqrt(aspect)) ** 2 + (along / np.sqrt(aspect)) ** 2 < 12**2] = 300
    return yx


@pytest.mark.parametrize("angle_deg", [-90.0, -71.3, 0.0, 20.2, 45.0, 89.75])
def test_all_vote_for_their_long_axis(angle_deg):
    votes = nuclei_votes(ellipses(angle_deg), ANGLES_DEG)
    best_deg = ANGLES_DEG[votes.argmax()]
    assert abs((best_deg - angle_deg + 90) % 180 - 90) < 1
    assert votes.sum() == pytest.approx(1)


def test_the_share_of_a_vote_is_the_elongation():
    votes = nuclei_votes(ellipses(30.0), ANGLES_DEG)
    level = votes.min()
    assert (votes - level).sum() == pytest.approx(25 * 0.6 / (25 + 12), rel=0.05)  # (4 - 1) / (4 + 1)
    assert np.ptp(nuclei_votes(ellipses(30.0, aspect=1.0), ANGLES_DEG)) < 0.01


def test_few_nuclei_say_little():
    def share(count):
        votes = nuclei_votes(ellipses(30.0, count=count), ANGLES_DEG)
        return (votes - votes.min()).sum()

    assert share(2) < share(25) / 4


def test_nuclei_cut_by_the_edge_and_pairs_have_no_vote():
    yx = ellipses(30.0, aspect=1.0)
    yx[:, :5] = 300
    yx[180:182, 40:110] = 300  # joins two
    assert np.ptp(nuclei_votes(yx, ANGLES_DEG)) < 0.01


def test_without_nuclei_there_is_no_vote():
    assert not nuclei_votes(np.eye(30, 40, dtype=np.float32), ANGLES_DEG).any()
