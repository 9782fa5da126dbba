"""The human loop up to the annotations: frames out, corrected, and back."""

import json
import shutil

import numpy as np
import pytest
import tifffile

from storage import checking, ome, records
from storage.errors import FormatError, InputError
from storage.objects import open_store
from storage.pairs import NOTE
from storage.seg_files import read_seg, write_seg
from tasks.annotations import annotated_planes, pixels_digest, read_annotation, standing_annotations
from tasks.refine_export import Frame, export_frames
from tasks.refine_import import Said, import_folder
from tests.support import clean_of, labels_of, write_tiff

ME = Said(by="me")


@pytest.fixture
def objects(carried, tmp_path):
    """The tiny experiment's store, to be added to."""
    shutil.copytree(carried[0].url, tmp_path / "store")
    return open_store(str(tmp_path / "store"))


@pytest.fixture
def exported(objects, tmp_path):
    found = export_frames(objects, tmp_path / "out", count=3)
    return tmp_path / "out", [one["name"] for one in found["frames"]]


def origin_of(folder, name):
    return json.loads((folder / NOTE).read_text())["frames"][name]


def snapshot(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# --- export


def test_an_export_spreads_over_chips_and_says_why(objects, tmp_path):
    found = export_frames(objects, tmp_path / "out", count=4)
    assert found["candidates"] == 8
    assert len({one["group"] for one in found["frames"]}) == 4
    assert all(0 <= one["doubt"] <= 1 and one["cells"] > 0 for one in found["frames"])
    again = export_frames(objects, tmp_path / "again", count=4)
    assert again == found


def test_every_format_holds_the_frame(carried, exported):
    folder, names = exported
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        [NOTE, *(f"{n}{end}" for n in names for end in (".tif", "_masks.tif", "_seg.npy", ".ome.zarr"))]
    )
    for name in names:
        origin = origin_of(folder, name)
        one = next(one for one in carried[1] if one.clean.key == origin["clean"])
        clean, labels = (
            clean_of(carried[0], one.clean)[origin["t"]],
            labels_of(carried[0], one.clean, one.labels),
        )
        picture = tifffile.imread(folder / f"{name}.tif")
        np.testing.assert_allclose(picture / 65535, clean, atol=1e-5)
        masks = labels[origin["t"], origin["z"]]
        assert masks.any()
        np.testing.assert_array_equal(tifffile.imread(folder / f"{name}_masks.tif"), masks)
        np.testing.assert_array_equal(read_seg(folder / f"{name}_seg.npy").masks, masks)
        assert origin["masks"] == pixels_digest(masks)


def test_the_ome_zarr_is_valid_and_opens_elsewhere(exported):
    import ngio

    folder, (name, *_) = exported
    path = folder / f"{name}.ome.zarr"
    assert ome.store_fault(str(path)) is None
    container = ngio.open_ome_zarr_container(str(path))
    assert container.list_labels() == ["masks"]
    np.testing.assert_array_equal(
        np.squeeze(container.get_label("masks", path="0").get_as_numpy()),
        tifffile.imread(folder / f"{name}_masks.tif"),
    )


def test_nothing_is_replaced(objects, exported):
    folder, _ = exported
    before = snapshot(folder)
    with pytest.raises(InputError, match="exists already"):
        export_frames(objects, folder, count=1)
    with pytest.raises(InputError, match="lies in the store"):
        export_frames(objects, objects.folder / "x", count=1)
    assert snapshot(folder) == before


def test_only_labels_can_be_corrected(carried, objects, tmp_path):
    one = carried[1][0]
    found = export_frames(objects, tmp_path / "out", count=9, keys=[one.labels.key[:9]])
    assert {row["labels"] for row in found["frames"]} == {one.labels.key}
    with pytest.raises(InputError, match="keys of labels"):
        export_frames(objects, tmp_path / "other", count=1, keys=[one.clean.key])
    assert not (tmp_path / "other").exists()


# --- import of corrections


def correct(masks):
    """Remove a cell, add one, and shave one."""
    masks = masks.copy()
    ids, areas = np.unique(masks[masks > 0], return_counts=True)
    first, second = ids[np.argsort(-areas, kind="stable")[:2]]
    masks[masks == first] = 0
    rows, columns = np.nonzero(masks == second)
    masks[rows[rows == rows.min()], columns[rows == rows.min()]] = 0
    free = np.argwhere(masks == 0)
    blocks = [(y, x) for y, x in free[::97] if y < 180 and x < 180 and not masks[y : y + 6, x : x + 6].any()]
    y, x = blocks[0]
    masks[y : y + 6, x : x + 6] = masks.max() + 1
    return masks


def save(folder, name, form, masks):
    if form == "seg":
        (folder / f"{name}_seg.npy").write_bytes(write_seg(masks, masks > 0, f"{name}.tif"))
    elif form == "tiff":
        tifffile.imwrite(folder / f"{name}_masks.tif", masks)
    else:
        import zarr

        zarr.open_array(str(folder / f"{name}.ome.zarr" / "labels/masks/0"))[:] = masks[None, None]


@pytest.mark.parametrize("form", ["seg", "tiff", "zarr"])
def test_a_correction_in_any_format_comes_back(form, objects, exported):
    folder, (name, *others) = exported
    corrected = correct(tifffile.imread(folder / f"{name}_masks.tif"))
    save(folder, name, form, corrected)
    before = snapshot(folder)
    (kept,), waiting = import_folder(objects, folder, ME)
    assert snapshot(folder) == before
    assert sorted(waiting) == sorted(others)
    record = records.read(objects, "annotation", kept.key)
    origin = origin_of(folder, name)
    assert [one.model_dump() for one in record.parents] == [
        {"kind": "clean", "key": origin["clean"]},
        {"kind": "labels", "key": origin["labels"]},
    ]
    assert (record.counts["added"], record.counts["removed"]) == (1, 1)
    assert 0.9 < record.metrics["iou_to_prediction"] < 1
    assert record.details["by"] == "me"
    assert record.details["drawn"]
    stored = read_annotation(objects, record)
    assert stored.group == origin["group"]
    np.testing.assert_array_equal(stored.labels_yx > 0, corrected > 0)
    frame = Frame(objects, records.read(objects, "labels", origin["labels"]), origin["t"], origin["z"], "")
    np.testing.assert_array_equal(stored.yx, frame.picture())


def test_the_same_import_twice_stores_nothing_new(objects, exported, tmp_path):
    folder, (name, *_) = exported
    first = correct(tifffile.imread(folder / f"{name}_masks.tif"))
    save(folder, name, "tiff", first)
    (kept,), _ = import_folder(objects, folder, ME)
    (again,), _ = import_folder(objects, folder, Said(by="another"))
    assert (again.key, again.reused) == (kept.key, True)
    assert len(records.listing(objects, "annotation")) == 1


def test_the_last_correction_of_a_picture_holds(objects, exported):
    folder, (name, *_) = exported
    first = correct(tifffile.imread(folder / f"{name}_masks.tif"))
    second = correct(first)
    keys = []
    for masks in (first, second, first):
        save(folder, name, "tiff", masks)
        (kept,), _ = import_folder(objects, folder, ME)
        keys.append(kept.key)
        (standing,) = standing_annotations(objects).values()
        assert standing.key == kept.key
    assert len(set(keys)) == 3


def test_annotated_frames_are_not_exported_again(objects, exported, tmp_path):
    folder, names = exported
    import_folder(objects, folder, Said(untouched=True))
    assert len(annotated_planes(objects)) == 3
    found = export_frames(objects, tmp_path / "next", count=9)
    assert found["candidates"] == 5
    assert not {one["name"] for one in found["frames"]} & set(names)


def test_untouched_frames_are_taken_for_right_only_if_said(objects, exported):
    folder, names = exported
    kept, waiting = import_folder(objects, folder, ME)
    assert (kept, sorted(waiting)) == ([], sorted(names))
    kept, waiting = import_folder(objects, folder, Said(by="me", untouched=True))
    assert (len(kept), waiting) == (3, [])
    assert all(one.metrics["iou_to_prediction"] == 1 and one.counts["added"] == 0 for one in kept)


def test_two_corrections_that_differ(objects, exported):
    folder, (name, *_) = exported
    first = correct(tifffile.imread(folder / f"{name}_masks.tif"))
    save(folder, name, "tiff", first)
    save(folder, name, "seg", correct(first))
    with pytest.raises(InputError, match="hold different masks"):
        import_folder(objects, folder, ME)
    save(folder, name, "seg", first)
    assert len(import_folder(objects, folder, ME)[0]) == 1


def test_another_store(exported, tmp_path):
    other = open_store(str(tmp_path / "other"), create=True)
    with pytest.raises(InputError, match="name that store"):
        import_folder(other, exported[0], ME)


def test_one_bad_file_stores_nothing(objects, exported):
    folder, (good, bad, _) = exported
    save(folder, good, "tiff", correct(tifffile.imread(folder / f"{good}_masks.tif")))
    save(folder, bad, "tiff", tifffile.imread(folder / f"{bad}_masks.tif")[:-1])
    with pytest.raises(FormatError, match="uncropped"):
        import_folder(objects, folder, ME)
    assert records.listing(objects, "annotation") == []


# --- import of pictures from outside


@pytest.fixture
def outside(tmp_path):
    folder = tmp_path / "pictures"
    rng = np.random.default_rng(0)
    for number in range(3):
        masks = np.zeros((50, 60), np.uint16)
        masks[5:20, 5:25], masks[30:45, 30:50] = 4, 9
        write_tiff(
            folder / f"p{number}.tif",
            (masks > 0) * np.uint16(100) + rng.integers(0, 9, masks.shape).astype(np.uint16),
        )
        write_tiff(folder / f"p{number}_masks.tif", masks)
    return folder


def test_pictures_that_no_export_made(outside, store):
    (outside / "samples.csv").write_text("file,chip\np0.tif,A\np1.tif,A\n")
    kept, waiting = import_folder(store, outside, ME)
    assert (len(kept), waiting) == (3, [])
    found = [read_annotation(store, one) for one in standing_annotations(store).values()]
    assert [(one.name, one.group) for one in found] == [("p0", "A"), ("p1", "A"), ("p2", "p2")]
    assert all(one.yx.dtype == np.uint16 and one.labels_yx.max() == 2 for one in found)
    assert kept[0].counts["cells"] == 2
    assert kept[0].metrics["iou_to_prediction"] is None


def test_the_store_is_what_its_records_say(outside, store):
    from datetime import timedelta

    import_folder(store, outside, ME)
    found = checking.check_store(store, older_than=timedelta(0))
    assert found.problems == []


def test_annotations_are_never_collected(outside, store):
    from datetime import timedelta

    from storage.collecting import plan_collection

    import_folder(store, outside, ME)
    assert plan_collection(store, older_than=timedelta(0)) == []


def test_a_hostile_seg_file_is_refused_and_nothing_runs(outside, store, tmp_path):
    class Runs:
        def __reduce__(self):
            return exec, (f"open({str(tmp_path / 'ran')!r}, 'w').close()",)

    np.save(outside / "p0_seg.npy", np.array({"masks": Runs()}, dtype=object), allow_pickle=True)
    (outside / "p0_masks.tif").unlink()
    with pytest.raises(FormatError, match="nothing in it was run") as caught:
        import_folder(store, outside, ME)
    assert caught.value.exit_code == 2
    assert not (tmp_path / "ran").exists()
    assert records.listing(store, "annotation") == []
