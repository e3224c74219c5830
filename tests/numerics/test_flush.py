"""Subnormal numbers become zeros of their sign."""

from __future__ import annotations

import numpy as np
import pytest

from parity.numerics.flush import _BLOCK, flush_subnormals
from parity.numerics.formats import FORMATS, from_bits, to_bits

every_format = pytest.mark.parametrize("format", FORMATS.values(), ids=FORMATS)


@every_format
def test_only_subnormal_numbers_change_and_keep_their_sign(format):
    smallest_normal = 1 << (format.precision - 1)
    kept = [0, smallest_normal, smallest_normal + 1, format.infinity_bits - 1, format.infinity_bits]
    kept += [format.infinity_bits + 1, format.sign_bit - 1]
    flushed = [1, 2, 3, smallest_normal // 2, smallest_normal - 1]
    words = kept + flushed
    words += [word | format.sign_bit for word in words]
    array = from_bits(np.array(words, format.unsigned), format)
    assert flush_subnormals(array) is array
    positive = kept + [0] * len(flushed)
    assert to_bits(array).tolist() == positive + [word | format.sign_bit for word in positive]


@pytest.mark.parametrize("name", ["float16", "bfloat16"])
def test_every_16_bit_number(name):
    format = FORMATS[name]
    array = from_bits(np.arange(1 << 16, dtype=np.uint16), format)
    with np.errstate(invalid="ignore"):
        wide = array.astype(np.float64)
    normal = 2.0 ** (2 - (1 << (format.exponent_bits - 1)))
    expected = np.where(np.abs(wide) < normal, np.copysign(0.0, wide), wide)
    with np.errstate(invalid="ignore"):
        found = flush_subnormals(array).astype(np.float64)
    assert ((found == expected) | (np.isnan(found) & np.isnan(wide))).all()
    assert (np.signbit(found) == np.signbit(wide)).all()


@every_format
def test_all_blocks_shapes_and_strides(format):
    size = 2 * _BLOCK + 6
    whole = from_bits(np.ones(size, format.unsigned), format)
    flush_subnormals(whole)
    assert not to_bits(whole).any()
    words = np.ones((6, 8), format.unsigned)
    flush_subnormals(from_bits(words, format).T[1::2, ::-3])
    expected = np.ones((6, 8), int)
    expected[2::3, 1::2] = 0
    assert words.tolist() == expected.tolist()
    assert flush_subnormals(whole[:0]).size == 0
    one = from_bits(np.array(1, format.unsigned), format)
    assert to_bits(flush_subnormals(one)) == 0
