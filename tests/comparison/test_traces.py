"""Two trace folders against each other."""

from __future__ import annotations

import numpy as np
import pytest

from parity.case.expectation import Expectation, Kind
from parity.comparison.trace import read_trace
from parity.comparison.traces import compare_traces

ROWS = np.random.default_rng(0).standard_normal((4, 12))


@pytest.fixture
def compared(write_trace):
    """Write two traces from keyword arguments of `write_trace`, and compare them."""

    def compare(actual, expected, expectation=None):
        sides = [read_trace(write_trace(name, **side)) for name, side in (("actual", actual), ("expected", expected))]
        return compare_traces(*sides, expectation)

    return compare


def test_every_step_quantity_and_parameter_is_a_row(compared):
    side = {"w": ROWS, "m": ROWS, "v": ROWS**2, "parameters": [("a", (3, 2)), ("none", (0,)), ("b", (6,))]}
    found = compared(side, side)
    assert found.verdict.kind is Kind.IDENTICAL
    assert found.verdict.as_expected
    table = found.frame()
    assert len(table) == 3 * 3 * 3
    assert sorted(table.step.unique()) == [1, 2, 3]
    assert set(table[table.differing == 0].parameter) == {"a", "none", "b"}
    assert table.elements.sum() == 3 * 3 * 12


def test_numbers_do_not_depend_on_the_batch(compared, monkeypatch):
    sides = {"w": ROWS}, {"w": np.roll(ROWS, 1, axis=1)}
    whole = compared(*sides)
    monkeypatch.setattr("parity.comparison.traces.BATCH_BYTES", 50)
    cut = compared(*sides)
    assert cut.distances == whole.distances
    assert cut.frame().equals(whole.frame())


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"dtype": "float64"}, "dtype differs: float64 against float32"),
        ({"dtype": "bfloat16"}, "dtype differs: bfloat16 against float32"),
        ({"w": ROWS[:3]}, "steps differs: 2 against 3"),
        ({"input_digest": "other"}, "input digest differs: other against same"),
        ({"parameters": [("p", (3, 4))]}, "parameters differs: p[3, 4] against p[12]"),
        ({"parameters": [("q", (12,))]}, "parameters differs: q[12] against p[12]"),
        ({"parameters": [("p", (6,)), ("q", (6,))]}, "parameters differs: p[6], q[6] against p[12]"),
    ],
)
def test_two_questions_are_not_compared(compared, changes, told):
    found = compared({"w": ROWS} | changes, {"w": ROWS})
    assert (found.verdict.kind, found.verdict.reason) == (Kind.NOT_COMPARABLE, told)
    assert not found.verdict.as_expected
    assert found.distances == ()
    assert found.frame().empty


def test_a_trace_against_itself_is_no_comparison(write_trace):
    trace = read_trace(write_trace("one", ROWS))
    assert compare_traces(trace, trace).verdict.reason == "both are the same trace folder"


def test_quantities_that_one_side_hides_are_told(compared):
    found = compared({"w": ROWS, "m": ROWS}, {"w": ROWS, "v": ROWS})
    assert found.verdict.kind is Kind.IDENTICAL
    assert found.verdict.reason.endswith("elements of w are equal; not compared, as one side hides it: m, v")


def test_a_budget_is_held_against_what_the_expected_side_did(compared):
    """A limit above everything that v reaches would admit v = 0."""
    still = {"w": ROWS, "v": np.full((4, 12), 1e-7) * np.arange(4)[:, None]}
    other = {"w": ROWS, "v": still["v"] * 3}
    within = {"w": {"max_ulp": 0.0}, "v": {"max_abs": 1e-5}}
    budget = Expectation.model_validate(
        {
            "actual": "*",
            "expected": "*",
            "verdict": "WITHIN",
            "within": within,
            "because": "It is what torch does.",
        }
    )
    found = compared(other, still, budget)
    assert found.verdict.kind is Kind.WITHIN
    assert not found.verdict.as_expected
    assert found.verdict.reason.startswith("the budget of v (max_abs 1e-05) would admit an optimizer that never steps;")
