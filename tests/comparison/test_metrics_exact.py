"""All metrics of a pair against exact integers and fractions."""

from __future__ import annotations

import math
from dataclasses import fields
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parity.comparison.metrics import Metrics, measure
from parity.numerics.formats import FORMATS, Format, from_bits, to_bits
from parity.numerics.ulp import NO_DISTANCE

every_format = pytest.mark.parametrize("format", FORMATS.values(), ids=FORMATS)
CLOSE = {"max_rel": 2.0**-51, "rms_abs": 1e-13}
"""max_rel is rounded twice (difference, quotient), the root mean square once an element."""


def to_float(number: Fraction) -> float:
    try:
        return float(number)
    except OverflowError:
        return math.inf


def root(number: Fraction) -> float:
    """Square root of a fraction of any size, to about 100 bits before it is rounded."""
    shift = 2 * ((number.denominator.bit_length() - number.numerator.bit_length()) // 2 + 110)
    scaled = number * Fraction(2) ** shift
    return to_float(Fraction(math.isqrt(scaled.numerator // scaled.denominator)) / Fraction(2) ** (shift // 2))


def exact(actual: np.ndarray, expected: np.ndarray, format: Format) -> dict[str, int | float]:
    """The metrics of one row, straight from their definitions, without floating-point arithmetic."""
    infinity, sign, precision = format.infinity_bits, format.sign_bit, format.precision
    bias = (1 << (format.exponent_bits - 1)) - 2 + precision

    def number(word: int) -> Fraction:
        exponent, significand = divmod(word & (sign - 1), 1 << (precision - 1))
        if exponent:
            significand += 1 << (precision - 1)
        magnitude = significand * Fraction(2) ** (max(exponent, 1) - bias)
        return -magnitude if word & sign else magnitude

    distances, gaps, quotients, nonfinite, opposite = [], [], [], 0, 0
    mismatch = False
    for left, right in zip(to_bits(actual).tolist(), to_bits(expected).tolist(), strict=True):
        low, high = sorted((left & (sign - 1), right & (sign - 1)))
        if high >= infinity:
            nonfinite += 1
            same = left == right or low > infinity
            mismatch |= not same
            distances.append(0 if same else NO_DISTANCE)
            quotients.append(Fraction(0) if same else None)
            continue
        opposite += high == 0 and left != right
        gap = abs(number(left) - number(right))
        distances.append(low + high if (left ^ right) & sign else high - low)
        gaps.append(gap)
        zero = number(right) == 0
        quotients.append(Fraction(0) if gap == 0 else None if zero else gap / abs(number(right)))
    size = len(distances)
    top = max(distances, default=0)
    return {
        "elements": size,
        "differing": sum(distance > 0 for distance in distances),
        "max_abs": math.inf if mismatch else to_float(max(gaps, default=Fraction(0))),
        "max_rel": math.inf if None in quotients else to_float(max(quotients, default=Fraction(0))),
        "max_ulp": top,
        "p99_ulp": sorted(distances)[-(-99 * size // 100) - 1] if size else 0,
        "rms_abs": math.inf if mismatch else root(sum(gap * gap for gap in gaps) / size) if any(gaps) else 0.0,
        "worst_index": distances.index(top) if top else -1,
        "nonfinite": nonfinite,
        "opposite_zeros": opposite,
    }


def check(metrics: Metrics, actual: np.ndarray, expected: np.ndarray, format: Format) -> None:
    for row in range(len(actual)):
        for name, value in exact(actual[row], expected[row], format).items():
            found = getattr(metrics, name)[row]
            if name in CLOSE and math.isfinite(value):
                assert abs(Fraction(float(found)) - Fraction(value)) <= max(
                    Fraction(value) * Fraction(CLOSE[name]), Fraction(2) ** -1074
                ), name
            else:
                assert found == value, name


def same(left: Metrics, right: Metrics) -> None:
    for field in fields(Metrics):
        assert np.array_equal(getattr(left, field.name), getattr(right, field.name)), field.name


def neighbours(format: Format, shape: tuple[int, int], seed: int, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Numbers over many decades with both signs, and numbers a few ULPs from them."""
    random = np.random.default_rng(seed)
    values = random.standard_normal(shape) * 10.0 ** random.integers(-4, 4, shape)
    expected = values.astype(format.dtype)
    offset = random.integers(-steps, steps + 1, shape).astype(format.signed)
    actual = from_bits((to_bits(expected).view(format.signed) + offset).view(format.unsigned), format)
    return actual, expected


def words_of(format: Format) -> st.SearchStrategy[int]:
    """Bits: anything at all, with a leaning to zeros, subnormals, infinities and their neighbours."""
    inner = (0, 1 << (format.precision - 1), format.infinity_bits)
    edges = [edge + offset for edge in inner for offset in range(-2, 3) if edge + offset >= 0]
    magnitudes = st.one_of(st.sampled_from(edges), st.integers(0, format.sign_bit - 1))
    return st.builds(lambda magnitude, sign: magnitude | sign * format.sign_bit, magnitudes, st.integers(0, 1))


@st.composite
def rows_of(draw, format):
    """Pairs of rows: unrelated, or a few steps apart, finite or not."""
    shape = draw(st.integers(1, 3)), draw(st.sampled_from([1, 2, 3, 7, 49, 64]))
    count = shape[0] * shape[1]
    pool = draw(st.lists(words_of(format), min_size=1, max_size=8))
    if draw(st.booleans()):
        pool = [word for word in pool if word & (format.sign_bit - 1) < format.infinity_bits] or [1]
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    expected = random.choice(np.array(pool, format.unsigned), count)
    actual = expected.copy()
    if draw(st.booleans()):
        actual = random.choice(np.array(pool, format.unsigned), count)
    step = draw(st.sampled_from([0, 1, 3, 100]))
    actual += random.integers(0, step + 1, count).astype(format.unsigned)
    return tuple(from_bits(side.reshape(shape), format) for side in (actual, expected))


@every_format
@settings(derandomize=True, deadline=None, max_examples=250)
@given(st.data())
def test_any_rows_have_exact_metrics(format, data):
    actual, expected = data.draw(rows_of(format))
    check(measure(actual, expected), actual, expected, format)


@every_format
@pytest.mark.parametrize("size", [1, 3, 7, 48, 49, 99, 100, 101, 199, 200, 201, 1025])
@pytest.mark.parametrize("steps", [1, 40, 3000])
def test_near_rows_have_exact_metrics(format, size, steps):
    actual, expected = neighbours(format, (3, size), size, steps)
    check(measure(actual, expected), actual, expected, format)


@every_format
@pytest.mark.parametrize("rows", [1, 40])
@pytest.mark.parametrize("size", [7, 120])
def test_one_strange_pair_among_near_ones_is_measured_exactly(format, rows, size):
    infinity, sign = format.infinity_bits, format.sign_bit
    strange = [
        (0, sign),
        (sign | 1, 1),
        (infinity - 1, sign | (infinity - 1)),
        (infinity, infinity - 1),
        (infinity, infinity | sign),
        (infinity, infinity),
        (infinity + 1, sign - 1),
        (infinity + 1, infinity),
        (infinity + 1, 0),
        (0, infinity + 1),
        (2 * sign - 1, sign),
        (1, 0),
        (0, 1),
        (0, 0),
        (sign, sign),
        (infinity - 1, infinity - 2),
        (infinity - 1, 1),
        (1, infinity - 1),
    ]
    for left, right in strange:
        actual, expected = neighbours(format, (rows, size), 5, 2)
        to_bits(actual)[rows // 2, size // 3] = left
        to_bits(expected)[rows // 2, size // 3] = right
        check(measure(actual, expected), actual, expected, format)


@every_format
def test_an_empty_row_has_no_elements_and_no_worst(format):
    empty = np.zeros((2, 0), format.dtype)
    metrics = measure(empty, empty)
    check(metrics, empty, empty, format)
    assert metrics.worst_index.tolist() == [-1, -1]
    assert all(len(getattr(measure(empty[:0], empty[:0]), field.name)) == 0 for field in fields(Metrics))


@pytest.mark.parametrize("scale", [5e-324, 1e-310, 1e-300, 1e-160, 1e160, 1e300, 1.7e308])
def test_squares_of_tiny_and_huge_differences_neither_vanish_nor_overflow(scale):
    expected = np.array([[1.0, -1.0, 0.25, 0.0]]) * scale
    for actual in (expected[:, ::-1].copy(), -expected, np.nextafter(expected, np.inf)):
        check(measure(actual, expected), actual, expected, FORMATS["float64"])


def test_rows_of_different_scale_do_not_disturb_each_other():
    expected = 10.0 ** np.arange(-300, 301, 50)[:, None] * np.linspace(1, 2, 60)
    actual = np.nextafter(expected, 0)
    check(measure(actual, expected), actual, expected, FORMATS["float64"])


@every_format
@pytest.mark.parametrize("differing", [0, 1, 2, 3, 4])
@pytest.mark.parametrize("size", [99, 100, 101, 299, 300, 301])
def test_the_99th_percentile_is_an_exact_order_statistic_at_its_edge(format, size, differing):
    expected = np.ones((3, size), format.dtype)
    actual = expected.copy()
    to_bits(actual)[0, :differing] += 1
    to_bits(actual)[1, :differing] += np.arange(differing, dtype=format.unsigned) + format.unsigned.type(2)
    to_bits(actual)[2, :differing] += np.arange(differing, dtype=format.unsigned) + format.unsigned.type(300)
    check(measure(actual, expected), actual, expected, format)


@every_format
def test_a_column_slice_of_a_wider_array_is_measured_in_place(format):
    for size in (3, 70, 2000):
        actual, expected = neighbours(format, (11, size + 20), size, 3)
        place = slice(9, 9 + size)
        same(
            measure(actual[:, place], expected[:, place]),
            measure(actual[:, place].copy(), expected[:, place].copy()),
        )
        same(measure(actual[:, ::2], expected[:, ::2]), measure(actual[:, ::2].copy(), expected[:, ::2].copy()))


def test_arrays_cannot_be_written_to():
    metrics = measure(np.zeros((1, 1)), np.zeros((1, 1)))
    assert not any(getattr(metrics, field.name).flags.writeable for field in fields(Metrics))


@pytest.mark.parametrize(
    ("expected", "message"),
    [
        (np.zeros((1, 3), np.float32), "shape"),
        (np.zeros((2, 1), np.float32), "shape"),
        (np.zeros((3, 2), np.float32), "shape"),
        (np.zeros((2, 3), np.float64), "dtype"),
        (np.zeros((2, 3), np.float16), "dtype"),
    ],
)
def test_unequal_shapes_and_dtypes_are_refused_and_never_broadcast(expected, message):
    with pytest.raises(ValueError, match=message) as caught:
        measure(np.zeros((2, 3), np.float32), expected)
    assert "\n" not in str(caught.value)


def test_a_flat_array_is_refused():
    with pytest.raises(ValueError, match="rows"):
        measure(np.zeros(3), np.zeros(3))


@every_format
def test_many_short_rows_over_several_tiles(format):
    actual, expected = neighbours(format, (60_000, 7), 1, 2)
    metrics = measure(actual, expected)
    picked = np.r_[0:3, 18_723:18_726, 37_447:37_450, 59_997:60_000]
    some = Metrics(**{field.name: getattr(metrics, field.name)[picked] for field in fields(Metrics)})
    check(some, actual[picked], expected[picked], format)
