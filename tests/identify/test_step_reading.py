"""What is read of a step: the medians of its cells are those of sorting each on its own."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from parity.identify.step_reading import _Medians

VALUES = st.floats(width=32) | st.sampled_from([0.0, -0.0, 1.0, np.inf, np.nan])


@given(st.lists(st.tuples(st.integers(0, 12) | st.just(3), VALUES), max_size=80))
def test_the_median_of_every_cell_is_that_of_its_sorted_values(points):
    cell, values = np.array([one for one, _ in points], np.int64), np.array([one for _, one in points])
    expected = np.zeros(14)
    for one in range(14):
        if (own := np.sort(values[cell == one])).size:
            expected[one] = own[own.size // 2]
    medians = _Medians.by(cell, 14)
    for _ in range(2):
        assert np.array_equal(medians.of(values), expected, equal_nan=True)
