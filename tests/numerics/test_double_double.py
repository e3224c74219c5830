"""Double-double arithmetic against exact fractions, within the bounds it claims, and against a slow obvious version."""

from __future__ import annotations

import math
import operator
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parity.numerics import double_double
from parity.numerics.double_double import DoubleDouble, from_double

sys.path.append(str(Path(__file__).parent))
from error_free import fast_two_sum, round_to_odd, two_product, two_sum

U = Fraction(1, 2**53)
ADD, MULTIPLY, DIVIDE, ROOT = 3 * U**2 / (1 - 4 * U), 7 * U**2, 15 * U**2 + 56 * U**3, Fraction(25, 8) * U**2
SIZE = 4000


def elementwise(name):
    """A compiled function on arrays of pairs."""
    function = getattr(double_double, name)

    def on_arrays(*operands):
        sides = [
            part for one in operands for part in ((one.high, one.low) if isinstance(one, DoubleDouble) else (one,))
        ]
        pairs = [function(*map(float, each)) for each in zip(*map(np.ravel, np.broadcast_arrays(*sides)), strict=True)]
        return DoubleDouble(*np.array(pairs, np.float64).reshape(-1, 2).T)

    return on_arrays


add, multiply, divide, root = map(elementwise, ("add", "multiply", "divide", "square_root"))


def subtract(x, y):
    return add(x, DoubleDouble(-y.high, -y.low))


def slow_product(a, b):
    """The product, and the exact rest rounded once; NaN where there is none."""
    with np.errstate(all="ignore"):
        product = np.float64(a) * np.float64(b)
    if not np.isfinite(product) or not (np.isfinite(a) and np.isfinite(b)):
        return product, np.float64(math.nan)
    return product, np.float64(float(Fraction(a) * Fraction(b) - Fraction(product)))


def slow_sum(a, b):
    total = a + b
    return total, (a - (total - (total - a))) + (b - (total - a))


def slow_settled(high, low, plain, exact=True):
    replaced = not (np.isfinite(high) and np.isfinite(low) and exact) or (high == 0 and plain == 0)
    return (plain, 0.0) if replaced else (high, low)


def slow_add(x, y):
    total, error = slow_sum(x[0], y[0])
    low, low_error = slow_sum(x[1], y[1])
    total, error = fast_two_sum(total, error + low)
    return slow_settled(*fast_two_sum(total, low_error + error), x[0] + y[0])


def slow_multiply(x, y):
    product, error = slow_product(x[0], y[0])
    pair = fast_two_sum(product, error + (x[0] * y[1] + x[1] * y[0]))
    return slow_settled(*pair, product, abs(product) >= 2.0**-960)


def slow_divide(x, y):
    quotient = x[0] / y[0]
    product, error = slow_product(y[0], quotient)
    product, low = fast_two_sum(product, y[1] * quotient)
    product, low = fast_two_sum(product, low + error)
    pair = fast_two_sum(quotient, ((x[0] - product) + (x[1] - low)) / y[0])
    return slow_settled(*pair, quotient, abs(x[0]) >= 2.0**-960)


def slow_root(x):
    found = np.sqrt(x[0])
    square, error = slow_product(found, found)
    pair = fast_two_sum(found, (((x[0] - square) - error) + x[1]) / (2 * found))
    return slow_settled(*pair, found, abs(x[0]) >= 2.0**-960)


def slow_maximum(x, y):
    if any(map(math.isnan, (x[0], y[0]))):
        return x if math.isnan(x[0]) else y
    return max(x, y)


def slow_larger(x, y):
    return y if x < y else x


SLOW = {"add": slow_add, "multiply": slow_multiply, "divide": slow_divide, "square_root": slow_root,
        "maximum": slow_maximum, "larger": slow_larger}  # fmt: skip

# By bits, so that subnormals, huge numbers, and NaN are as frequent as all others; and numbers of one size.
DOUBLES = st.one_of(
    st.integers(0, 2**64 - 1).map(lambda bits: float(np.uint64(bits).view(np.float64))),
    st.sampled_from([0.0, -0.0, math.inf, -math.inf, math.nan, 5e-324, -(2.0**-1022), 1.7e308, 2.0**-961, 1.0, -1.0]),
    st.floats(-4, 4),
    st.floats(2.0**-500, 2.0**-470),
)


@st.composite
def pairs(draw):
    """Doubles with a low part from half a last place down to nothing."""
    high = draw(DOUBLES)
    if not math.isfinite(high):
        return high, 0.0
    low = draw(st.floats(-0.5, 0.5)) * math.ulp(high) * draw(st.sampled_from([0.0, 1.0, 2.0**-30]))
    total = high + low
    return (total, low - (total - high)) if math.isfinite(total) else (high, 0.0)


@pytest.mark.parametrize("name", SLOW)
@settings(deadline=None)
@given(x=pairs(), y=pairs())
def test_every_bit_is_that_of_the_slow_version(name, x, y):
    operands = (x,) if name == "square_root" else (x, y)
    found = getattr(double_double, name)(*(part for one in operands for part in one))
    with np.errstate(all="ignore"):
        expected = SLOW[name](*((np.float64(high), np.float64(low)) for high, low in operands))
    for one, other in zip(found, map(float, expected), strict=True):
        assert math.isnan(one) if math.isnan(other) else one.hex() == other.hex()


@settings(deadline=None)
@given(st.floats(0.5, 1), st.integers(0, 5000))
def test_powers_are_products(base, count):
    expected = (1.0, 0.0)
    square = (np.float64(base), np.float64(0))
    with np.errstate(all="ignore"):
        for place in range(count.bit_length()):
            if count >> place & 1:
                expected = slow_multiply(tuple(map(np.float64, expected)), square)
            square = slow_multiply(square, square)
    assert double_double.power(base, 0.0, float(count)) == tuple(map(float, expected))
    exact_power = Fraction(base) ** min(count, 40)
    high, low = double_double.power(base, 0.0, float(min(count, 40)))
    assert abs(Fraction(high) + Fraction(low) - exact_power) <= 14 * 7 * U**2 * exact_power


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
    pytest.param(add, operator.add, ADD, id="add"),
    pytest.param(subtract, operator.sub, ADD, id="subtract"),
    pytest.param(multiply, operator.mul, MULTIPLY, id="multiply"),
    pytest.param(divide, operator.truediv, DIVIDE, id="divide"),
]


@pytest.mark.parametrize(("operation", "exactly", "bound"), OPERATIONS)
@pytest.mark.parametrize("reach", [1, 4, 60, 230])
def test_errors_are_within_the_bounds_claimed(operation, exactly, bound, reach):
    x, y = random_pairs(1, reach), random_pairs(2, reach)
    error = worst(operation(x, y), [exactly(a, b) for a, b in zip(exact(x), exact(y), strict=True)])
    assert bound / 1000 < error <= bound


def test_cancellation_costs_nothing():
    x = random_pairs(3)
    nudge = np.spacing(x.high) * np.random.default_rng(4).integers(-3, 4, SIZE)
    y = DoubleDouble(*two_sum(x.high + nudge, -x.low / 3))
    assert worst(subtract(x, y), [a - b for a, b in zip(exact(x), exact(y), strict=True)]) <= ADD
    assert not subtract(x, x).high.any()


@pytest.mark.parametrize("reach", [1, 60, 900])
def test_square_roots_are_within_the_bound_claimed(reach):
    x = random_pairs(5, reach)
    x = DoubleDouble(np.abs(x.high), x.low * np.sign(x.high))
    # A root to 400 bits; the error of the reference is far below u**2.
    expected = [Fraction(math.isqrt(int(value * 4**1400)), 2**1400) for value in exact(x)]
    assert ROOT / 1000 < worst(root(x), expected) <= ROOT


def test_errors_of_a_formula_add_up_to_little():
    grads = from_double(np.array([1e-20, -3.5, 1e-38, 2.0**-149, 1e10]))
    v = multiply(multiply(grads, grads), from_double(0.001))
    update = divide(multiply(from_double(0.25), grads), add(root(v), from_double(1e-8)))
    for grad, found in zip(grads.high.tolist(), exact(update), strict=True):
        square = Fraction(grad) ** 2 * Fraction(0.001)
        rooted = Fraction(math.isqrt(int(square * 4**700)), 2**700)
        wanted = Fraction(0.25) * Fraction(grad) / (rooted + Fraction(1e-8))
        assert abs(found / wanted - 1) < 60 * U**2


def test_widening_is_exact_and_a_float_is_a_shape_of_its_own():
    assert from_double(np.array([0.1], np.float32)).high.tolist() == [float(np.float32(0.1))]
    assert from_double(1.5).high.shape == from_double(1.5).low.shape == ()


@pytest.mark.parametrize(
    ("operation", "plainly"),
    [(add, operator.add), (subtract, operator.sub), (multiply, operator.mul), (divide, operator.truediv)],
)
def test_infinities_nan_and_zeros_are_what_doubles_give(operation, plainly, is_same):
    special = [0.0, -0.0, 1.0, -1.5, math.inf, -math.inf, math.nan, 1.7e308, -1.7e308, 5e-324]
    x, y = (side.ravel() for side in np.meshgrid(special, special))
    with np.errstate(all="ignore"):
        expected = plainly(x, y)
    found = operation(from_double(x), from_double(y))
    plain = ~np.isfinite(expected) | (expected == 0)
    assert plain.sum() > 50
    assert is_same(found.high[plain], expected[plain].tolist())
    assert not found.low[plain].any()
    assert np.isfinite(found.high[~plain]).all()


def test_square_roots_of_infinity_zeros_and_less(is_same):
    found = root(from_double(np.array([math.inf, 0.0, -0.0, -1.0, math.nan, 5e-324])))
    assert is_same(found.high, [math.inf, 0.0, -0.0, math.nan, math.nan, math.sqrt(5e-324)])
    assert not found.low.any()


def test_a_low_part_does_not_outlive_an_infinite_high_one():
    x = DoubleDouble(np.array([1e308]), np.array([1e290]))
    infinity = from_double(np.array([math.inf]))
    for infinite in (multiply(x, from_double(10.0)), add(x, x), multiply(x, x), divide(x, from_double(1e-10)),
                     multiply(x, infinity)):  # fmt: skip
        assert (infinite.high, infinite.low) == (math.inf, 0)
    ratio = divide(x, infinity)
    assert (ratio.high, ratio.low) == (0, 0)


@pytest.mark.parametrize(("operation", "plainly"), [(multiply, operator.mul), (divide, operator.truediv)])
def test_below_the_safe_range_a_result_is_that_of_doubles(operation, plainly):
    x = DoubleDouble(np.ldexp([1.3, 1.7], -970), np.ldexp([1.1, -1.9], -1030))
    y = DoubleDouble(np.array([1.1, 0.7]), np.ldexp([1.3, 1.0], -60))
    found = operation(x, y)
    assert found.high.tolist() == plainly(x.high, y.high).tolist()
    assert not found.low.any()


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
