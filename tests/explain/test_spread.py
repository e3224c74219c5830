"""Elements counted by magnitude and distance, against Python's integers."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction

import numpy as np
import pytest

from parity.comparison.trace import read_trace
from parity.explain.spread import NONE, ZERO, bit_length, exponent_of, spreads
from parity.numerics.formats import FORMATS, from_bits, to_bits

STEPS = 60


def key(bits, format):
    """A number's place in the order of the format, both zeros at 0."""
    return -(bits - format.sign_bit) if bits >= format.sign_bit else bits


def distance_class(left, right, format):
    sizes = [bits % format.sign_bit for bits in (left, right)]
    if max(sizes) >= format.infinity_bits:
        both_nan = min(sizes) > format.infinity_bits
        return 0 if left == right or both_nan else NONE
    return abs(key(left, format) - key(right, format)).bit_length()


def magnitude_class(bits, format):
    size = bits % format.sign_bit
    return size >> (format.precision - 1) if size else ZERO


def bits_of(format, seed):
    """Every kind of number, and many of them next to each other."""
    rng = np.random.default_rng(seed)
    top = 2 * format.sign_bit
    rows = rng.integers(0, top, (STEPS + 1, 41), np.uint64, endpoint=False)
    near = rows ^ rng.integers(0, 8, rows.shape, np.uint64)
    other = np.where(rng.random(rows.shape) < 0.5, near, rng.integers(0, top, rows.shape, np.uint64))
    special = [0, format.sign_bit, 1, format.infinity_bits, format.infinity_bits + 1, top - 1, format.infinity_bits - 1]
    for place, one in enumerate(special):
        rows[1 + place, : len(special)] = special
        other[1 + place, : len(special)] = one
    return [side.astype(format.unsigned) for side in (rows, other)]


@pytest.mark.parametrize("name", FORMATS)
def test_every_element_is_counted_where_it_belongs(name, write_trace):
    format = FORMATS[name]
    left, right = bits_of(format, 7)
    sides = [
        read_trace(write_trace(side, w=from_bits(bits, format), dtype=name))
        for side, bits in (("actual", left), ("expected", right))
    ]
    (found,) = spreads(*sides)
    pairs = zip(to_bits(sides[0].array("w"))[1:].ravel().tolist(), to_bits(sides[1].array("w"))[1:].ravel().tolist(),
                strict=True)  # fmt: skip
    wanted = Counter((magnitude_class(b, format), distance_class(a, b, format)) for a, b in pairs)
    assert {(row[0], row[1]): row[2] for row in found.rows} == wanted
    assert list(found.rows) == sorted(found.rows)
    assert sum(row[2] for row in found.rows) == STEPS * 41


@pytest.mark.parametrize("name", FORMATS)
def test_the_exponent_of_a_magnitude_is_exact(name):
    format = FORMATS[name]
    for value in (1.0, 1.5, 2.0, 0.75, float(np.finfo(np.float16).max)):
        magnitude = magnitude_class(int(to_bits(np.array(value, format.dtype))), format)
        exponent = exponent_of(magnitude, format)
        assert Fraction(2) ** exponent <= Fraction(float(format.dtype.type(value))) < Fraction(2) ** (exponent + 1)


def test_only_what_both_show_and_not_the_initial_state(write_trace):
    rows = np.ones((3, 4))
    later = rows * [[9], [1], [1]]
    one = read_trace(write_trace("one", w=rows, m=rows, v=rows))
    other = read_trace(write_trace("other", w=later, v=rows))
    assert [spread.quantity for spread in spreads(one, other)] == ["w", "v"]
    assert [row[1:] for row in spreads(one, other)[0].rows] == [(0, 8)]


@pytest.mark.parametrize("power", range(64))
def test_bit_lengths_are_those_of_python(power):
    for number in {max(0, (1 << power) - 1), 1 << power, (1 << power) + 1, (1 << power) | (1 << power // 2)}:
        assert bit_length(np.uint64(number)) == number.bit_length()
