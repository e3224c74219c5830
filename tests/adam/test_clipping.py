"""Clipping and its norms, bit for bit those of a slow obvious version, and the exact one to 2**-95."""

from __future__ import annotations

import math
from decimal import Decimal, localcontext
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from parity.adam.clipping import clip, clip_exactly
from parity.adam.convention import ClipFactor
from parity.adam.forms import Clipping, Reduction
from parity.core.layout import Layout, Parameter
from parity.core.stages import Clip, ClipBy
from parity.numerics.double_double import DoubleDouble
from parity.numerics.formats import FORMATS, Format, format_of, to_bits

SMALLEST_EXACT = Fraction(2) ** -960

each_dtype = pytest.mark.parametrize("format", FORMATS.values(), ids=list(FORMATS))


def nearest(value: Fraction, format: Format) -> float:
    """A number of at least 0, rounded once to a format, ties to even."""
    if value == 0:
        return 0.0
    exponent = value.numerator.bit_length() - value.denominator.bit_length()
    exponent -= value < Fraction(2) ** exponent
    largest = 2 ** (format.exponent_bits - 1) - 1
    quantum = Fraction(2) ** (max(exponent, 1 - largest) - format.precision + 1)
    found = round(value / quantum) * quantum
    return math.inf if found >= Fraction(2) ** (largest + 1) else float(found)


def fma_of_square(x, total):
    """``x * x + total``, rounded once."""
    if not np.isfinite(x) or not np.isfinite(total):
        return x * x + total
    return type(x)(nearest(Fraction(float(x)) ** 2 + Fraction(float(total)), format_of(np.asarray(x))))


def in_order(values):
    total = values[0]
    for value in values[1:]:
        total = total + value
    return total


def in_halves(values, lanes):
    whole = len(values) // lanes * lanes
    if not whole:
        return in_order(values)
    sums = [in_order(values[lane:whole:lanes]) for lane in range(lanes)]
    while len(sums) > 1:
        half = len(sums) // 2
        sums = [one + other for one, other in zip(sums[:half], sums[half:], strict=True)]
    return sums[0] + in_order(values[whole:]) if whole < len(values) else sums[0]


def squares_in_vectors(values, lanes, reduction):
    whole = len(values) // lanes * lanes
    zero = type(values[0])(0)
    fused = reduction in (Reduction.FUSED_VECTORS, Reduction.FUSED)

    def lane_of(own):
        total = zero
        for x in own:
            total = fma_of_square(x, total) if fused else total + x * x
        return total

    total = in_order([lane_of(values[lane:whole:lanes]) for lane in range(lanes)])
    rest = values[whole:]
    if lanes == 8 and len(rest) >= 4 and not fused:
        for x in rest[:4]:
            total = total + x * x
        rest = rest[4:]
    for x in rest:
        total = total + x * x if reduction is Reduction.UNFUSED_VECTORS else fma_of_square(x, total)
    return total


def exact_norm(values, dtype):
    if not all(np.isfinite(values)):
        return dtype.type(np.nan if any(np.isnan(values)) else np.inf)
    total = Fraction(0)
    for x in values:
        square = Fraction(float(x)) ** 2
        # Below that a product of two doubles is as doubles have it.
        total += square if square >= SMALLEST_EXACT else Fraction(nearest(square, FORMATS["float64"]))
    return dtype.type(np.sqrt(np.float64(nearest(total, FORMATS["float64"]))))


def slow_norm(tensors, reduction, dtype):
    """Tensors as lists of NumPy's scalars of a dtype."""
    kept = dtype.type
    wide = np.float64 if dtype.itemsize == 8 else np.float32
    lanes = 32 // np.dtype(wide).itemsize

    def squares(tensor):
        return [wide(kept(x * x)) for x in tensor]

    def contracted(tensor):
        total = wide(0)
        for x in tensor:
            total = fma_of_square(wide(x), total)
        return total

    match reduction:
        case Reduction.EXACT:
            return exact_norm([x for tensor in tensors for x in tensor], dtype)
        case Reduction.VECTORS | Reduction.FUSED_VECTORS | Reduction.FUSED | Reduction.UNFUSED_VECTORS:
            lanes = 1 if reduction is Reduction.FUSED else lanes
            norms = [
                kept(np.sqrt(squares_in_vectors([wide(x) for x in tensor], lanes, reduction))) for tensor in tensors
            ]
            return kept(np.sqrt(squares_in_vectors([wide(x) for x in norms], lanes, reduction)))
        case Reduction.HALVES:
            sums = [wide(kept(in_halves(squares(tensor), lanes))) for tensor in tensors]
            total = kept(in_halves(sums, lanes))
        case Reduction.IN_ORDER:
            total = in_order([kept(in_order(squares(tensor))) for tensor in tensors])
        case Reduction.CONTRACTED:
            total = in_order([kept(contracted(tensor)) for tensor in tensors])
    return kept(np.sqrt(total))


def slow_scaled(x, n, alone, tensors, asked, clipping):
    kept = type(x)
    one, c = kept(1), kept(asked.limit)
    wide = np.float64 if isinstance(x, np.float64) else np.float32
    match clipping:
        case Clipping.PLAIN:
            return x if n <= c else x * (c / n)
        case Clipping.TORCH:
            factor = kept(wide(one / kept(wide(n) + wide(1e-6))) * wide(asked.limit))
            return x * (one if factor > one else factor)
        case Clipping.KERAS | Clipping.KERAS_COMPILED if asked.by is ClipBy.GLOBAL_NORM:
            inverse, most = one / n, kept(1 / asked.limit)
            return x * (c * (most if inverse > most else inverse) + (n - n))
        case Clipping.KERAS | Clipping.KERAS_COMPILED:
            return x * c / (c if n < c else n)
        case Clipping.OPTAX | Clipping.OPTAX_COMPILED:
            if n < c:
                return x
            if alone or (clipping is Clipping.OPTAX_COMPILED and tensors > 1):
                return x / n * c
            if isinstance(x, np.float16 | np.float32 | np.float64):
                return x * (one / n) * c
            return kept(wide(x) * (wide(1) / wide(n))) * c


def slow_clip(row, present, layout, asked, clipping, reduction):
    out = list(row)
    limit = row.dtype.type(asked.limit)
    if asked.by is ClipBy.VALUE:
        return [x if np.isnan(x) else limit if x > limit else -limit if x < -limit else x for x in out]
    held = [(parameter.name, place) for (parameter, place), here in zip(layout.slices(), present, strict=True)
            if here and parameter.size]  # fmt: skip
    together = [held] if asked.by is ClipBy.GLOBAL_NORM else [[one] for one in held]
    for group in together:
        if not group:
            continue
        ordered = sorted(group) if reduction in (Reduction.IN_ORDER, Reduction.CONTRACTED) else group
        n = slow_norm([list(row[place]) for _, place in ordered], reduction, row.dtype)
        for _, place in group:
            for i in range(place.start, place.stop):
                out[i] = slow_scaled(row[i], n, place.stop - place.start == 1, len(group), asked, clipping)
    return out


@st.composite
def gradients(draw, format):
    """A layout of up to four tensors of 0 to 70 elements, a row of it, and who has a gradient."""
    sizes = draw(st.lists(st.integers(0, 70), min_size=1, max_size=4))
    names = draw(st.permutations(["a", "b", "c", "d"]))
    layout = Layout(tuple(Parameter(name, (size,)) for name, size in zip(names, sizes, strict=False)))
    width, most = layout.size, 2 * format.sign_bit - 1
    if draw(st.booleans()):
        random = np.random.default_rng(draw(st.integers(0, 2**32)))
        row = (random.standard_normal(width) * 2.0 ** draw(st.integers(-30, 30))).astype(format.dtype)
    else:
        infinity, sign = format.infinity_bits, format.sign_bit
        special = [0, sign, 1, sign | 1, infinity, sign | infinity, infinity | 1, infinity - 1, (infinity >> 1) + 1]
        bits = arrays.arrays(format.unsigned, width, elements=st.sampled_from(special) | st.integers(0, most))
        row = draw(bits).view(format.dtype)
    present = draw(st.lists(st.booleans(), min_size=len(sizes), max_size=len(sizes)))
    return layout, row, np.array(present, bool)


def assert_same(made, expected, dtype):
    made, expected = np.asarray(made, dtype), np.array(expected, dtype)
    # Which sign and payload a NaN has is the processor's choice.
    assert np.isnan(made).tolist() == np.isnan(expected).tolist()
    real = ~np.isnan(made)
    assert to_bits(made[real]).tolist() == to_bits(expected[real]).tolist()


limits = st.sampled_from([1.0, 0.3, 1e-5, 7e3]) | st.floats(2.0**-12, 2.0**12)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@each_dtype
@pytest.mark.parametrize("reduction", Reduction)
@settings(max_examples=25, deadline=None)
@given(data=st.data(), limit=limits)
def test_every_norm_is_the_slow_one(format, reduction, data, limit):
    """By the factor of the from-scratch Adam, which shows the last bit of a norm."""
    layout, row, present = data.draw(gradients(format))
    for by in (ClipBy.NORM, ClipBy.GLOBAL_NORM):
        asked = Clip(by, limit)
        made = clip(row, present, layout, asked, Clipping.PLAIN, reduction)
        assert_same(made, slow_clip(row, present, layout, asked, Clipping.PLAIN, reduction), format.dtype)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@each_dtype
@pytest.mark.parametrize("clipping", Clipping)
@settings(max_examples=25, deadline=None)
@given(data=st.data(), limit=limits, reduction=st.sampled_from(Reduction))
def test_every_clipping_is_the_slow_one(format, clipping, data, limit, reduction):
    layout, row, present = data.draw(gradients(format))
    before = row.copy()
    for by in ClipBy:
        asked = Clip(by, limit)
        made = clip(row, present, layout, asked, clipping, reduction)
        assert made.dtype == format.dtype
        assert_same(made, slow_clip(row, present, layout, asked, clipping, reduction), format.dtype)
    assert to_bits(row).tolist() == to_bits(before).tolist()


@settings(max_examples=80, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    sizes=st.lists(st.integers(0, 40), min_size=1, max_size=3),
    limit=st.floats(2.0**-20, 2.0**20),
    scale=st.integers(-100, 100),
    by=st.sampled_from(ClipBy),
    factor=st.sampled_from(ClipFactor),
)
@example(seed=0, sizes=[1], limit=1.0, scale=0, by=ClipBy.VALUE, factor=ClipFactor.EXACT)
def test_the_exact_clipping_is_exact(seed, sizes, limit, scale, by, factor):
    random = np.random.default_rng(seed)
    layout = Layout(tuple(Parameter(str(place), (size,)) for place, size in enumerate(sizes)))
    high = random.standard_normal(layout.size) * 2.0**scale
    # Some stand at the limit, and only their low part is beyond it.
    high[random.random(layout.size) < 0.2] = limit
    low = high * 2.0**-54 * random.uniform(-1, 1, layout.size)
    present = random.random(len(sizes)) < 0.8
    made = clip_exactly(DoubleDouble(high, low), present, layout, Clip(by, limit), factor)
    with localcontext() as context:
        context.prec = 80
        given_ = [Decimal(one) + Decimal(other) for one, other in zip(high.tolist(), low.tolist(), strict=True)]
        expected = list(given_)
        c, added = Decimal(limit), Decimal.from_float(1e-6) if factor is ClipFactor.WITH_1E_6 else Decimal(0)
        if by is ClipBy.VALUE:
            expected = [max(-c, min(c, one)) for one in given_]
        else:
            held = [place for (_, place), here in zip(layout.slices(), present, strict=True) if here]
            for places in [held] if by is ClipBy.GLOBAL_NORM else [[one] for one in held]:
                norm = sum((one * one for place in places for one in given_[place]), Decimal(0)).sqrt() + added
                for place in places:
                    expected[place] = [one * c / norm if norm > c else one for one in given_[place]]
        found = [
            Decimal(one) + Decimal(other) for one, other in zip(made.high.tolist(), made.low.tolist(), strict=True)
        ]
        for one, other in zip(found, expected, strict=True):
            assert abs(one - other) <= abs(other) * Decimal(2) ** -95


TWO = Layout((Parameter("a", (2,)), Parameter("b", (1,))))
SEEN = {
    ClipBy.VALUE: [1, 1, 1],
    ClipBy.NORM: [0.6, 0.8, 1],
    ClipBy.GLOBAL_NORM: [3 / 13, 4 / 13, 12 / 13],
}
"""Of a = (3, 4) and b = (12), held against 1."""


@pytest.mark.parametrize("by", ClipBy)
@pytest.mark.parametrize("clipping", Clipping)
def test_the_numbers_that_have_been_seen(by, clipping):
    row, present = np.array([3.0, 4.0, 12.0]), np.ones(2, bool)
    made = clip(row, present, TWO, Clip(by, 1.0), clipping, Reduction.EXACT)
    expected = np.array(SEEN[by])
    if clipping is Clipping.TORCH and by is not ClipBy.VALUE:
        norms = [5, 5, 12] if by is ClipBy.NORM else [13] * 3
        expected = row / (np.array(norms) + 1e-6)
        assert np.all(made < np.array(SEEN[by]))
    np.testing.assert_allclose(made, expected, rtol=1e-15)
    factor = ClipFactor.WITH_1E_6 if clipping is Clipping.TORCH else ClipFactor.EXACT
    exact = clip_exactly(DoubleDouble(row, np.zeros(3)), present, TWO, Clip(by, 1.0), factor)
    np.testing.assert_allclose(exact.high, expected, rtol=1e-15)


@pytest.mark.parametrize("clipping", Clipping)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_an_inf_is_nan_and_what_stands_beside_it(clipping):
    """Torch and optax: NaN for that element and 0 for the others; Keras: NaN for all; TensorFlow: as it divides."""
    row = np.array([np.inf, 4.0, 12.0], np.float32)
    made = clip(row, np.ones(2, bool), TWO, Clip(ClipBy.GLOBAL_NORM, 1.0), clipping, Reduction.VECTORS).tolist()
    assert math.isnan(made[0])
    assert all(map(math.isnan, made)) if clipping in (Clipping.KERAS, Clipping.KERAS_COMPILED) else made[1:] == [0, 0]


@pytest.mark.parametrize("clipping", Clipping)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_nan_is_in_the_norm_of_all(clipping):
    row = np.array([np.nan, 4.0, 12.0])
    made = clip(row, np.ones(2, bool), TWO, Clip(ClipBy.GLOBAL_NORM, 1.0), clipping, Reduction.EXACT)
    assert np.isnan(made).all()
    exact = clip_exactly(
        DoubleDouble(row, np.zeros(3)), np.ones(2, bool), TWO, Clip(ClipBy.GLOBAL_NORM, 1.0), ClipFactor.EXACT
    )
    assert np.isnan(exact.high).all()
    alone = clip(row, np.ones(2, bool), TWO, Clip(ClipBy.NORM, 1.0), clipping, Reduction.EXACT)
    assert np.isnan(alone).tolist() == [True, True, False]


@pytest.mark.parametrize("clipping", Clipping)
@pytest.mark.parametrize("reduction", Reduction)
def test_who_has_no_gradient_is_not_in_the_norm(clipping, reduction):
    row = np.array([3.0, 4.0, 12.0])
    for by in (ClipBy.NORM, ClipBy.GLOBAL_NORM):
        made = clip(row, np.array([True, False]), TWO, Clip(by, 1.0), clipping, reduction)
        np.testing.assert_allclose(made, [0.6, 0.8, 12], rtol=1e-6)
        assert clip(row, np.zeros(2, bool), TWO, Clip(by, 1.0), clipping, reduction).tolist() == row.tolist()
