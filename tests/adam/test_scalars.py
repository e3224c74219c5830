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
