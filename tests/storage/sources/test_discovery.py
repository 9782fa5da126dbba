import pickle

import numpy as np
import pytest
import tifffile

from storage.errors import FormatError, InputError, MissingInputError
from storage.sources import discovery
from storage.sources.discovery import find_acquisitions, opened
from tests.storage.sources.support import only, pixels, read_all, write_planes

PLANE = pixels((20, 33))


def names(inputs, **options) -> list[str]:
    return [one.name for one in find_acquisitions(inputs, **options)]


@pytest.fixture(autouse=True)
def nothing_idle(monkeypatch):
    monkeypatch.setattr(discovery, "_idle", discovery._Idle())


def stacks(folder, count):
    folder.mkdir(exist_ok=True)
    for n in range(count):
        tifffile.imwrite(folder / f"position{n}.tif", pixels((2, 20, 33), seed=n), metadata=None)
    return folder


def test_a_folder_of_stacks_is_an_acquisition_each_in_natural_order(tmp_path):
    stacks(tmp_path, 11)
    assert names([tmp_path]) == [f"position{n}.tif" for n in range(11)]


def test_a_folder_of_single_planes_is_one_acquisition(tmp_path):
    folder = write_planes(tmp_path / "recording", ["a1.tif", "a2.tif"], pixels((2, 20, 33)))
    assert names([folder]) == ["recording"]
    assert names([folder], folder_is="files") == ["a1.tif", "a2.tif"]


def test_a_samples_table_says_that_the_files_are_recordings(tmp_path):
    folder = write_planes(tmp_path / "recording", ["a1.tif", "a2.tif"], pixels((2, 20, 33)))
    (folder / "samples.csv").write_text("file\na1.tif\n")
    assert names([folder]) == ["a1.tif", "a2.tif"]
    assert names([folder], folder_is="planes") == ["recording"]


@pytest.mark.parametrize("shapes", [[(20, 33), (20, 30)], [(20, 33), (3, 20, 33)]])
def test_planes_that_are_not_alike_are_files(tmp_path, shapes):
    for n, shape in enumerate(shapes):
        tifffile.imwrite(tmp_path / f"a{n}.tif", pixels(shape), metadata=None)
    assert names([tmp_path]) == ["a0.tif", "a1.tif"]


def test_an_acquisition_named_twice_or_through_a_link_is_found_once(tmp_path):
    stacks(tmp_path / "in", 2)
    (tmp_path / "link.tif").symlink_to(tmp_path / "in" / "position0.tif")
    assert (
        len(find_acquisitions([tmp_path / "in", tmp_path / "in" / "position0.tif", tmp_path / "link.tif"]))
        == 2
    )


def test_what_is_not_there_or_not_known(tmp_path):
    with pytest.raises(MissingInputError, match="found nothing at"):
        find_acquisitions([tmp_path / "nowhere"])
    with pytest.raises(MissingInputError, match="found none; name the folder"):
        find_acquisitions([tmp_path])
    with pytest.raises(InputError, match="at least one"):
        find_acquisitions([])
    for name in ("a.npz", "a.jpg", "noSuffix"):
        (tmp_path / name).write_bytes(b"x")
        with pytest.raises(FormatError, match=f"{name}: expected a recording"):
            find_acquisitions([tmp_path / name])


def test_a_loop_of_links_ends(tmp_path):
    stacks(tmp_path, 1)
    (tmp_path / "loop.tif").symlink_to(tmp_path / "loop.tif")
    (tmp_path / "up").symlink_to(tmp_path)
    (tmp_path / "loop.zarr").symlink_to(tmp_path / "loop.zarr")
    (tmp_path / "gone.tif").symlink_to(tmp_path / "nowhere.tif")
    assert names([tmp_path]) == ["position0.tif"]
    with pytest.raises(MissingInputError):
        find_acquisitions([tmp_path / "loop.tif"])


def test_a_damaged_file_is_found_and_left_to_its_reader(tmp_path):
    stacks(tmp_path, 1)
    for name in ("bad.tif", "bad.ome.tif", "bad.nd2", "bad.companion.ome"):
        (tmp_path / name).write_bytes(b"rubbish")
    found = find_acquisitions([tmp_path])
    assert len(found) == 5
    for one in found[:-1]:
        with pytest.raises(FormatError, match=one.name):
            discovery.open_acquisition(one)


@pytest.mark.parametrize("planes", [True, False])
def test_ten_thousand_files_are_found_by_their_names(tmp_path, monkeypatch, planes):
    tifffile.imwrite(tmp_path / "one.tif", PLANE)
    content = (tmp_path / "one.tif").read_bytes()
    (tmp_path / "one.tif").unlink()
    for n in range(10_000):
        (tmp_path / (f"img_t{n:05}.tif" if planes else f"cell {n} {n + 1}.tif")).write_bytes(content)
    seen = []
    real = tifffile.TiffFile
    monkeypatch.setattr(
        tifffile, "TiffFile", lambda path, **options: seen.append(path) or real(path, **options)
    )
    found = find_acquisitions([tmp_path])
    assert len(found) == (1 if planes else 10_000)
    assert len(seen) <= 3


def test_an_acquisition_can_be_sent_to_another_process(tmp_path):
    stacks(tmp_path, 1)
    acquisition = only(tmp_path)
    again = pickle.loads(pickle.dumps(acquisition))
    assert again == acquisition
    np.testing.assert_array_equal(read_all(again), read_all(acquisition))


def test_a_source_is_opened_once_for_many_units(tmp_path, monkeypatch):
    stacks(tmp_path, 1)
    opens = []
    real = discovery.open_acquisition
    monkeypatch.setattr(discovery, "open_acquisition", lambda one: opens.append(one) or real(one))
    for t in (0, 1, 0):
        with opened(only(tmp_path)) as source:
            np.testing.assert_array_equal(source.read_plane(t, 0, 0), pixels((2, 20, 33))[t])
    assert len(opens) == 1


def test_two_readers_at_once_have_a_source_each(tmp_path):
    stacks(tmp_path, 1)
    acquisition = only(tmp_path)
    with opened(acquisition) as first, opened(acquisition) as second:
        assert first is not second
    with opened(acquisition) as third:
        assert third in (first, second)


def test_a_file_that_changed_is_opened_anew_and_the_old_one_closed(tmp_path):
    stacks(tmp_path, 1)
    acquisition = only(tmp_path)
    with opened(acquisition) as before:
        closed = before._file.filehandle
    changed = pixels((2, 20, 33), seed=9)
    tifffile.imwrite(acquisition.location, changed, metadata=None, description="longer than before")
    with opened(acquisition) as source:
        np.testing.assert_array_equal(source.read_plane(1, 0, 0), changed[1])
    assert closed.closed


def test_only_so_many_stay_open(tmp_path):
    stacks(tmp_path, discovery.MOST_IDLE + 3)
    handles = []
    for acquisition in find_acquisitions([tmp_path]):
        with opened(acquisition) as source:
            handles.append(source._file.filehandle)
    assert [handle.closed for handle in handles] == [True] * 3 + [False] * discovery.MOST_IDLE


def test_a_source_that_failed_is_closed_and_a_file_that_vanished_is_a_format_error(tmp_path):
    stacks(tmp_path, 1)
    acquisition = only(tmp_path)
    with opened(acquisition) as source:
        handle = source._file.filehandle
    with pytest.raises(ZeroDivisionError), opened(acquisition):
        raise ZeroDivisionError
    assert handle.closed
    acquisition.location.unlink()
    with pytest.raises(FormatError, match="vanished"), opened(acquisition):
        pass
