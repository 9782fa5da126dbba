"""Reading `_seg.npy`: what Cellpose writes comes back, and nothing hostile runs."""

import builtins
import io
import os
import pickle
import pickletools
import struct
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from storage.errors import FormatError, InputError
from storage.seg_files import read_seg, write_seg

MASKS = np.zeros((40, 50), np.uint16)
MASKS[3:9, 3:12], MASKS[20:31, 10:21] = 1, 2


def saved(content, path, **options):
    stream = io.BytesIO()
    np.save(stream, np.array(content, dtype=object), allow_pickle=True, **options)
    path.write_bytes(stream.getvalue())
    return path


def header() -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": "|O", "fortran_order": False, "shape": ()})
    return stream.getvalue()


def hostile(program: bytes, path: Path) -> Path:
    path.write_bytes(header() + program)
    return path


@pytest.fixture
def path(tmp_path):
    return tmp_path / "a_seg.npy"


# --- what Cellpose writes


def test_ours_comes_back(path):
    path.write_bytes(write_seg(MASKS.astype(np.uint32), MASKS > 0, "a.tif"))
    found = read_seg(path)
    np.testing.assert_array_equal(found.masks, MASKS)
    assert (found.filename, found.picture) == ("a.tif", None)


def test_ours_is_what_the_windows_of_cellpose_read(path):
    """The reads of cellpose.gui.io._load_seg, which needs a display to run."""
    path.write_bytes(write_seg(MASKS, MASKS > 0, "a.tif"))
    found = np.load(path, allow_pickle=True).item()
    assert found["outlines"].shape == found["masks"].shape == MASKS.shape
    assert found["masks"].min() == 0
    assert len(found["ismanual"]) == found["masks"].max() == 2
    assert found["flows"][0].shape[-3] == found["masks"].shape[-2]
    assert len(found["flows"]) == 5


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("dtype", ["int32", ">u2", "uint8", "int64", "bool"])
def test_every_protocol_and_type(protocol, dtype, path):
    masks = np.asfortranarray(MASKS.astype(dtype)) if dtype == "int64" else MASKS.astype(dtype)
    content = {"masks": masks, "filename": Path("x") / "a.tif", "diameter": np.float64(3), "colors": [(1, 2)]}
    if protocol == 2:
        content = {"masks": masks.tolist()}
    program = pickle.dumps(np.array(content, dtype=object), protocol=protocol)
    if protocol == 2:  # Python 3 writes bytes by a call, in that protocol of Python 2
        with pytest.raises(FormatError, match=r"_codecs\.encode|expected an array of numbers"):
            read_seg(hostile(program, path))
        return
    found = read_seg(hostile(program, path))
    np.testing.assert_array_equal(found.masks, MASKS.astype(dtype))
    assert found.filename == "x/a.tif"


def test_counted_from_minus_one_and_with_its_picture(path):
    """Cellpose 0.x."""
    content = {"masks": MASKS.astype(np.int32) - 1, "img": np.ones((40, 50), np.float32)}
    found = read_seg(saved(content, path))
    np.testing.assert_array_equal(found.masks, MASKS)
    assert found.picture.dtype == np.float32


# --- what is hostile


class Calls:
    """Unpickled by Python, this runs a function."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def marker(path: Path) -> str:
    return f"open({str(path.with_name('ran'))!r}, 'w').close()"


def calls(path):
    touch = f"touch {path.with_name('ran')}"
    return [
        Calls(os.system, touch),
        Calls(builtins.eval, marker(path)),
        Calls(builtins.exec, marker(path)),
        Calls(__import__, "os"),
        Calls(getattr, Path(path), "unlink"),
        Calls(np.load, str(path)),
        Calls(np.memmap, str(path.with_name("ran")), "u1", "w+", 0, (5,)),
        Calls(np.fromfile, str(path)),
        Calls(np.frombuffer, b"abcd"),
        Calls(sys.setrecursionlimit, 5),
        Calls(bytearray, 2**62),
        Calls(Path(path).unlink),
    ]


@pytest.mark.parametrize("where", ["alone", "masks", "beside", "key"])
@pytest.mark.parametrize("number", range(12))
def test_no_call_is_made(number, where, path):
    call = calls(path)[number]
    content = {
        "alone": call,
        "masks": {"masks": call},
        "beside": {"masks": MASKS, "x": [call]},
        "key": {"masks": MASKS, (1, call) if number < 4 else 1: call},
    }[where]
    try:
        saved(content, path)
    except (TypeError, pickle.PicklingError):
        pytest.skip("Python cannot pickle this one")
    before = path.read_bytes()
    with pytest.raises(FormatError, match="nothing in it was run"):
        read_seg(path)
    assert not path.with_name("ran").exists()
    assert path.read_bytes() == before


def test_the_call_would_have_run(path):
    """The proof that the files above are live: NumPy's own reader runs them."""
    np.load(saved({"masks": Calls(builtins.exec, marker(path))}, path), allow_pickle=True)
    assert path.with_name("ran").exists()


def array_program(shape: bytes, dtype: bytes, raw: bytes) -> bytes:
    """An array in protocol 4, its parts as given."""
    return (
        b"\x80\x04cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85C\x01b\x87R"
        b"(K\x01"
        + shape
        + b"cnumpy\ndtype\n"
        + dtype
        + b"\x89\x88\x87R(K\x03\x8c\x01<NNNJ\xff\xff\xff\xffJ\xff"
        b"\xff\xff\xffK\x00tb\x89" + raw + b"tb"
    )


def whole_program(array: bytes) -> bytes:
    """The file of a dictionary with these masks."""
    content = b"}\x8c\x05masks" + array + b"s"
    outer = array_program(b")", b"\x8c\x02O8", b"]" + content + b"a")
    return b"\x80\x04" + outer.removeprefix(b"\x80\x04") + b"."


def nested(program: bytes) -> bytes:
    return program.removeprefix(b"\x80\x04")


def test_the_programs_written_by_hand_are_right(path):
    raw = b"C\x04" + np.array([0, 7], "<u2").tobytes()
    array = nested(array_program(b"K\x01K\x02\x86", b"\x8c\x02u2", raw))
    np.testing.assert_array_equal(read_seg(hostile(whole_program(array), path)).masks, [[0, 7]])


HUGE = b"J\xff\xff\xff\x7f" * 2 + b"\x86"


@pytest.mark.parametrize(
    ("shape", "dtype", "raw"),
    [
        (HUGE, b"\x8c\x02u2", b"C\x02ab"),  # huge
        (b"K\x02K\x02\x86", b"\x8c\x02u2", b"C\x02ab"),  # more than its bytes
        (b"J\xff\xff\xff\xffJ\xfe\xff\xff\xff\x86", b"\x8c\x02u1", b"C\x02ab"),  # negative
        (b"K\x01K\x01\x86", b"\x8c\x02O8", b"C\x08abcdefgh"),  # bytes taken for pointers
        (b"K\x01K\x01\x86", b"\x8c\x04V8,O", b"C\x08abcdefgh"),
        (b"K\x01K\x01\x86", b"\x8c\x05O,u8,", b"C\x08abcdefgh"),
        (b"K\x01K\x01\x86", b"\x8c\x02O8", b"](K\x01e"),
        (b"\x8c\x02ab", b"\x8c\x02u2", b"C\x02ab"),  # a text for a shape
        (b"]", b"K\x05", b"C\x02ab"),
    ],
)
def test_arrays_that_lie(shape, dtype, raw, path):
    tracemalloc.start()
    with pytest.raises(FormatError):
        read_seg(hostile(whole_program(nested(array_program(shape, dtype, raw))), path))
    assert tracemalloc.get_traced_memory()[1] < 2**24
    tracemalloc.stop()


def test_truncated_anywhere(path, tmp_path):
    whole = write_seg(MASKS, MASKS > 0, "a.tif")
    for length in [*range(0, 400, 7), *range(400, len(whole), 997), len(whole) - 1]:
        path.write_bytes(whole[:length])
        with pytest.raises(FormatError):
            read_seg(path)


def test_any_byte_changed_reads_or_says_so(path):
    whole = write_seg(MASKS[:6, :6], MASKS[:6, :6] > 0, "a.tif")
    rng = np.random.default_rng(0)
    for place in rng.integers(0, len(whole), 400):
        changed = bytearray(whole)
        changed[place] = rng.integers(0, 256)
        path.write_bytes(changed)
        try:
            read_seg(path)
        except InputError:
            continue


@pytest.mark.parametrize(
    "program",
    [
        b"",
        b".",
        b"N.",
        b"}.",
        b"\x80\x04]" + b"]" * 10_000 + b"a" * 9_000 + b".",  # deep
        b"\x80\x04" + b"]q\x00" * 3 + b"h\x07.",  # memory that was never filled
        b"\x80\x04r\xff\xff\xff\x7fN.",
        b"\x80\x04Nr\xff\xff\xff\x7f.",  # memory at a far place, which makes Python's reader ask for 32 GB
        b"\x80\x04\x8e" + struct.pack("<Q", 2**60) + b"ab.",  # bytes that are not there
        b"\x80\x04\x82\x01.",  # the extension registry
        b"\x80\x04\x8c\x01x\x51.",  # persistent ids
        b"\x80\x04ios\nsystem\n.",
        b"(ios\nsystem\n.",
        b"\x80\x04NN\x81.",
        b"\x80\x04NNR.",
        b"\x80\x04NNb.",
        b"I" + b"9" * 100_000 + b"\n.",
        b"\x80\x04K\x01K\x02s.",
        b"\x80\x04]K\x02K\x02s.",
        b"\x80\x05\x97.",
    ],
)
def test_programs_that_make_no_sense(program, path):
    with pytest.raises(FormatError):
        read_seg(hostile(program, path))


def test_other_files(path):
    for content in (b"", b"PK\x03\x04", b"hello", np.arange(3).tobytes()):
        path.write_bytes(content)
        with pytest.raises(FormatError, match="NPY"):
            read_seg(path)
    np.save(path, MASKS)
    with pytest.raises(FormatError, match="TIFF or PNG"):
        read_seg(path)
    with pytest.raises(FormatError, match="'masks'"):
        read_seg(saved({"outlines": MASKS}, path))
    with pytest.raises(FormatError, match="one dictionary"):
        read_seg(saved([1, 2], path))


def test_every_instruction_is_known_or_refused():
    from storage import pickled

    known = pickled._SKIPPED | pickled._VALUES | set(pickled._CONSTANTS) | set(pickled._DONE)
    refused = {code.name for code in pickletools.opcodes} - known
    assert known <= {code.name for code in pickletools.opcodes}
    assert refused == {
        "INST", "OBJ", "NEWOBJ", "NEWOBJ_EX", "EXT1", "EXT2", "EXT4", "PERSID", "BINPERSID", "EMPTY_SET",
        "ADDITEMS", "FROZENSET", "NEXT_BUFFER", "READONLY_BUFFER",
    }  # fmt: skip
