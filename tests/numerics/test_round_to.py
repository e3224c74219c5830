"""round_to against exact fractions."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parity.adam.rounding import rounded
from parity.numerics.formats import FORMATS, Format, from_bits
from parity.numerics.rounding import _BLOCK, round_to

every_format = pytest.mark.parametrize("format", FORMATS.values(), ids=FORMATS)
narrow = pytest.mark.parametrize("format", list(FORMATS.values())[1:], ids=list(FORMATS)[1:])


@pytest.fixture(scope="session")
def check(nearest, is_same):
    def values_are_rounded_once(values: np.ndarray, format: Format) -> None:
        found = round_to(values, format)
        assert (found.dtype, found.shape) == (format.dtype, values.shape)
        wide = values.astype(np.float64).ravel().tolist()
        assert is_same(found, [nearest(Fraction(x), format) if x and math.isfinite(x) else x for x in wide])

    return values_are_rounded_once


def borders(format: Format) -> np.ndarray:
    """Numbers of the format and half way between two, near every power of two, and the doubles beside them."""
    emax = (1 << (format.exponent_bits - 1)) - 1
    spacing = 2.0 ** (1 - format.precision)
    fractions = [1 + k * spacing / 4 for k in range(9)] + [2 - k * spacing / 4 for k in range(9)]
    normal = np.ldexp(np.array(fractions)[:, None], np.arange(-emax - format.precision - 2, emax + 1))
    subnormal = np.arange(4 * 40) * 2.0 ** (1 - emax) * spacing / 4
    at = np.concatenate([normal.ravel(), subnormal, [0.0, math.inf, math.nan, 2.0**1000, 2.0**-1000, 5e-324]])
    values = np.concatenate([at, np.nextafter(at, 0), np.nextafter(at, math.inf)])
    return np.concatenate([values, -values])


@narrow
def test_half_way_and_one_bit_beside(format, check):
    check(borders(format), format)


@narrow
def test_float32_half_way_and_one_bit_beside(format, check):
    with np.errstate(all="ignore"):
        at = borders(format)[::3].astype(np.float32)
        at = np.concatenate([at, np.nextafter(at, np.float32(0)), np.nextafter(at, np.float32(math.inf))])
    check(np.unique(at), format)


def test_bfloat16_does_not_round_twice():
    value = np.array([1 + 2.0**-8 + 2.0**-40, -(2.0**-134) - 2.0**-180, 2.0**-134, 3 * 2.0**-134 - 2.0**-170])
    found = round_to(value, FORMATS["bfloat16"]).astype(np.float64)
    assert found.tolist() == [1 + 2.0**-7, -(2.0**-133), 0.0, 2.0**-133]


@every_format
@pytest.mark.parametrize("source", FORMATS)
def test_random_bits_of_all_exponents(format, source, check):
    held = FORMATS[source]
    words = np.random.default_rng(11).integers(0, 2 * held.sign_bit - 1, 20_000, held.unsigned, endpoint=True)
    with np.errstate(invalid="ignore"):
        check(from_bits(words, held), format)


@every_format
@settings(derandomize=True, deadline=None, max_examples=200)
@given(st.lists(st.floats(), max_size=9))
def test_any_double_is_rounded_as_a_scalar_is(format, is_same, values):
    found = round_to(np.array(values), format)
    with np.errstate(over="ignore"):
        assert is_same(found, [float(rounded(value, format)) for value in values])


@every_format
def test_nan_of_any_payload_stays_nan(format):
    bits = np.array([1, 1 << 51, (1 << 52) - 1, 1 << 29, 3 << 44], np.int64) | 0x7FF << 52
    values = np.concatenate([bits.view(np.float64), (bits | np.iinfo(np.int64).min).view(np.float64)])
    assert np.isnan(values).all()
    assert np.isnan(round_to(values, format)).all()


@every_format
def test_blocks_strides_and_out_change_nothing(format):
    values = np.random.default_rng(2).standard_normal((3, _BLOCK + 5)) * 2.0 ** np.arange(-2, 1)[:, None]
    expected = np.array([float(rounded(value, format)) for value in values[:, ::97].ravel().tolist()])
    assert (round_to(values, format)[:, ::97].ravel().astype(np.float64) == expected).all()
    assert (round_to(values[:, ::97], format).ravel().astype(np.float64) == expected).all()
    turned = values.T[::97]
    out = np.zeros(turned.shape, format.dtype)
    assert round_to(turned, format, out=out) is out
    assert (out.T.ravel().astype(np.float64) == expected).all()
    assert round_to(out, format, out=out) is out
    assert round_to(values[:0], format).shape == (0, _BLOCK + 5)
    assert round_to(np.array(1.5), format).shape == ()
