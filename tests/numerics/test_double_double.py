"""Double-double arithmetic against exact fractions, within the bounds it claims."""

from __future__ import annotations

import math
import operator
from fractions import Fraction

import numpy as np
import pytest

from parity.numerics.double_double import DoubleDouble, from_double, sqrt, to_format
from parity.numerics.error_free import fast_two_sum, round_to_odd, two_product, two_sum
from parity.numerics.formats import FORMATS

U = Fraction(1, 2**53)
ADD, MULTIPLY, DIVIDE, ROOT = 3 * U**2 / (1 - 4 * U), 7 * U**2, 15 * U**2 + 56 * U**3, Fraction(25, 8) * U**2
SIZE = 4000


def random_pairs(seed: int, reach: int = 60) -> DoubleDouble:
    """Numbers of both signs; low parts up to half a last place of the high ones, and far below, some of them 0."""
    random = np.random.default_rng(seed)
    high = np.ldexp(random.uniform(1, 2, SIZE), random.integers(-reach, reach, SIZE)) * random.choice([-1, 1], SIZE)
    low = np.spacing(high) / 2 * random.uniform(-1, 1, SIZE) * 2.0 ** -random.choice([0, 0, 1, 20, 2000], SIZE)
    return DoubleDouble(*fast_two_sum(high, low))


def exact(x: DoubleDouble) -> list[Fraction]:
    return [Fraction(high) + Fraction(low) for high, low in zip(x.high.tolist(), x.low.tolist(), strict=True)]


def worst(found: DoubleDouble, expected: list[Fraction]) -> Fraction:
    """Greatest relative error; a number expected to be 0 must be 0."""
    pairs = list(zip(exact(found), expected, strict=True))
    assert all(actual == 0 for actual, wanted in pairs if wanted == 0)
    assert (found.high == found.high + found.low).all()
    return max(abs(actual / wanted - 1) for actual, wanted in pairs if wanted)


OPERATIONS = [
    pytest.param(operator.add, ADD, id="add"),
    pytest.param(operator.sub, ADD, id="subtract"),
    pytest.param(operator.mul, MULTIPLY, id="multiply"),
    pytest.param(operator.truediv, DIVIDE, id="divide"),
]


@pytest.mark.parametrize(("operation", "bound"), OPERATIONS)
@pytest.mark.parametrize("reach", [1, 4, 60, 230])
def test_errors_are_within_the_bounds_claimed(operation, bound, reach):
    x, y = random_pairs(1, reach), random_pairs(2, reach)
    error = worst(operation(x, y), [operation(a, b) for a, b in zip(exact(x), exact(y), strict=True)])
    assert bound / 1000 < error <= bound


def test_cancellation_costs_nothing():
    x = random_pairs(3)
    nudge = np.spacing(x.high) * np.random.default_rng(4).integers(-3, 4, SIZE)
    y = DoubleDouble(*two_sum(x.high + nudge, -x.low / 3))
    assert worst(x - y, [a - b for a, b in zip(exact(x), exact(y), strict=True)]) <= ADD
    assert not (x - x).high.any()


@pytest.mark.parametrize("reach", [1, 60, 900])
def test_square_roots_are_within_the_bound_claimed(reach):
    x = random_pairs(5, reach)
    x = DoubleDouble(np.abs(x.high), x.low * np.sign(x.high))
    # A root to 400 bits; the error of the reference is far below u**2.
    expected = [Fraction(math.isqrt(int(value * 4**1400)), 2**1400) for value in exact(x)]
    assert ROOT / 1000 < worst(sqrt(x), expected) <= ROOT


def test_a_formula_reads_as_one():
    grads = np.array([1e-20, -3.5, 1e-38, 2.0**-149, 1e10])
    v = from_double(grads) * grads * 0.001
    update = 0.25 * from_double(grads) / (sqrt(v) + 1e-8)
    for grad, found in zip(grads.tolist(), exact(update), strict=True):
        square = Fraction(grad) ** 2 * Fraction(0.001)
        root = Fraction(math.isqrt(int(square * 4**700)), 2**700)
        wanted = Fraction(0.25) * Fraction(grad) / (root + Fraction(1e-8))
        assert abs(found / wanted - 1) < 60 * U**2


def test_floats_and_arrays_stand_on_either_side():
    array, x = np.array([3.0, 5.0]), from_double(np.array([2.0, 7.0]))
    for found, high in (
        (x + 1.0, [3, 8]),
        (1.0 + x, [3, 8]),
        (array - x, [1, -2]),
        (x - array, [-1, 2]),
        (array * x, [6, 35]),
        (x * array, [6, 35]),
        (1.0 / from_double(np.array([2.0, 4.0])), [0.5, 0.25]),
        (np.float64(8) / from_double(np.array([2.0, 4.0])), [4, 2]),
        (-x, [-2, -7]),
        (from_double(2.0) * x, [4, 14]),
    ):
        assert isinstance(found, DoubleDouble)
        assert found.high.tolist() == high
        assert not found.low.any()


def test_widening_is_exact_and_a_float_is_a_shape_of_its_own():
    assert from_double(np.array([0.1], np.float32)).high.tolist() == [float(np.float32(0.1))]
    third = from_double(1.0) / 3.0
    assert np.shape(third.high) == ()
    assert abs(Fraction(float(third.high)) + Fraction(float(third.low)) - Fraction(1, 3)) <= DIVIDE / 3


@pytest.mark.parametrize("operation", [operator.add, operator.sub, operator.mul, operator.truediv])
def test_infinities_nan_and_zeros_are_what_doubles_give(operation, is_same):
    special = [0.0, -0.0, 1.0, -1.5, math.inf, -math.inf, math.nan, 1.7e308, -1.7e308, 5e-324]
    x, y = (side.ravel() for side in np.meshgrid(special, special))
    with np.errstate(all="ignore"):
        expected = operation(x, y)
    found = operation(from_double(x), from_double(y))
    plain = ~np.isfinite(expected) | (expected == 0)
    assert plain.sum() > 50
    assert is_same(found.high[plain], expected[plain].tolist())
    assert not found.low[plain].any()
    assert np.isfinite(found.high[~plain]).all()


def test_square_roots_of_infinity_zeros_and_less(is_same):
    found = sqrt(from_double(np.array([math.inf, 0.0, -0.0, -1.0, math.nan, 5e-324])))
    assert is_same(found.high, [math.inf, 0.0, -0.0, math.nan, math.nan, math.sqrt(5e-324)])
    assert not found.low.any()


def test_a_low_part_does_not_outlive_an_infinite_high_one():
    x = DoubleDouble(np.array([1e308]), np.array([1e290]))
    for infinite in (x * 10.0, x + x, x * x, x / 1e-10, x * from_double(np.array([math.inf]))):
        assert (infinite.high, infinite.low) == (math.inf, 0)
    ratio = x / np.array([math.inf])
    assert (ratio.high, ratio.low) == (0, 0)


@pytest.mark.parametrize("operation", [operator.mul, operator.truediv])
def test_below_the_safe_range_a_result_is_that_of_doubles(operation):
    x = DoubleDouble(np.ldexp([1.3, 1.7], -970), np.ldexp([1.1, -1.9], -1030))
    y = DoubleDouble(np.array([1.1, 0.7]), np.ldexp([1.3, 1.0], -60))
    found = operation(x, y)
    assert found.high.tolist() == operation(x.high, y.high).tolist()
    assert not found.low.any()


@pytest.mark.parametrize("format", FORMATS.values(), ids=FORMATS)
def test_a_pair_is_rounded_once(format, nearest, is_same):
    emax = (1 << (format.exponent_bits - 1)) - 1
    spacing = 2.0 ** (1 - format.precision)
    quarters = np.concatenate([1 + np.arange(9) * spacing / 4, 2 - np.arange(9) * spacing / 4])
    exponents = np.array([-emax - format.precision + 1, -emax, 1 - emax, 0, 7, min(emax, 1022)])
    high = np.ldexp(quarters[:, None], exponents).ravel()
    high = np.repeat(np.concatenate([high, -high]), 9)
    low = np.tile([0, 0.5, -0.5, 0.25, -0.25, 0.3, -0.1, 2.0**-40, -(2.0**-40)], high.size // 9) * np.spacing(high)
    x = DoubleDouble(*two_sum(high, low))
    found = to_format(x, format)
    assert found.dtype == format.dtype
    expected = zip(exact(x), x.high.tolist(), strict=True)
    assert is_same(found, [nearest(number, format) if number else zero for number, zero in expected])


@pytest.mark.parametrize("format", FORMATS.values(), ids=FORMATS)
def test_zeros_infinities_and_nan_are_rounded_to_themselves(format, is_same):
    special = [0.0, -0.0, math.inf, -math.inf, math.nan, 1.0]
    out = np.empty(6, format.dtype)
    assert to_format(from_double(np.array(special)), format, out) is out
    assert is_same(out, special)
    assert to_format(from_double(1.5), format).shape == ()


@pytest.mark.parametrize("far", [False, True])
def test_error_free_sums_and_products_are_exact(far):
    x, y = random_pairs(7, 400 if far else 2).high, random_pairs(8, 400 if far else 2).high
    for rounded, transformed in ((x + y, two_sum(x, y)), (x * y, two_product(x, y))):
        assert (transformed[0] == rounded).all()
    assert exact(DoubleDouble(*two_sum(x, y))) == [Fraction(a) + Fraction(b) for a, b in zip(x, y, strict=True)]
    assert exact(DoubleDouble(*two_product(x, y))) == [Fraction(a) * Fraction(b) for a, b in zip(x, y, strict=True)]


def test_rounding_to_odd_takes_the_odd_neighbour_or_nothing():
    last = 2.0**-52
    total = np.array([1.0, 1.0, 1.0, 1 + last, 1 + last, -1.0, -1.0, 2.0, 0.0, math.inf, 5e-324])
    error = np.array([0.0, 1.0, -1.0, 1.0, -1.0, 1.0, -1.0, -1.0, 0.0, math.nan, 0.0]) * last / 8
    odd = [1.0, 1 + last, 1 - last / 2, 1 + last, 1 + last, -1 + last / 2, -1 - last, 2 - last, 0.0, math.inf, 5e-324]
    assert round_to_odd(total, error).tolist() == odd
