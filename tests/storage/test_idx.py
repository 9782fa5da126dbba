import gzip

import numpy as np
import pytest

from storage.errors import InputError, MissingInputError
from storage.idx import NAMES, read_idx, read_split
from tests.support import DATA, needs


def idx_bytes(values: np.ndarray) -> bytes:
    sizes = b"".join(size.to_bytes(4, "big") for size in values.shape)
    return bytes([0, 0, 8, values.ndim]) + sizes + values.astype(np.uint8).tobytes()


def write_split(folder, split, nyx, labels, *, zipped=False):
    for name, values in zip(NAMES[split], (nyx, labels), strict=True):
        content = idx_bytes(values)
        path = folder / (f"{name}.gz" if zipped else name)
        path.write_bytes(gzip.compress(content) if zipped else content)


@pytest.mark.parametrize("zipped", [False, True])
def test_pictures_and_labels_come_back(zipped, tmp_path):
    nyx, labels = np.arange(3 * 4 * 5).reshape(3, 4, 5), np.array([7, 0, 9])
    write_split(tmp_path, "test", nyx, labels, zipped=zipped)
    found = read_split(tmp_path, "test")
    np.testing.assert_array_equal(found.nyx, nyx)
    np.testing.assert_array_equal(found.labels, labels)
    with pytest.raises(MissingInputError, match="train-images"):
        read_split(tmp_path, "train")


def test_a_label_for_each_picture(tmp_path):
    write_split(tmp_path, "train", np.zeros((3, 4, 5)), np.zeros(2))
    with pytest.raises(InputError, match=r"a label for each picture .* found \(2,\) for \(3, 4, 5\)"):
        read_split(tmp_path, "train")


@pytest.mark.parametrize("keep", [0, 3, 8, 30])
def test_torn_and_strange_files_are_explained(keep, tmp_path):
    content = idx_bytes(np.zeros((3, 4, 5)))
    (tmp_path / "torn").write_bytes(content[:keep])
    with pytest.raises(InputError, match="torn: expected"):
        read_idx(tmp_path / "torn")
    (tmp_path / "torn.gz").write_bytes(gzip.compress(content)[:keep])
    with pytest.raises(InputError, match="expected"):
        read_idx(tmp_path / "torn.gz")


def test_floats_are_no_bytes(tmp_path):
    (tmp_path / "floats").write_bytes(b"\0\0\x0d\x01\0\0\0\0")
    with pytest.raises(InputError, match="an IDX file of bytes"):
        read_idx(tmp_path / "floats")


@needs("mnist")
def test_the_real_digits_are_there():
    found = read_split(DATA / "mnist", "test")
    assert found.nyx.shape == (10_000, 28, 28)
    assert np.bincount(found.labels).tolist()[:3] == [980, 1135, 1032]
