"""fma against exact fractions: the instruction and its emulation, which is the reference of the compiled step."""

from __future__ import annotations

import itertools
import math
import sys
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parity.core.errors import ParityError
from parity.numerics.formats import FORMATS, Format, from_bits
from parity.numerics.jit import compiled
from parity.numerics.jit import fma as instruction

sys.path.append(str(Path(__file__).parent))
import emulated_fma as fma_module
from emulated_fma import fma

every_format = pytest.mark.parametrize("format", FORMATS.values(), ids=FORMATS)
Row = tuple[float, float, float]


@compiled
def contract(a, b, c, out):
    for place in range(out.size):
        out[place] = instruction(a[place], b[place], c[place])


@pytest.fixture(scope="session")
def exact_fma(nearest):
    def of(row: Row, format: Format) -> float:
        a, b, c = row
        sign = math.copysign(1.0, a) * math.copysign(1.0, b)
        if not (math.isfinite(a) and math.isfinite(b)):
            return a * b + c
        if not math.isfinite(c):
            return c
        number = Fraction(a) * Fraction(b) + Fraction(c)
        if number:
            return nearest(number, format)
        return -0.0 if sign < 0 and math.copysign(1.0, c) < 0 and (a == 0 or b == 0) else 0.0

    return of


@pytest.fixture(scope="session")
def check(exact_fma, is_same):
    def rows_are_exact(rows: list[Row], format: Format) -> None:
        with np.errstate(over="ignore", invalid="ignore"):
            operands = np.array(rows, np.float64).reshape(-1, 3).astype(format.dtype)
        found = [fma(*operands.T)]
        assert found[0].dtype == format.dtype
        if format.dtype.itemsize > 2:
            found.append(np.empty(len(operands), format.dtype))
            contract(*np.ascontiguousarray(operands.T), found[1])
        for row, *values in zip(operands.astype(np.float64).tolist(), *found, strict=True):
            for value in values:
                assert is_same(value.reshape(1), [exact_fma(row, format)]), (row, value)

    return rows_are_exact


def limits(format: Format) -> tuple[float, float, float, float]:
    """Smallest subnormal, smallest normal and greatest number, and the spacing at 1."""
    emax = (1 << (format.exponent_bits - 1)) - 1
    spacing = 2.0 ** (1 - format.precision)
    return 2.0 ** (1 - emax) * spacing, 2.0 ** (1 - emax), (2.0 - spacing) * 2.0**emax, spacing


def signs(rows: list[Row]) -> list[Row]:
    return [(x * a, y * b, z * c) for a, b, c in rows for x, y, z in itertools.product((1.0, -1.0), repeat=3)]


@every_format
def test_half_way_and_one_bit_beside(format, check):
    smallest, normal, _, spacing = limits(format)
    half = spacing / 2
    bits = (1.0, 1.0 + spacing, 2.0 - spacing, 1.0 + 2 * spacing)
    # The half comes from the product, and then the addend is the bit that decides, at any distance; or the other way.
    tiny = [0.0, smallest, normal, half * spacing, half * spacing / 4, spacing**3, spacing**2]
    rows = [(1.0 + spacing, 1.0 + half * 2**shift, low) for shift in range(1, format.precision) for low in tiny]
    rows += [(big, half, low) for big in bits for low in tiny]
    rows += [(a, half, b) for a in bits for b in bits]
    rows += [(a, half * (1 + spacing), b) for a in bits for b in bits]
    rows += [(a, half * (1 - half), b) for a in bits for b in bits]
    check(signs(rows), format)


@every_format
def test_a_tie_that_only_the_last_bit_of_the_product_decides(format, check):
    _, _, _, spacing = limits(format)
    # (1 + s)(1 - s) = 1 - s**2 and (1 + s)**2 = 1 + 2s + s**2, scaled to half a unit of the addend.
    factors = [(1 + spacing, 1 - spacing), (1 + spacing, 1 + spacing), (1 - spacing, 1 - spacing), (1.5, 1.0)]
    half = spacing / 2
    check(signs([(a * half, b, c) for a, b in factors for c in (1.0, 1 + spacing, 2 - spacing)]), format)


@every_format
def test_an_addend_far_below_a_product_half_way(format, check):
    smallest, _, _, spacing = limits(format)
    # 3 * (odd) = a number of precision + 1 bits that ends in 1: half way.
    count = 1 << format.precision
    odd = [n for n in range(count // 3 | 1, count // 3 + 40, 2) if count < 3 * n < 2 * count]
    assert len(odd) > 10
    scale = 2.0 ** -(format.precision - 1)
    rows = [(3.0, n * scale / 2, low) for n in odd for low in (0.0, smallest, smallest * 3, spacing**2)]
    check(signs(rows), format)


@every_format
def test_subnormal_results(format, check):
    smallest, normal, _, spacing = limits(format)
    root = 2.0 ** (math.frexp(smallest)[1] // 2)
    tiny = [smallest * k for k in (0, 1, 2, 3, 5, 1 / spacing - 1, 1 / spacing, 1 / spacing + 1)]
    factors = [root * f for f in (0.5, 0.75, 1.0, 1.25, 1 + spacing, 1 - spacing / 2, 1.5, 3.0)]
    rows = [(a, b, c) for a in factors for b in factors for c in tiny]
    rows += [(normal, 1 - spacing / 2, c) for c in tiny] + [(normal, 1 - spacing, c) for c in tiny]
    rows += [(smallest, f, c) for f in (0.25, 0.5, 0.5 + spacing / 2, 0.75, 1.5, 2.5, spacing) for c in tiny]
    rows += [(a, b, c) for a in (smallest, normal) for b in (smallest, normal) for c in tiny]
    check(signs(rows), format)


@every_format
def test_a_tie_between_subnormal_numbers_that_only_the_last_bit_of_the_product_decides(format, check):
    smallest, _, _, spacing = limits(format)
    factors = [(1 + spacing, 1 - spacing), (1 + spacing, 1 + spacing), (1 - spacing, 1 - spacing), (1.0, 1.0)]
    place = math.frexp(smallest)[1] - 2
    low, high = 2.0 ** (place // 2), 2.0 ** (place - place // 2)
    addends = [smallest * (whole + k) for whole in (0, 0.25 / spacing, 0.5 / spacing) for k in range(4)]
    check(signs([(a * low, b * high, c) for a, b in factors for c in addends]), format)


def test_doubles_that_cancel_where_the_error_of_the_product_underflows(check):
    random = np.random.default_rng(13)
    a, b = random.uniform(1, 2, (2, 2000))
    a, b = np.ldexp(a, random.integers(-600, -450, 2000)), np.ldexp(b, -500)
    near = np.spacing(a * b) * random.integers(-1, 2, 2000)
    check(np.stack([a, b, near - a * b], axis=1).tolist(), FORMATS["float64"])


@every_format
def test_a_product_that_underflows_decides_a_tie_and_cancels(format, check):
    smallest, normal, greatest, spacing = limits(format)
    rows = [(smallest, smallest, c) for c in (0.0, smallest, normal, 1.0, greatest)]
    rows += [(smallest, 0.5, smallest), (smallest, 0.5, 0.0), (smallest, 1.5, smallest), (smallest, 1.0, smallest)]
    rows += [(normal, 1 + spacing, normal), (normal * 2, spacing / 2, normal), (normal, spacing / 2, normal)]
    check(signs(rows), format)


@every_format
def test_overflow_borders(format, check):
    smallest, _, greatest, spacing = limits(format)
    unit = greatest - np.nextafter(greatest, 0) if format.name == "float64" else greatest / (2 / spacing - 1)
    rows = [(greatest, 1.0, c) for c in (0.0, smallest, unit / 4, unit / 2, unit / 2 * (1 - spacing / 2), unit)]
    rows += [(unit, 0.5, greatest), (unit * (1 - spacing / 2), 0.5, greatest), (unit / 2, 1 + spacing, greatest)]
    rows += [(greatest, a, greatest) for a in (0.5, 1.0, 2.0, spacing / 2, spacing, 1 + spacing, greatest)]
    rows += [(greatest, 1 + spacing, greatest), (greatest, 2.0 - spacing, greatest), (smallest, greatest, greatest)]
    rows += [(greatest, 1.5, greatest / 2), (greatest / 2, 2 + 2 * spacing, unit * 2)]
    check(signs(rows), format)


@every_format
def test_cancellation(format, check):
    _, _, _, spacing = limits(format)
    bits = [1.0, 1 + spacing, 1 + 3 * spacing, 2 - spacing, 1.5, 1 - spacing / 2]
    products = [(a, b, float(np.array(a * b).astype(format.dtype).astype(np.float64))) for a in bits for b in bits]
    check(signs([(a, b, c + near) for a, b, c in products for near in (0.0, 2 * spacing, -2 * spacing)]), format)


@every_format
def test_zeros_infinities_and_nan(format, check):
    smallest, normal, greatest, _ = limits(format)
    special = [0.0, smallest, normal, 1.0, greatest, math.inf, math.nan]
    check(signs(list(itertools.product(special, repeat=3))), format)


@every_format
def test_nan_of_any_payload_stays_nan(format):
    words = np.array([format.infinity_bits + 1, format.sign_bit - 1, 2 * format.sign_bit - 1], format.unsigned)
    nan, one = from_bits(words, format), np.ones(3, format.dtype)
    for operands in itertools.product((nan, one, one * 0, one / 3), repeat=3):
        if any(operand is nan for operand in operands):
            assert np.isnan(fma(*operands).astype(np.float64)).all()


def random_rows(format: Format, count: int) -> list[Row]:
    """Any bits, half of them with few significant ones, and addends near the product or near half its last place."""
    random = np.random.default_rng(20240 + format.precision)
    mask = 2 * format.sign_bit - 1
    words = random.integers(0, mask, (3, count), np.uint64, endpoint=True)
    drop = (random.integers(0, format.precision, words.shape) * random.integers(0, 2, words.shape)).astype(np.uint64)
    a, b, c = from_bits((words >> drop << drop).astype(format.unsigned), format)
    with np.errstate(all="ignore"):
        product = a.astype(np.float64) * b.astype(np.float64)
        places = random.integers(-2 * format.precision, 2 * format.precision, count)
        near = np.where(random.integers(0, 3, count) > 0, np.ldexp(product, places), -product)
        c = np.where(random.integers(0, 3, count) > 0, near.astype(format.dtype), c)
        return list(zip(*(x.astype(np.float64).tolist() for x in (a, b, c)), strict=True))


@every_format
def test_random_bits_of_all_exponents(format, check):
    check(random_rows(format, 8_000), format)


@every_format
def test_random_numbers_of_middling_exponents(format, check):
    random = np.random.default_rng(7)
    check(np.ldexp(random.standard_normal((3_000, 3)), random.integers(-10, 10, (3_000, 3))).tolist(), format)


@every_format
@settings(derandomize=True, deadline=None, max_examples=200)
@given(st.lists(st.tuples(st.integers(0), st.integers(0), st.integers(0)), max_size=5))
def test_any_bits(format, check, words):
    mask = 2 * format.sign_bit - 1
    bits = np.array([[word & mask for word in row] for row in words], format.unsigned).reshape(-1, 3)
    with np.errstate(invalid="ignore"):
        check(from_bits(bits, format).astype(np.float64).tolist(), format)


def operands(format: Format, size: int) -> np.ndarray:
    scales = 2.0 ** (np.arange(size) % 16 - 8)
    return (np.random.default_rng(3).standard_normal((3, size)) * scales).astype(format.dtype)


@every_format
def test_blocks_and_threads_change_nothing(format):
    size = 2 * fma_module._NARROW_BLOCK + 5
    a, b, c = operands(format, size)
    pieces = np.concatenate([fma(a[i : i + 777], b[i : i + 777], c[i : i + 777]) for i in range(0, size, 777)])
    with ThreadPoolExecutor(2) as pool:
        for whole in pool.map(lambda _: fma(a, b, c), range(4)):
            assert whole.tobytes() == pieces.tobytes()


@every_format
@pytest.mark.parametrize("place", [0, 1, 2])
def test_out_may_be_an_operand(format, place):
    inputs = operands(format, fma_module._NARROW_BLOCK + 5)
    # Ties that are repaired after others have been written.
    inputs[:, ::3] = np.array([3.0, 0.5, 2.0**-(format.precision)])[:, None].astype(format.dtype)
    expected = fma(*inputs)
    copies = inputs.copy()
    assert fma(*copies, out=copies[place]) is not None
    assert copies[place].tobytes() == expected.tobytes()


@every_format
def test_out_may_overlap_an_operand(format):
    memory = operands(format, 2 * fma_module._NARROW_BLOCK)[0]
    expected = fma(memory[:-1].copy(), memory[1:].copy(), memory[:-1].copy())
    assert fma(memory[:-1], memory[1:], memory[:-1], out=memory[1:]).tobytes() == expected.tobytes()


@every_format
def test_scalars_broadcasting_and_strides(format):
    a, b, c = operands(format, 60)
    one = a[7]
    full = np.full(60, one)
    assert fma(one, b, c).tobytes() == fma(full, b, c).tobytes()
    assert fma(a, one, c).tobytes() == fma(a, full, c).tobytes()
    assert fma(a, b, one).tobytes() == fma(a, b, full).tobytes()
    assert fma(one, one, c).tobytes() == fma(full, full, c).tobytes()
    assert fma(one, one, one).shape == ()
    assert fma(one, one, one).tobytes() == fma(full, full, full)[:1].tobytes()
    rows = a.reshape(6, 10)
    expected = fma(np.repeat(a[:6], 10), np.tile(b[:10], 6), a).reshape(6, 10)
    assert (fma(a[:6, None], b[:10], rows) == expected).all()
    assert (fma(a[:6, None], b[:10], rows.copy(order="F")) == expected).all()
    assert fma(a[::2], b[::-2], c[1::2]).tobytes() == fma(a[::2].copy(), b[::-2].copy(), c[1::2].copy()).tobytes()
    assert fma(a[:0], b[:0], c[:0]).shape == (0,)


def test_dtypes_must_be_the_same():
    one = np.ones(2, np.float32)
    with pytest.raises(ParityError, match="fma of float32, float64, float32, float32: dtypes differ"):
        fma(one, one.astype(np.float64), one)
    with pytest.raises(ParityError, match="dtypes differ"):
        fma(one, one, one, out=np.empty(2, ml_dtypes.bfloat16))


@pytest.mark.parametrize("name", FORMATS)
def test_scratch_memory_does_not_grow_with_the_arrays(name):
    a = np.zeros(3_000_000, FORMATS[name].dtype)
    tracemalloc.start()
    try:
        fma(a, a, a, out=a)
        assert tracemalloc.get_traced_memory()[1] < 3_000_000
    finally:
        tracemalloc.stop()
