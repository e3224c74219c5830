"""Heat, the map of epsilon, and the bars of the errors."""

from __future__ import annotations

import math

import pytest

from parity.adam.convention import Epsilon
from parity.report.panels.maps import EPS, accuracy, epsilon_map, epsilon_maps, heat_map, heat_of

HAT = ("numpy.adam.hat", "numpy.adam.outside")


@pytest.mark.parametrize(
    ("lr", "heat"),
    [(0.0, 0), (1e-9, 1), (1e-6, 1), (1e-4, 2), (0.05, 3), (1.0, 4), (1.01, 5), (math.inf, 5), (math.nan, 5)],
)
def test_heat_rises_with_the_difference_and_nan_is_the_hottest(lr, heat):
    assert heat_of(lr) == heat


def test_a_field_has_the_median_of_its_cases_and_a_spot_its_own(run_small):
    run = run_small(*HAT, hyper={"eps": 1e-3}, dtypes=["float32", "float64"])
    found = heat_map(run)
    assert [(spot.dtype, spot.kind) for spot in found.spots] == [("float64", "DIVERGED"), ("float32", "DIVERGED")]
    for spot in found.spots:
        field = found.fields[*HAT, spot.dtype]
        assert (field.median, field.heat) == (spot.lr, spot.heat)
        assert spot.first == 1


def test_the_map_is_the_formula_of_both_places():
    found = epsilon_map(Epsilon.HAT, Epsilon.OUTSIDE)
    for gradient, row in zip(found.gradients, found.gaps, strict=True):
        for step, gap in zip(found.steps, row, strict=True):
            correction = math.sqrt(1 - 0.999**step)
            hat, outside = gradient / (gradient + EPS / correction), gradient / (gradient + EPS)
            assert gap.lr == pytest.approx(abs(hat - outside), rel=1e-6, abs=1e-15)
            assert gap.heat == heat_of(gap.lr)


def test_there_is_a_map_for_keras_and_one_for_the_inside():
    assert [(one.actual, one.expected) for one in epsilon_maps()] == [("hat", "outside"), ("inside", "outside")]


def test_bars_are_longest_for_the_greatest_error(run_small):
    found = accuracy(run_small(*HAT, hyper={"eps": 1e-3}))
    bars = {name: row["float32"] for name, row in found.rows.items()}
    assert set(bars) == set(HAT)
    greatest = max(bars.values(), key=lambda one: one.twins.error_ulp)
    assert greatest.bar == 1
    assert all(0 < one.bar <= 1 for one in bars.values())
