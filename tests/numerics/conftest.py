"""Exact references: fractions rounded to a format, numbers from bits."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest

from parity.numerics.formats import Format


def _nearest(number: Fraction, format: Format) -> float:
    """A number that is not 0, rounded once to a format, ties to even; inf beyond its range."""
    numerator, denominator = abs(number).as_integer_ratio()
    exponent = numerator.bit_length() - denominator.bit_length()
    exponent -= Fraction(2) ** exponent > abs(number)
    emax = (1 << (format.exponent_bits - 1)) - 1
    spacing = Fraction(2) ** (max(exponent, 1 - emax) - format.precision + 1)
    rounded = round(abs(number) / spacing) * spacing
    magnitude = math.inf if rounded >= Fraction(2) ** (emax + 1) else float(rounded)
    return -magnitude if number < 0 else magnitude


def _is_same(actual: np.ndarray, expected: list[float]) -> bool:
    """Whether an array of any format holds these numbers, zeros with their sign, NaN for NaN."""
    wide, wanted = actual.astype(np.float64).ravel(), np.array(expected, np.float64)
    same = (wide == wanted) & (np.signbit(wide) == np.signbit(wanted))
    return bool((same | (np.isnan(wide) & np.isnan(wanted))).all())


@pytest.fixture(scope="session")
def nearest():
    return _nearest


@pytest.fixture(scope="session")
def is_same():
    return _is_same
