"""Elements by magnitude and distance, folded into few columns; what the difference of w is made of."""

from __future__ import annotations

import pytest

from parity.explain.explanation import Answer, Explanation, Meaning, SplitRow, Told
from parity.explain.residual import Residual
from parity.explain.spread import NONE, ZERO, Spread
from parity.numerics.formats import FORMATS
from parity.report.panels.curve import ENDLESS, MOST_COLUMNS, ZEROS, density_of, histogram_of, shares_of

BIAS = 127
TOP = 255


def test_columns_begin_at_powers_of_two_and_special_values_stand_apart():
    rows = ((ZERO, 0, 5), (BIAS - 3, 1, 7), (BIAS, 2, 1), (BIAS, NONE, 2), (TOP, 0, 3))
    found = density_of(Spread("w", rows), FORMATS["float32"])
    assert found.starts == (-3, -2, -1, 0)
    assert set(found.cells) == {(ZEROS, 0, 5), (0, 1, 7), (3, 2, 1), (3, NONE, 2), (ENDLESS, 0, 3)}


@pytest.mark.parametrize("span", [MOST_COLUMNS - 1, MOST_COLUMNS, MOST_COLUMNS + 1, 200])
def test_few_columns_hold_every_element(span):
    rows = tuple((1 + size, size % 3, size + 1) for size in range(span))
    found = density_of(Spread("v", rows), FORMATS["float32"])
    assert len(found.starts) <= MOST_COLUMNS
    assert len({later - earlier for earlier, later in zip(found.starts, found.starts[1:], strict=False)}) == 1
    assert sum(elements for _, _, elements in found.cells) == sum(range(1, span + 1))
    assert {place for place, _, _ in found.cells} == set(range(len(found.starts)))


def test_nothing_but_zeros_and_nan():
    found = density_of(Spread("v", ((ZERO, 0, 4), (31, NONE, 1))), FORMATS["float16"])
    assert found.starts == ()
    assert found.cells == ((ENDLESS, NONE, 1), (ZEROS, 0, 4))


def test_a_histogram_adds_up_all_magnitudes():
    assert histogram_of(Spread("w", ((1, 0, 2), (2, 0, 3), (2, 4, 1), (3, NONE, 9)))) == {0: 5, 4: 1, NONE: 9}


def row(term, step, rms, quantity="w"):
    return SplitRow(quantity, step, term, rms, rms, 0.0, 0.0, None, 0)


def explained(*rows):
    side = Told("a", "claimed", "", "hat", "global", Residual("a", True, ()))
    return Explanation("c", "float32", side, side, Answer.EXPLAINED, (), rows, (), (), Meaning(0.0, 1, 0.0, None, None))


def test_shares_are_of_the_sum_and_of_w_alone():
    rows = [row("formula", 1, 3.0), row("rounding_actual", 1, 1.0), row("values", 1, 0.0), row("total", 1, 9.0)]
    found = shares_of(explained(*rows, row("formula", 1, 5.0, "m"), *(row(one.term, 2, 0.0) for one in rows)))
    assert found.steps == (1, 2)
    assert found.by_term == {"formula": (0.75, 0.0), "rounding_actual": (0.25, 0.0)}


def test_nothing_split_has_no_shares():
    assert shares_of(explained()).steps == ()
