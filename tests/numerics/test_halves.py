"""float16 and bfloat16 by integers: every one of their bits, and every place where rounding decides."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parity.numerics.formats import FORMATS, from_bits, to_bits
from parity.numerics.halves import (
    narrowed_bfloat16,
    narrowed_float16,
    rounded_bfloat16,
    rounded_float16,
    widened_bfloat16,
    widened_float16,
)
from parity.numerics.jit import compiled


@compiled
def float16(bits, wide, values, narrow, rounded):
    for place in range(bits.size):
        wide[place] = widened_float16(bits[place])
    for place in range(values.size):
        narrow[place] = narrowed_float16(values[place])
        rounded[place] = rounded_float16(values[place])


@compiled
def bfloat16(bits, wide, values, narrow, rounded):
    for place in range(bits.size):
        wide[place] = widened_bfloat16(bits[place])
    for place in range(values.size):
        narrow[place] = narrowed_bfloat16(values[place])
        rounded[place] = rounded_bfloat16(values[place])


CONVERTED = {"float16": float16, "bfloat16": bfloat16}
every_half = pytest.mark.parametrize("name", CONVERTED)


def widened(name, bits):
    wide = np.empty(bits.size, np.float32)
    none = np.empty(0, np.float32)
    CONVERTED[name](bits, wide, none, np.empty(0, np.uint16), none)
    return wide


def check_narrowed(name, values):
    """Held against NumPy's and ml_dtypes' casts; NaN is quiet, and has its sign."""
    format = FORMATS[name]
    narrow, rounded = np.empty(values.size, np.uint16), np.empty(values.size, np.float32)
    CONVERTED[name](np.empty(0, np.uint16), np.empty(0, np.float32), values, narrow, rounded)
    with np.errstate(all="ignore"):
        expected = values.astype(format.dtype)
    nan = np.isnan(values)
    np.testing.assert_array_equal(narrow[~nan], to_bits(expected)[~nan])
    np.testing.assert_array_equal(to_bits(rounded), to_bits(widened(name, narrow)))
    quiet = format.infinity_bits | 1 << (format.precision - 2)
    assert (narrow[nan] & quiet == quiet).all()
    assert ((narrow[nan] >> 15) == np.signbit(values[nan])).all()


@every_half
def test_every_half_is_widened_exactly(name):
    bits = np.arange(1 << 16, dtype=np.uint16)
    wide, halves = widened(name, bits), from_bits(bits, FORMATS[name])
    with np.errstate(invalid="ignore"):
        expected = halves.astype(np.float32)
    nan = np.isnan(expected)
    np.testing.assert_array_equal(to_bits(wide)[~nan], to_bits(expected)[~nan])
    assert np.isnan(wide[nan]).all()
    assert (np.signbit(wide) == (bits >> 15).astype(bool)).all()


@every_half
def test_every_half_every_tie_and_what_is_beside(name):
    wide = widened(name, np.arange(1 << 16, dtype=np.uint16))
    wide = wide[np.isfinite(wide)]
    ends = np.sort(np.concatenate([wide, np.float32([2.0**16, -(2.0**16)]) if name == "float16" else wide[:0]]))
    ties = ((ends[1:].astype(np.float64) + ends[:-1]) / 2).astype(np.float32)
    values = np.concatenate([ends, ties])
    with np.errstate(over="ignore"):
        beside = [np.nextafter(values, np.float32(end)) for end in (np.inf, -np.inf)]
    check_narrowed(name, np.concatenate([values, *beside]))


@every_half
def test_ends_of_the_range_and_nan(name):
    words = [0, 1, 0x7FFFFF, 0x800000, 0x7F7FFFFF, 0x7F7F7FFF, 0x7F7F8000, 0x7F800000, 0x7FC00000, 0x7FFFFFFF]
    words += [0x7F800001, 0x7F801000, 0x7FC01FFF, 0x33000000, 0x33000001, 0x32FFFFFF, 0x477FEFFF, 0x477FF000]
    bits = np.array([sign | word for word in words for sign in (0, 1 << 31)], np.uint32)
    check_narrowed(name, bits.view(np.float32))


@every_half
def test_a_million_random_bits(name):
    bits = np.random.default_rng(1).integers(0, 1 << 32, 1_000_000, np.uint64).astype(np.uint32)
    check_narrowed(name, bits.view(np.float32))


@every_half
@given(words=st.lists(st.integers(0, (1 << 32) - 1)))
def test_any_bits(name, words):
    check_narrowed(name, np.array(words, np.uint32).view(np.float32))


def test_nan_keeps_what_the_casts_of_numpy_and_ml_dtypes_keep():
    bits = np.array([0x7FC00000, 0xFFC00000, 0x7FC02000, 0xFFFFE000], np.uint32)
    for name, converted in CONVERTED.items():
        narrow = np.empty(4, np.uint16)
        none = np.empty(0, np.uint16), np.empty(0, np.float32)
        converted(*none, bits.view(np.float32), narrow, np.empty(4, np.float32))
        assert narrow.tolist() == to_bits(bits.view(np.float32).astype(FORMATS[name].dtype)).tolist()
