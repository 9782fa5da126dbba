"""Cellpose itself opens what we write: the code of its windows, without a display."""

from types import SimpleNamespace
from unittest.mock import MagicMock

import numpy as np
import pytest

from storage.pictures import write_tiff
from storage.seg_files import read_seg, write_seg

MASKS = np.zeros((40, 50), np.uint16)
MASKS[3:9, 3:12], MASKS[20:31, 10:21] = 1, 2

pytestmark = pytest.mark.slow  # importing cellpose takes ten seconds


class Count:
    """Cellpose's windows keep a number that says when it changes."""

    value = 0

    def get(self):
        return self.value

    def set(self, value):
        self.value = value

    def __eq__(self, other):
        return self.value == other

    def __gt__(self, other):
        return self.value > other

    __hash__ = None


def test_its_window_shows_our_masks_over_our_picture(tmp_path, capsys):
    from cellpose.gui.io import _load_seg

    write_tiff(tmp_path / "a.tif", MASKS * np.uint16(900))
    (tmp_path / "a_seg.npy").write_bytes(write_seg(MASKS, MASKS > 0, "a.tif"))
    window = MagicMock(
        restore=None, load_3D=False, ncells=Count(), colormap=np.zeros((1000, 3), np.uint8), nchan=1
    )
    _load_seg(window, filename=str(tmp_path / "a_seg.npy"))
    assert window.loaded is True
    assert "ERROR" not in capsys.readouterr().out
    assert window.filename == str(tmp_path / "a.tif")
    np.testing.assert_array_equal(window.cellpix[0], MASKS)
    assert window.ncells.get() == 2
    assert len(window.flows) == 5


def test_what_cellpose_itself_writes_comes_back(tmp_path):
    from cellpose.io import masks_flows_to_seg

    flows = [
        np.zeros((40, 50, 3), np.uint8),
        np.zeros((2, 40, 50), np.float32),
        np.zeros((40, 50), np.float32),
    ]
    masks_flows_to_seg(np.zeros((40, 50), np.uint8), MASKS, flows, str(tmp_path / "a.tif"))
    found = read_seg(tmp_path / "a_seg.npy")
    np.testing.assert_array_equal(found.masks, MASKS)
    assert found.filename == str(tmp_path / "a.tif")


def test_what_its_window_saves_is_read(tmp_path):
    from cellpose.gui.io import _save_sets

    corrected = np.where(MASKS == 2, 0, MASKS)
    settings = SimpleNamespace(flow_threshold=0.4, cellprob_threshold=0.0, diameter=None)
    window = MagicMock(
        filename=str(tmp_path / "a.tif"), restore=None, NZ=1, ncells=Count(), ismanual=np.zeros(1, bool),
        cellpix=corrected[None], outpix=corrected[None], cellcolors=np.zeros((2, 3), np.uint8),
        flows=[[], [], [], [], [[]]], track_changes=[["12:00:00", "removed mask", [[3], [4]]]], ratio=1.0,
        segmentation_settings=settings, current_model_path="x", color=0,
    )  # fmt: skip
    window.RGBDropDown.name_map = {0: "RGB"}
    window.get_normalize_params.return_value = {"percentile": [1.0, 99.0], "norm3D": True, "invert": False}
    _save_sets(window)
    found = read_seg(tmp_path / "a_seg.npy")
    np.testing.assert_array_equal(found.masks, corrected)
    assert found.filename == str(tmp_path / "a.tif")


def test_a_folder_we_export_is_a_training_folder_of_cellpose(tmp_path):
    from cellpose.io import load_train_test_data

    write_tiff(tmp_path / "a.tif", MASKS * np.uint16(900))
    write_tiff(tmp_path / "a_masks.tif", MASKS)
    pictures, masks, names, *_ = load_train_test_data(str(tmp_path), mask_filter="_masks")
    assert [str(name) for name in names] == [str(tmp_path / "a.tif")]
    np.testing.assert_array_equal(masks[0], MASKS)
    assert pictures[0].shape[-2:] == MASKS.shape
