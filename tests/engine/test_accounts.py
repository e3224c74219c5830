"""What the accounts of a run come to, counted from accounts that are written down here."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from parity.engine.accounts import (
    Answers,
    LeftOpen,
    Twins,
    count_answers,
    dtypes_of,
    families_of,
    left_open,
    not_explained,
    pair_rows,
    twin_rows,
)
from parity.engine.result import Account, Held, Why

PAIR = ("numpy.adam.hat", "numpy.adam.outside")


def held(differing=0, max_ulp=0, source="claimed", covered="", error=1.0):
    return Held(PAIR[0], source, covered, 100, differing, max_ulp, error)


def why(answer, **shares):
    return Why(*PAIR, answer, "", tuple((name.replace("_", "-"), share) for name, share in shares.items()), ())


@pytest.fixture
def run_of(run_small):
    """A run whose cells have given accounts; a cell is (case, dtype, account)."""
    small = run_small(*PAIR)

    def run(*cells):
        made = [replace(small.cells[0], case=case, dtype=dtype, account=account) for case, dtype, account in cells]
        return replace(small, cells=tuple(made))

    return run


def test_twins_are_added_up_over_the_cases_of_a_dtype(run_of):
    run = run_of(
        ("a", "float32", Account((held(error=3.0),))),
        ("b", "float32", Account((held(2, 9, error=1.0),))),
        ("c", "float32", Account((held(5, 4, "found", error=2.0),))),
        ("a", "float64", Account((held(error=7.0),))),
    )
    (row,) = twin_rows(run)
    assert row.implementation == PAIR[0]
    assert row.by_dtype == {
        "float32": Twins(3, 300, 7, 2, "c", 4, ("claimed", "found"), 2.0),
        "float64": Twins(1, 100, 0, 0, "", 0, ("claimed",), 7.0),
    }
    assert dtypes_of(run) == ("float64", "float32")


def test_what_is_left_open_is_told_once_a_reason(run_of):
    run = run_of(
        ("a", "float32", Account((held(2, 9, covered="no eps"),))),
        ("b", "float32", Account((held(1, 1, covered="no eps"),))),
        ("c", "float32", Account((held(1, 1),))),
        ("d", "float32", Account((held(4, 4, "found"),))),
        ("e", "float32", Account(reason="too large")),
        ("f", "float32", Account()),
    )
    assert left_open(run) == (
        LeftOpen(PAIR[0], "float32", "no eps", (("a", 2, 100, 9), ("b", 1, 100, 1))),
        LeftOpen(PAIR[0], "float32", "no explanation yet", (("c", 1, 100, 1),)),
    )
    assert list(not_explained(run)) == [("e", "float32", "too large")]


def test_answers_are_counted_the_worst_first(run_of):
    run = run_of(
        ("a", "float32", Account(pairs=(why("explained", fma=0.9, rounding=0.1),))),
        ("b", "float32", Account(pairs=(why("identical"),))),
        ("c", "float32", Account(pairs=(why("unexplained", rounding=0.5, unexplained=0.5),))),
        ("d", "float32", Account(pairs=(why("explained", rounding=1.0),))),
    )
    (row,) = pair_rows(run)
    assert (row.actual, row.expected) == PAIR
    assert row.by_dtype == {
        "float32": Answers((("unexplained", 1), ("explained", 2), ("identical", 1)), ("rounding", "fma", "unexplained"))
    }
    assert count_answers(run) == Counter(explained=2, identical=1, unexplained=1)


def test_families_without_a_share_come_last_and_tiny_shares_do_not_count():
    found = families_of([why("explained", sqrt=None, fma=0.004, rounding=0.3), why("explained", sqrt=None)])
    assert found == ("rounding", "sqrt")
