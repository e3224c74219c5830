"""Everything for which two Adams are not certified to be equivalent, and what is offered instead."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from parity.case.expectation import Kind
from parity.comparison.distance import First, Worst
from parity.numerics.ulp import NO_DISTANCE
from parity.report.panels.certificate import Obstacle
from parity.report.panels.certifying import certify

sys.path.append(str(Path(__file__).parent))
from altered import (
    CELL,
    NEAR,
    NEVER,
    OTHER,
    SAME,
    changed,
    judged,
    nothing,
    of_side,
    of_weights,
    of_why,
    power,
    unexplained,
)


def the_obstacle(run, pair, **selection):
    """What stands against a pair, which has to be one thing in one cell."""
    found = certify(run, *pair, **selection)
    assert not found.issued
    assert found.exit_code == 1
    assert found.digest == ""
    (reason,) = found.reasons
    (clause,) = reason.clauses
    assert (clause.case, clause.dtype) == CELL
    return reason


@pytest.mark.parametrize(
    ("fields", "detail"),
    [
        ({"caught": 0, "applicable": 5}, "it catches none of 5 wrong Adams"),
        ({"unknown": "no shipped case of this name"}, "no shipped case of this name"),
        (None, "the run does not say what the budget catches"),
    ],
)
def test_a_budget_that_catches_nothing_is_none(four, fields, detail):
    run = replace(unexplained(four), powers=()) if fields is None else power(unexplained(four), **fields)
    reason = the_obstacle(run, NEAR)
    assert (reason.obstacle, reason.details) == (Obstacle.NO_POWER, ((detail, 1),))


def test_a_budget_that_admits_an_optimizer_that_never_steps_is_none(four):
    run = judged(power(unexplained(four), caught=5, applicable=5), NEAR, blind=("m", "w"))
    reason = the_obstacle(run, NEAR)
    assert (reason.obstacle, reason.details) == (Obstacle.BLIND, (("m, w", 1),))


def test_another_formula_is_not_certified_and_nothing_narrower_is_offered(four):
    found = certify(four, *OTHER)
    assert not found.issued
    (reason,) = found.reasons
    assert reason.obstacle is Obstacle.OTHER_FORMULA
    assert reason.details == (("epsilon-placement", 4),)
    assert found.bounds == ()
    assert found.narrowing is None


def test_another_formula_is_not_certified_however_small_its_share_or_near_the_weights(four):
    run = changed(four, of_why(NEAR, families=(("rounding", 1.0), ("epsilon-value", 0.0)), formula=("epsilon-value",)))
    reason = the_obstacle(power(run, caught=5, applicable=5), NEAR)
    assert (reason.obstacle, reason.details) == (Obstacle.OTHER_FORMULA, (("epsilon-value", 1),))


REFUSED = {
    "crashed": (lambda run: judged(run, SAME, kind=Kind.CRASHED), Obstacle.CRASHED),
    "skipped": (lambda run: judged(run, SAME, kind=Kind.SKIPPED), Obstacle.SKIPPED),
    "not comparable": (lambda run: judged(run, SAME, kind=Kind.NOT_COMPARABLE), Obstacle.NOT_COMPARABLE),
    "weights hidden": (lambda run: changed(run, nothing("w"), SAME), Obstacle.NOT_COMPARABLE),
    "fewer elements": (lambda run: changed(run, of_weights(compared=84), SAME), Obstacle.NOT_COMPARABLE),
    "not as expected": (lambda run: judged(run, SAME, as_expected=False), Obstacle.NOT_AS_EXPECTED),
    "one stands still": (lambda run: changed(run, of_side("user.two", moved=False)), Obstacle.STANDS_STILL),
    "last states differ": (
        lambda run: changed(run, of_side("user.two", digests={"w": "0", "m": "0", "v": "0"})),
        Obstacle.CONTRADICTION,
    ),
    "not in the cell": (
        lambda run: replace(
            run,
            cells=tuple(
                replace(one, outcomes=tuple(each for each in one.outcomes if each.name != "user.two"))
                if (one.case, one.dtype) == CELL
                else one
                for one in run.cells
            ),
            verdicts=tuple(one for one in run.verdicts if (one.case, one.dtype, one.actual) != (*CELL, "user.two")),
        ),
        Obstacle.NOT_RUN,
    ),
    "no verdict": (
        lambda run: replace(
            run,
            verdicts=tuple(
                one for one in run.verdicts if (one.case, one.dtype, one.actual, one.expected) != (*CELL, *SAME)
            ),
        ),
        Obstacle.NOT_COMPARED,
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_one_cell_without_a_ground_refuses_the_whole(four, name):
    change, obstacle = REFUSED[name]
    assert the_obstacle(change(four), SAME).obstacle is obstacle


def test_other_hyperparameters_are_told_by_name(four):
    hyper = {**four.cells[0].outcome("user.two").hyper, "eps": (1e-7).hex()}
    reason = the_obstacle(changed(four, of_side("user.two", hyper=hyper)), SAME)
    assert reason.obstacle is Obstacle.OTHER_HYPERPARAMETERS
    assert reason.details == (("eps 1e-07 against 0.001", 1),)
    reason = the_obstacle(changed(four, of_side("user.two", hyper=hyper)), tuple(reversed(SAME)))
    assert reason.details == (("eps 0.001 against 1e-07", 1),)


def test_hyperparameters_of_which_nothing_is_known_are_said_to_be_so(four):
    run = changed(changed(four, of_side("user.one", hyper={})), of_side("user.two", hyper={}))
    found = certify(run, *SAME)
    assert found.issued
    assert [setting.cases for setting in found.settings if setting.hyper is None] == [("small",)]
    reason = the_obstacle(changed(four, of_side("user.one", hyper={})), SAME)
    assert reason.details == (("not recorded on one side", 1),)


def test_nan_on_one_side_is_refused_and_on_both_told(four):
    first = First(3, "bias", 0, "nan", "0x1p-3")
    lost = of_weights(differing=1, nonfinite=1, first=first, worst_max_ulp=Worst(NO_DISTANCE, 3, "bias"))
    assert the_obstacle(changed(four, lost, NEAR), NEAR).obstacle is Obstacle.NONFINITE
    both = certify(changed(four, of_weights(nonfinite=4), SAME), *SAME)
    assert both.issued
    assert sum(bound.nonfinite for bound in both.bounds) == 4


def test_a_distance_that_an_optimizer_that_never_steps_has_too_is_no_bound(four):
    (clause,) = [one for one in certify(four, *NEAR).clauses if (one.case, one.dtype) == CELL]
    assert 1 < clause.reach < 6
    near, far = (
        changed(four, of_weights(differing=1, worst_max_steps=Worst(size, 5, "bias")), NEAR)
        for size in (0.9 * clause.reach, clause.reach)
    )
    assert certify(near, *NEAR).issued
    assert the_obstacle(far, NEAR).obstacle is Obstacle.TOO_FAR


def test_a_difference_without_causes_and_budget_is_refused(four):
    run = judged(changed(four, of_why(NEAR, answer="unexplained")), NEAR, kind=Kind.DIVERGED)
    assert the_obstacle(run, NEAR).obstacle is Obstacle.UNEXPLAINED


def test_what_stands_still_on_both_sides_says_nothing_alone_and_is_told_beside_others(four):
    still = four
    for cell in four.cells:
        for name in SAME:
            still = changed(still, of_side(name, moved=False), cell=(cell.case, cell.dtype))
    (reason,) = certify(still, *SAME).reasons
    assert reason.obstacle is Obstacle.NOTHING_MOVED
    one = changed(changed(four, of_side("user.one", moved=False)), of_side("user.two", moved=False))
    found = certify(one, *SAME)
    assert found.issued
    assert sum(bound.unmoved for bound in found.bounds) == 1


def test_weights_that_all_became_nan_did_not_move(four):
    lost = changed(four, of_side("user.one", nonfinite=four.cells[0].elements))
    assert not any(bound.unmoved for bound in certify(lost, *SAME).bounds)
    lost = changed(lost, of_side("user.two", nonfinite=four.cells[0].elements))
    assert sum(bound.unmoved for bound in certify(lost, *SAME).bounds) == 1


@pytest.mark.parametrize(
    ("fields", "obstacle", "detail"),
    [
        ({"complete": False, "stopped": "interrupted"}, Obstacle.INCOMPLETE, "interrupted; 4 of 4 cells were run"),
        ({"complete": False}, Obstacle.INCOMPLETE, "4 of 4 cells were run"),
        ({"stale": ("small: nothing",)}, Obstacle.STALE, "small: nothing"),
    ],
)
def test_a_run_that_is_not_whole_certifies_nothing(four, fields, obstacle, detail):
    found = certify(replace(four, **fields), *SAME)
    assert not found.issued
    (reason,) = found.reasons
    assert (reason.obstacle, reason.details) == (obstacle, ((detail, 1),))
    assert found.narrowing is None


def test_a_pair_that_nobody_compared_is_exit_code_5(four):
    found = certify(four, *NEVER)
    (reason,) = found.reasons
    assert reason.obstacle is Obstacle.NOT_COMPARED
    assert len(reason.clauses) == 4
    assert found.exit_code == 5


@pytest.mark.parametrize(
    ("refused", "dtypes", "keyword", "cells"),
    [
        ([("small", "float32")], (), "wide", 2),
        ([("small", "float32"), ("wide", "float32")], ("float64",), "", 2),
        ([("small", "float32"), ("small", "float64")], (), "wide", 2),
        ([("small", "float32"), ("wide", "float64")], ("float64",), "small", 1),
    ],
)
def test_what_can_be_certified_is_offered_and_holds(four, refused, dtypes, keyword, cells):
    run = four
    for cell in refused:
        run = judged(run, SAME, cell=cell, kind=Kind.SKIPPED)
    offered = certify(run, *SAME).narrowing
    assert (offered.cells, offered.of) == (cells, 4)
    assert (offered.dtypes, offered.keyword) == (dtypes, keyword)
    found = certify(run, *SAME, offered.dtypes, offered.keyword)
    assert found.issued
    assert found.cells == (cells, 4)


def test_names_that_no_expression_tells_apart_get_no_offer(four):
    """One name is a part of the other, and the other cannot be written as a word."""
    names = {"small": "a b", "wide": "a b c"}
    run = judged(judged(four, SAME, kind=Kind.SKIPPED), SAME, cell=("small", "float64"), kind=Kind.SKIPPED)
    run = replace(
        run,
        cells=tuple(replace(one, case=names[one.case]) for one in run.cells),
        verdicts=tuple(replace(one, case=names[one.case]) for one in run.verdicts),
        cases={names[name]: told for name, told in run.cases.items()},
    )
    assert certify(run, *SAME).narrowing is None
