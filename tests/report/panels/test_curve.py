"""Curves: the greatest of all parameters, thinned, with the steps that matter kept."""

from __future__ import annotations

import math

import pyarrow as pa
import pytest

from parity.numerics.ulp import NO_DISTANCE
from parity.report.panels.curve import MOST_STEPS, curves_of, spread_steps


def table(*rows):
    """Rows of (quantity, parameter, step, ulp); abs and rel are the same number, lr a thousandth of it."""
    names = ("quantity", "parameter", "step", "max_ulp")
    columns = dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))
    lost = [math.nan if ulp == NO_DISTANCE else float(ulp) for ulp in columns["max_ulp"]]
    return pa.table(
        {
            **columns,
            "max_ulp": pa.array(columns["max_ulp"], pa.uint64()),
            "differing": [int(ulp > 0) for ulp in columns["max_ulp"]],
            "max_abs": lost,
            "max_rel": lost,
            "max_steps": pa.array(
                [one / 1000 if q == "w" else None for q, one in zip(columns["quantity"], lost, strict=True)]
            ),
        }
    )


def line(curves, quantity="w", metric="max_ulp"):
    (found,) = [one.values for one in curves.curves if (one.quantity, one.metric) == (quantity, metric)]
    return dict(zip(curves.steps, found, strict=True))


def test_a_curve_has_the_greatest_of_all_parameters():
    curves = curves_of(table(("w", "a", 1, 7), ("w", "a", 2, 0), ("w", "b", 1, 3), ("w", "b", 2, 5)))
    assert line(curves) == {1: 7, 2: 5}
    assert line(curves, metric="max_steps") == {1: 0.007, 2: 0.005}
    assert curves.first == 1


def test_only_weights_are_measured_in_units_of_lr():
    curves = curves_of(table(("m", "a", 1, 3), ("w", "a", 1, 3)))
    assert [one.quantity for one in curves.curves if one.metric == "max_steps"] == ["w"]


def test_nan_and_inf_are_no_number_and_zero_is_one():
    curves = curves_of(table(("w", "a", 1, 0), ("w", "a", 2, NO_DISTANCE), ("w", "a", 3, 4)))
    for metric in ("max_ulp", "max_abs", "max_rel", "max_steps"):
        values = line(curves, metric=metric)
        assert values[1] == 0
        assert values[2] is None
        assert values[3] > 0


@pytest.mark.parametrize("special", [777, 1_234])
def test_a_long_curve_keeps_the_first_divergence_the_worst_and_the_last_step(special):
    last = 2_100
    rows = [("w", "a", step, 0 if step < special else 90 if step == special + 1 else 2) for step in range(1, last + 1)]
    curves = curves_of(table(*rows))
    assert len(curves.steps) <= MOST_STEPS + 3
    assert curves.first == special
    assert {1, special, special + 1, last} <= set(curves.steps)
    assert line(curves)[special + 1] == 90


@pytest.mark.parametrize("last", [1, 2, MOST_STEPS, MOST_STEPS + 1, 100_000])
def test_steps_are_spread_from_the_first_to_the_last(last):
    steps = spread_steps(last)
    assert (steps[0], steps[-1]) == (1, last)
    assert len(steps) == min(last, len(steps)) <= MOST_STEPS
    assert list(steps) == sorted(set(steps))


def test_what_never_differs_has_no_first_step():
    curves = curves_of(table(("w", "a", 1, 0)))
    assert (curves.steps, curves.first, line(curves)) == ((1,), None, {1: 0})


def test_a_value_has_no_more_digits_than_it_means():
    assert line(curves_of(table(("w", "a", 1, 123_456))))[1] == 123_000
