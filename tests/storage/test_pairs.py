import json

import numpy as np
import pytest
import tifffile
from PIL import Image

from storage.errors import FormatError, InputError, MissingInputError
from storage.pairs import NOTE, Note, Origin, find_pairs, read_note, write_note
from storage.pictures import read_masks, read_picture, write_tiff
from storage.seg_files import write_seg

YX = np.arange(30 * 40, dtype=np.uint16).reshape(30, 40)
MASKS = (YX % 7 == 0).astype(np.uint8)


def png(path, array):
    Image.fromarray(array).save(path)
    return path


# --- single pictures


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "uint32", "float32"])
def test_a_tiff_of_any_type(dtype, tmp_path):
    write_tiff(tmp_path / "a.tif", YX.astype(dtype))
    np.testing.assert_array_equal(read_picture(tmp_path / "a.tif"), YX.astype(dtype))


def test_png_of_8_and_16_bits_and_colours(tmp_path):
    np.testing.assert_array_equal(
        read_picture(png(tmp_path / "a.png", YX.astype(np.uint8))), YX.astype(np.uint8)
    )
    np.testing.assert_array_equal(read_masks(png(tmp_path / "b.png", YX)), YX)
    grey = np.repeat(YX.astype(np.uint8)[..., None], 3, axis=2)
    np.testing.assert_array_equal(read_picture(png(tmp_path / "c.png", grey)), YX.astype(np.uint8))
    opaque = np.dstack([grey, np.full_like(grey[..., 0], 255)])
    np.testing.assert_array_equal(read_picture(png(tmp_path / "d.png", opaque)), YX.astype(np.uint8))
    coloured = opaque.copy()
    coloured[..., 1] = 0
    np.testing.assert_allclose(
        read_picture(png(tmp_path / "e.png", coloured)), YX.astype(np.uint8) / 3 * 2, rtol=1e-6
    )


def test_singleton_axes_are_dropped_and_stacks_refused(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", YX[None, None])
    assert read_picture(tmp_path / "a.tif").shape == (30, 40)
    tifffile.imwrite(tmp_path / "b.tif", np.stack([YX] * 5))
    with pytest.raises(FormatError, match="one plane"):
        read_masks(tmp_path / "b.tif")
    with pytest.raises(FormatError, match="one plane"):
        read_masks(png(tmp_path / "c.png", np.zeros((9, 9, 3), np.uint8)))


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(MissingInputError):
        read_picture(tmp_path / "gone.tif")
    write_tiff(tmp_path / "a.tif", YX)
    for name, content in {
        "torn.tif": (tmp_path / "a.tif").read_bytes()[:300],
        "text.tif": b"hello",
        "empty.png": b"",
        "torn.png": png(tmp_path / "b.png", YX).read_bytes()[:60],
    }.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(FormatError, match=name):
            read_picture(tmp_path / name)


def test_a_tiff_is_never_replaced(tmp_path):
    write_tiff(tmp_path / "a.tif", YX)
    with pytest.raises(FileExistsError):
        write_tiff(tmp_path / "a.tif", MASKS)


# --- folders


def test_pictures_and_their_masks_by_name(tmp_path):
    for name in ("a.tif", "a_masks.tif", "lonely.tif"):
        write_tiff(tmp_path / name, MASKS)
    png(tmp_path / "b [1].png", MASKS)
    png(tmp_path / "b [1]_masks.png", MASKS)
    (tmp_path / "c_seg.npy").write_bytes(write_seg(MASKS, MASKS > 0, "c.tif"))
    (tmp_path / "a_seg.npy").write_bytes(write_seg(MASKS, MASKS > 0, "a.tif"))
    found = {pair.name: pair for pair in find_pairs(tmp_path)}
    assert set(found) == {"a", "b [1]", "c"}
    assert set(found["a"].masks) == {"seg", "tiff"}
    for form in ("seg", "tiff"):
        np.testing.assert_array_equal(found["a"].read_masks(form), MASKS)
    assert found["b [1]"].picture == tmp_path / "b [1].png"
    with pytest.raises(MissingInputError, match=r"c\.tif or c\.png"):
        found["c"].read_picture()


def test_folders_that_will_not_do(tmp_path):
    with pytest.raises(MissingInputError):
        find_pairs(tmp_path / "gone")
    write_tiff(tmp_path / "a.tif", YX)
    with pytest.raises(InputError, match="NAME_masks"):
        find_pairs(tmp_path)
    write_tiff(tmp_path / "a_masks.tif", MASKS)
    png(tmp_path / "a_masks.png", MASKS)
    with pytest.raises(InputError, match="keep one"):
        find_pairs(tmp_path)
    (tmp_path / "a_masks.png").unlink()
    png(tmp_path / "a.png", MASKS)
    with pytest.raises(InputError, match="several pictures of a"):
        find_pairs(tmp_path)


def test_the_note_of_an_export(tmp_path):
    assert read_note(tmp_path) is None
    origin = Origin(clean="c", labels="l", t=1, z=0, group="chip", masks="d")
    write_note(tmp_path, Note(store="/s", frames={"a": origin}))
    assert read_note(tmp_path).frames == {"a": origin}
    content = json.loads((tmp_path / NOTE).read_text())
    for wrong in ("{", json.dumps(content | {"format": "chipcyte refine export 9"}), "[]"):
        (tmp_path / NOTE).write_text(wrong)
        with pytest.raises(FormatError, match="export anew"):
            read_note(tmp_path)
