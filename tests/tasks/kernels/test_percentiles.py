import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tasks.kernels.percentiles import percentiles_of

finite = st.floats(-(2.0**100), 2.0**100, width=32)


@given(hnp.arrays(np.float32, st.integers(1, 60), elements=finite), st.floats(0, 99), st.floats(0.01, 100))
@example(np.array([-0.0, 0.0, -1e-40, 1e-40], np.float32), 0, 100)
@example(np.array([-2.0, -1.0, 1.0], np.float32), 25, 75)
@settings(deadline=None)
def test_percentiles_are_numpys(values, low, span):
    high = min(low + span, 100.0)
    expected = np.percentile(values.astype(np.float64), (low, high))
    np.testing.assert_allclose(percentiles_of(values, low, high), expected, rtol=1e-12, atol=1e-30)


@pytest.mark.parametrize("scale", [1, -1, 65535, 1e-6])
def test_percentiles_of_many_values(scale):
    values = (np.random.default_rng(0).normal(1, 0.2, (300, 500)) * scale).astype(np.float32)
    for view in (values, values[::2, ::-3]):
        found = percentiles_of(view, 0.5, 98.5)
        np.testing.assert_allclose(found, np.percentile(view.astype(np.float64), (0.5, 98.5)), rtol=1e-12)


def test_there_must_be_a_value():
    with pytest.raises(ValueError, match="at least one value"):
        percentiles_of(np.zeros(0, np.float32), 1, 99)
