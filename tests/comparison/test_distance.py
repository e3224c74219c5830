"""Folding steps and parameters of a quantity into one distance."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from parity.comparison.distance import Distance, First, Worst, distance_of, fold, merge
from parity.comparison.divergence import measure_batch
from parity.core.hyper import Hyper
from parity.core.layout import Layout, Parameter

LAYOUT = Layout((Parameter("a", (2,)), Parameter("empty", (0,)), Parameter("b", (3,))))


def measured(actual, expected, quantity="w", first=1, lr=0.5):
    actual, expected = (np.asarray(side, np.float32) for side in (actual, expected))
    steps = range(first, first + len(actual))
    return measure_batch(quantity, actual, expected, LAYOUT, steps, Hyper(lr=lr))


def folded(*parts):
    into = {}
    for part in parts:
        fold(part, into)
    (distance,) = into.values()
    return distance


def test_a_distance_by_hand():
    expected = np.ones((3, 5))
    actual = expected.copy()
    actual[1, 1] = 1.5
    actual[2, 4] = 3.0
    found = folded(measured(actual, expected))
    assert (found.quantity, found.compared, found.differing, found.nonfinite) == ("w", 15, 2, 0)
    assert found.first == First(2, "a", 1, (1.5).hex(), (1.0).hex())
    assert found.worst_max_abs == Worst(2.0, 3, "b")
    assert found.worst_max_rel == Worst(2.0, 3, "b")
    assert found.worst_max_ulp == Worst(2**23 + 2**22, 3, "b")
    assert found.worst_max_steps == Worst(4.0, 3, "b")
    assert found.worst_differing == Worst(1, 2, "a")
    assert found.worst_rms_abs == Worst(pytest.approx(2 / 3**0.5), 3, "b")


def test_only_weights_have_steps():
    for quantity in ("m", "v", "vmax"):
        assert folded(measured(np.ones((1, 5)), np.zeros((1, 5)), quantity)).worst_max_steps is None


def test_equal_sides_have_no_first_difference():
    found = folded(measured(np.ones((2, 5)), np.ones((2, 5))))
    assert found.first is None
    assert found.worst_max_ulp.value == 0


def test_both_zeros_are_equal_and_counted():
    found = folded(measured(np.zeros((2, 5)), -np.zeros((2, 5))))
    assert (found.differing, found.opposite_zeros) == (0, 10)


@pytest.mark.parametrize(
    ("actual", "expected"),
    [(np.nan, 1.0), (1.0, np.nan), (np.nan, np.inf), (np.inf, -np.inf), (np.inf, 3e38)],
)
def test_what_is_not_finite_is_at_no_distance_from_anything_else(actual, expected):
    sides = np.ones((2, 1, 5))
    sides[0, 0, 3], sides[1, 0, 3] = actual, expected
    found = folded(measured(*sides))
    assert found.worst_max_ulp.value == 2**64 - 1
    assert found.worst_max_abs.value == float("inf")
    assert found.worst_max_steps.value == float("inf")
    assert (found.differing, found.nonfinite) == (1, 1)
    assert (found.first.parameter, found.first.index) == ("b", 1)


def test_a_difference_under_lr_0_is_infinitely_many_steps():
    assert folded(measured(np.ones((1, 5)), np.zeros((1, 5)), lr=0.0)).worst_max_steps.value == float("inf")
    assert folded(measured(np.ones((1, 5)), np.ones((1, 5)), lr=0.0)).worst_max_steps.value == 0.0


ROWS = st.lists(
    st.lists(st.sampled_from([0.0, -0.0, 1.0, 2.0, np.nan, np.inf]), min_size=10, max_size=10),
    min_size=1,
    max_size=6,
)


@given(ROWS, st.data())
def test_cutting_steps_into_batches_changes_nothing(rows, draw):
    rows = np.array(rows)
    cut = draw.draw(st.integers(0, len(rows)))
    actual, expected = rows[:, :5], rows[:, 5:]
    whole = folded(measured(actual, expected))
    parts = [
        measured(actual[place], expected[place], first=first)
        for place, first in ((slice(0, cut), 1), (slice(cut, None), cut + 1))
        if len(actual[place])
    ]
    assert folded(*parts) == whole
    for part in whole.first, whole.worst_max_abs:
        assert part is None or isinstance(part.step, int)


def test_of_equal_worsts_the_earlier_step_counts_whatever_the_parameter():
    expected = np.zeros((2, 5))
    actual = expected.copy()
    actual[1, 0] = actual[0, 3] = 1.0
    found = folded(measured(actual, expected))
    assert found.worst_max_abs == Worst(1.0, 1, "b")
    assert (found.first.step, found.first.parameter) == (1, "b")


def test_quantities_are_not_mixed():
    left, right = (distance_of(measured(np.ones((1, 5)), np.ones((1, 5)), quantity)[0]) for quantity in "mv")
    with pytest.raises(ValueError, match="cannot fold m into v"):
        merge(left, right)


def test_json_keeps_infinity_and_exact_integers():
    nan = np.full((1, 5), np.nan)
    found = folded(measured(nan, np.ones((1, 5))))
    adapter = TypeAdapter(Distance)
    text = adapter.dump_json(found)
    assert b"18446744073709551615" in text
    assert b'"inf"' in text
    assert adapter.validate_json(text) == found
