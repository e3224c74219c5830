"""A double rounded once."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parity.adam.rounding import rounded
from parity.numerics.formats import FORMATS, to_bits


def neighbours(scalar, format):
    """The numbers of the format on both sides of a finite one."""
    magnitude = np.abs(np.array([scalar], format.dtype))
    steps = np.add(to_bits(magnitude).astype(np.int64), [[-1], [1]])
    near = np.maximum(steps, 0).astype(format.unsigned).view(format.dtype).astype(np.float64)
    return [float(x) for x in near.ravel()]


@settings(derandomize=True, deadline=None, max_examples=400)
@given(st.floats(allow_nan=False, allow_infinity=False), st.sampled_from(list(FORMATS)))
def test_no_neighbour_is_nearer(value, name):
    format = FORMATS[name]
    with np.errstate(all="ignore"):
        result = rounded(value, format)
    if not np.isfinite(result):
        limit = Fraction(2) ** (2 ** (format.exponent_bits - 1))
        assert abs(Fraction(value)) >= limit * (1 - Fraction(1, 2 ** (format.precision + 1)))
        return
    distance = abs(Fraction(abs(value)) - Fraction(abs(float(result))))
    for other in neighbours(result, format):
        if math.isfinite(other):
            away = abs(Fraction(abs(value)) - Fraction(other))
            even = to_bits(np.array([result]))[0] % 2 == 0
            assert distance < away or (distance == away and even) or other == abs(float(result))
    assert math.copysign(1, float(result)) == math.copysign(1, value)


@pytest.mark.parametrize("name", FORMATS)
def test_rounds_once(name):
    format = FORMATS[name]
    unit = 2.0**-format.precision
    above = 1 + unit + max(unit * 2.0**-20, 2.0**-52)
    assert float(rounded(above, format)) == (1 + 2 * unit if name != "float64" else above)
    if name != "float64":
        assert float(rounded(1 + unit, format)) == 1
        assert float(rounded(1 + 3 * unit, format)) == 1 + 4 * unit


@pytest.mark.parametrize("name", FORMATS)
def test_special_values(name):
    format = FORMATS[name]
    assert np.isnan(rounded(math.nan, format))
    assert rounded(-math.inf, format) == -np.inf
    assert math.copysign(1, float(rounded(-0.0, format))) == -1
    assert float(rounded(5e-324, format)) == (5e-324 if name == "float64" else 0)
    smallest = 2.0 ** (3 - 2 ** (format.exponent_bits - 1) - format.precision)
    assert float(rounded(smallest, format)) == smallest
    with np.errstate(all="ignore"):
        assert np.isinf(rounded(1.7976931348623157e308, format)) == (name != "float64")
