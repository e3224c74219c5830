"""Scaled sums of squares."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from parity.numerics.squares import add_sums, sum_of_squares


def exact(values: np.ndarray) -> Fraction:
    return sum((Fraction(value) ** 2 for value in values.tolist()), Fraction(0))


def value(total: np.ndarray, exponent: np.ndarray, row: int = 0) -> Fraction:
    return Fraction(float(total[row])) * Fraction(4) ** int(exponent[row])


def is_close(found: Fraction, wanted: Fraction) -> bool:
    return abs(found - wanted) <= wanted * Fraction(1, 10**14)


@pytest.mark.parametrize("scale", [5e-324, 1e-308, 1e-160, 1e-156, 1e-121, 1.0, 1e135, 1e160, 1e308])
@pytest.mark.parametrize("size", [1, 7, 100, 8192, 8193, 20_000])
def test_the_sum_is_right_at_every_scale(scale, size):
    values = np.maximum(np.linspace(0.1, 1.0, size) * scale, 5e-324)
    found = value(*sum_of_squares(values[None].copy(), values.max(keepdims=True)))
    assert is_close(found, exact(values))


@pytest.mark.parametrize("order", ["C", "F"])
def test_rows_are_scaled_one_by_one(order):
    rows = np.array([[3e-300, 4e-300], [3.0, 4.0], [3e300, 4e300], [0.0, 0.0]], order=order)
    total, exponent = sum_of_squares(rows.copy(order="K"), rows.max(axis=1))
    assert [float(value(total, exponent, row) / 25) for row in (1, 3)] == [1.0, 0.0]
    for row in (0, 2):
        assert is_close(value(total, exponent, row), exact(rows[row]))


def test_pieces_of_any_scale_add_up():
    total, exponent = add_sums(np.array([0.0, 0.5, 0.25, 0.5]), np.array([900, -1000, -999, -1073]))
    wanted = Fraction(1, 2 * 4**1000) + Fraction(1, 4**1000) + Fraction(1, 2 * 4**1073)
    assert is_close(value(total, exponent), wanted)


def test_nothing_adds_up_to_zero():
    assert value(*add_sums(np.zeros(3), np.array([5, 0, -7]))) == 0
