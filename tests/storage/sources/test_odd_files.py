"""Unusual, broken and hostile TIFFs: right pixels, or an error that says what is wrong; nothing else."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.storage.sources.support import ODD

READABLE = {
    "10ct_32bit_128.tiff",
    "12bit.cropped.tif",
    "12in16bit.tif",
    "16_bit_noise.tif",
    "16bit.MM.cropped.tif",
    "16bit.MM.deflate.tif",
    "16bit.cropped.tif",
    "16bit.deflate.tif",
    "16bit.r.tif",
    "16bit.s.tif",
    "8bit.s.tif",
    "hopper_bigtiff.tif",
    "no_rows_per_strip.tif",
    "tiff_tiled_planar_16bit_RGB.tiff",
    "tiff_tiled_planar_16bit_RGBa.tiff",
}
# In a process of its own: 3 GiB of address space, 20 s a file; a line of JSON for each file.
SCRIPT = """
import json, logging, resource, signal, sys
from pathlib import Path
import numpy as np
from storage.errors import InputError
from tests.storage.sources.support import only, read_all, tczyx_of

logging.disable(logging.CRITICAL)
resource.setrlimit(resource.RLIMIT_AS, (3 << 30, 3 << 30))
for path in map(Path, sys.argv[1:]):
    signal.alarm(20)
    try:
        found = read_all(only(path))
        with_samples = found.shape[1] in (3, 4)
        expected = None if with_samples else tczyx_of(path)
        if with_samples:
            import tifffile
            whole = tifffile.imread(path)
            yxs = whole if whole.shape[-1] == found.shape[1] else np.moveaxis(whole, 0, -1)
            expected = np.moveaxis(yxs, -1, 0)[np.newaxis, :, np.newaxis]
        told = "same" if np.array_equal(found, expected) else "different pixels"
        print(json.dumps([path.name, told, ""]), flush=True)
    except InputError as error:
        print(json.dumps([path.name, "refused", str(error)]), flush=True)
    except BaseException as error:
        print(json.dumps([path.name, type(error).__name__, str(error)]), flush=True)
    signal.alarm(0)
"""


@pytest.fixture(scope="module")
def told() -> dict[str, tuple[str, str]]:
    if not ODD.is_dir():
        pytest.skip(f"the odd files are not at {ODD}")
    files = sorted(str(path) for path in ODD.iterdir() if path.name != "LICENSE")
    root = Path(__file__).parents[3]
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *files], capture_output=True, text=True, timeout=240, cwd=root
    )
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(lines) == len(files), f"died at {files[len(lines)]}: {done.stderr[-500:]}"
    return {name: (kind, text) for name, kind, text in lines}


def test_the_readable_ones_have_the_pixels_that_tifffile_reads(told):
    assert {name for name, (kind, _) in told.items() if kind == "same"} == READABLE


def test_every_other_one_is_refused_with_a_text_that_names_it_and_says_what_to_do(told):
    others = {name: found for name, found in told.items() if name not in READABLE}
    assert others
    assert {kind for kind, _ in others.values()} == {"refused"}
    for name, (_, text) in others.items():
        assert name in text
        assert any(words in text for words in ("expected", "promises", "cannot be")), text
        assert any(words in text for words in ("export", "copy it again")), text
