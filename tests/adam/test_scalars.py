"""Powers of beta as frameworks form them, held to products that are rounded one by one."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from parity.adam.convention import Convention, Epsilon
from parity.adam.forms import Factors
from parity.adam.scalars import scalars
from parity.core.hyper import Hyper
from parity.numerics.formats import FORMATS

BETAS = Hyper(beta1=0.9, beta2=0.999)
PLAIN = Convention(Epsilon.OUTSIDE)
COUNTS = [1, 2, 3, 7, 8, 9, 255, 256, 1000]


def rounded(value, dtype):
    """A fraction rounded to nearest; no neighbour is nearer, which is checked with fractions."""
    made = dtype.type(float(value))
    gap = abs(Fraction(float(made)) - value)
    for end in (-np.inf, np.inf):
        assert gap <= abs(Fraction(float(np.nextafter(made, dtype.type(end)))) - value)
    return made


def repeated(base, count, dtype):
    power = base
    for _ in range(count - 1):
        power = rounded(Fraction(float(power)) * Fraction(float(base)), dtype)
    return power


def squaring(base, count, dtype):
    """The squares are made first; those that the bits name are multiplied, the lowest first."""
    squares = [base]
    while len(squares) < count.bit_length():
        squares.append(rounded(Fraction(float(squares[-1])) ** 2, dtype))
    named = [square for place, square in enumerate(squares) if count >> place & 1]
    power = named[0]
    for square in named[1:]:
        power = rounded(Fraction(float(power)) * Fraction(float(square)), dtype)
    return power


@pytest.mark.parametrize("name", ["float32", "float64"])
@pytest.mark.parametrize(
    ("factors", "raised"), [(Factors.TENSORFLOW_KERNEL, repeated), (Factors.OPTAX_SQUARING, squaring)]
)
def test_a_power_is_the_product_it_says(name, factors, raised):
    format = FORMATS[name]
    made = scalars(BETAS, Convention(Epsilon.HAT), factors, [1e-3] * len(COUNTS), COUNTS, format)
    for which, beta in (("k1", BETAS.beta1), ("k2", BETAS.beta2)):
        base = format.dtype.type(beta)
        for place, count in enumerate(COUNTS):
            expected = rounded(1 - Fraction(float(raised(base, count, format.dtype))), format.dtype)
            assert made[which][place] == expected, (which, count)


def test_both_differ_from_the_power_of_the_library():
    """Else nothing above would tell one from another."""
    ways = (Factors.TENSORFLOW_KERNEL, Factors.OPTAX_SQUARING, Factors.OPTAX)
    made = [scalars(BETAS, Convention(Epsilon.HAT), one, [1e-3], [1000], FORMATS["float32"])["k2"][0] for one in ways]
    assert len(set(made)) == 3


@pytest.mark.parametrize("factors", Factors)
def test_m_and_v_may_be_corrected_by_powers_of_their_own_or_not_at_all(factors):
    def made(counts, convention=PLAIN):
        return scalars(BETAS, convention, factors, [1e-3] * np.shape(counts)[-1], counts, FORMATS["float32"], np.sqrt)

    counts, none = np.array(COUNTS, float), np.full(len(COUNTS), np.inf)
    usual, doubled = made(COUNTS), made(2 * counts)
    of_m, of_v = made(np.stack([2 * counts, none])), made(np.stack([none, 2 * counts]))
    assert set(of_m) == set(of_v) == set(usual)
    assert (of_m["k2"] == 1).all()
    assert (of_v["k1"] == 1).all()
    np.testing.assert_array_equal(of_m["k1"], doubled["k1"])
    np.testing.assert_array_equal(of_v["k2"], doubled["k2"])
    assert (doubled["k1"][:4] != usual["k1"][:4]).all()
    without = made(COUNTS, Convention(Epsilon.OUTSIDE, bias_correction=False))
    assert (made([np.inf])["k1"] == 1).all()
    for name, values in made(np.stack([none, none])).items():
        np.testing.assert_array_equal(values, without[name])
