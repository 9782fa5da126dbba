import subprocess
import sys

import numpy as np
import pytest

from tasks.kernels.compiling import compiled
from tests.support import ROOT

MODULE = """
from tasks.kernels.compiling import compiled

@compiled
def mean(values, count):
    total = 0.0
    for value in values:
        total += value
    return total / count
"""


def test_a_division_by_zero_raises_nothing():
    @compiled
    def ratios(a, b):
        for i in range(a.size):
            a[i] /= b[i]
        return a

    assert ratios(np.ones(3), np.array([2.0, 0.0, 1.0])).tolist() == [0.5, np.inf, 1.0]


def test_a_loop_is_compiled_where_nothing_can_be_cached():
    """A function without a file has no cache folder, as a read-only package without a home."""
    names = {}
    exec(MODULE, names)
    assert names["mean"](np.arange(4.0), 4) == 1.5
    assert not names["mean"].stats.cache_path
    with pytest.raises(RuntimeError, match="no locator"):
        names["mean"].enable_caching()


def test_processes_that_start_together_share_a_cache(tmp_path):
    (tmp_path / "loops.py").write_text(MODULE)
    ask = (
        "import numpy; from loops import mean; print(mean(numpy.arange(4.0), 4), len(mean.stats.cache_hits))"
    )
    environment = {"PATH": "/usr/bin", "PYTHONPATH": f"{ROOT}:{tmp_path}"}

    def start():
        return subprocess.Popen(
            [sys.executable, "-c", ask], env=environment, stdout=subprocess.PIPE, text=True
        )

    together = [start() for _ in range(2)]
    assert {one.communicate(timeout=200)[0].split()[0] for one in together} == {"1.5"}
    assert start().communicate(timeout=200)[0].split() == ["1.5", "1"]
    assert {path.suffix for path in (tmp_path / "__pycache__").glob("loops.mean*")} == {".nbc", ".nbi"}
