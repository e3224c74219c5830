"""A pair of a cell is judged by its failures first, then by its steps, then by its distances."""

from __future__ import annotations

from dataclasses import replace

import pytest

import parity
from parity.case.expectation import Expectation, Kind
from parity.engine.result import judge_pair


@pytest.fixture(scope="module")
def cell(tmp_path_factory, case_text):
    """A real cell of one pair of parity's own."""
    folder = tmp_path_factory.mktemp("cell")
    (folder / "small.toml").write_text(case_text())
    return parity.run([folder / "small.toml"], ["numpy.adam.*"], output=folder / "run").cells[0]


def changed(cell, name, **facts):
    outcomes = tuple(replace(one, **facts) if one.name == name else one for one in cell.outcomes)
    return replace(cell, outcomes=outcomes)


def test_fewer_steps_than_the_case_has_are_no_comparison(cell):
    (pair,) = cell.pairs
    verdict = judge_pair(cell, replace(pair, steps=2), None)
    assert (verdict.kind, verdict.reason) == (Kind.NOT_COMPARABLE, "2 of 5 steps were compared")
    assert not verdict.as_expected


def test_no_distances_are_no_comparison(cell):
    (pair,) = cell.pairs
    assert judge_pair(cell, replace(pair, distances=()), None).kind is Kind.NOT_COMPARABLE


def test_a_quantity_that_one_side_hides_is_told(cell):
    (pair,) = cell.pairs
    hiding = changed(cell, pair.actual, quantities=("w",))
    assert judge_pair(hiding, pair, None).reason.endswith("; not compared, as one side hides it: m, v")


@pytest.mark.parametrize("side", ["actual", "expected"])
def test_a_side_that_never_moved_is_told(cell, side):
    (pair,) = cell.pairs
    still = changed(cell, getattr(pair, side), moved=False)
    wanted = Expectation(actual="*", expected="*", verdict="DIVERGED", because="Other formulas.")
    assert judge_pair(cell, pair, wanted).as_expected
    assert judge_pair(still, pair, wanted).reason.startswith(f"{side} never moved a weight; ")
