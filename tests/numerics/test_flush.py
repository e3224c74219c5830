"""Subnormal numbers become zeros of their sign."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parity.numerics.flush import flushed_float32, flushed_float64
from parity.numerics.formats import FORMATS, from_bits, to_bits
from parity.numerics.jit import compiled

FLUSHED = {"float32": flushed_float32, "float64": flushed_float64}


@compiled
def each_float32(values):
    for place in range(values.size):
        values[place] = flushed_float32(values[place])


@compiled
def each_float64(values):
    for place in range(values.size):
        values[place] = flushed_float64(values[place])


EACH = {"float32": each_float32, "float64": each_float64}
every_format = pytest.mark.parametrize("format", [FORMATS[name] for name in FLUSHED], ids=FLUSHED)


@every_format
@pytest.mark.parametrize("copies", [1, 7, 64])
def test_only_subnormal_numbers_change_and_keep_their_sign(format, copies):
    smallest_normal = 1 << (format.precision - 1)
    kept = [0, smallest_normal, smallest_normal + 1, format.infinity_bits - 1, format.infinity_bits]
    kept += [format.infinity_bits + 1, format.sign_bit - 1]
    flushed = [1, 2, 3, smallest_normal // 2, smallest_normal - 1]
    words = kept + flushed
    words += [word | format.sign_bit for word in words]
    array = from_bits(np.array(words * copies, format.unsigned), format)
    EACH[format.name](array)
    positive = kept + [0] * len(flushed)
    assert to_bits(array).tolist() == (positive + [word | format.sign_bit for word in positive]) * copies


@every_format
@given(words=st.lists(st.integers(0, (1 << 64) - 1)))
def test_any_bits(format, words):
    bits = np.array([word & (2 * format.sign_bit - 1) for word in words], format.unsigned)
    array = from_bits(bits.copy(), format)
    EACH[format.name](array)
    subnormal = (bits << 1) < format.unsigned.type(2 << (format.precision - 1))
    assert (to_bits(array) == np.where(subnormal, bits & format.unsigned.type(format.sign_bit), bits)).all()
