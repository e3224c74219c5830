"""Every rule by which distances become a verdict."""

from __future__ import annotations

import pytest

from parity.case.expectation import Expectation, Kind
from parity.comparison.distance import Distance, First, Reach, Worst
from parity.comparison.verdict import judge, judge_failure

BOTH = (True, True)


def expects(verdict="IDENTICAL", **more):
    table = {"actual": "*", "expected": "*", "verdict": verdict, "because": "The test says so."}
    return Expectation.model_validate(table | more)


def within(**budgets):
    return expects("WITHIN", within=budgets)


def distance(quantity="w", ulp=0, *, size=0.0, compared=100, differing=None, nonfinite=0, zeros=0, step=3):
    """A distance of so many ULP and such an absolute size, first seen at that step."""
    differing = int(ulp > 0) if differing is None else differing
    real = Worst(size, step, "p")
    return Distance(
        quantity=quantity,
        compared=compared,
        differing=differing,
        nonfinite=nonfinite,
        opposite_zeros=zeros,
        first=First(step, "p", 7, "0x1p+0", "0x1p+1") if differing else None,
        worst_differing=Worst(differing, step, "p"),
        worst_max_abs=real,
        worst_max_rel=real,
        worst_max_ulp=Worst(ulp, step, "p"),
        worst_p99_ulp=Worst(ulp, step, "p"),
        worst_rms_abs=real,
        worst_max_steps=Worst(size * 10, step, "p") if quantity == "w" else None,
    )


def reach(quantity="v", **values):
    nothing = dict.fromkeys(("max_abs", "max_rel", "rms_abs"), 1.0) | dict.fromkeys(("max_ulp", "p99_ulp"), 1 << 30)
    return Reach(**{"quantity": quantity, "differing": 5, "max_steps": None, **nothing, **values})


def outcome(*arguments, **options):
    verdict = judge(*arguments, **options)
    return verdict.kind, verdict.as_expected


def test_equality_is_identical():
    verdict = judge([distance("w"), distance("m")], BOTH, expects())
    assert (verdict.kind, verdict.as_expected) == (Kind.IDENTICAL, True)
    assert verdict.reason == "all 200 elements of w, m are equal"
    assert (verdict.wanted, verdict.because) == (Kind.IDENTICAL, "The test says so.")


def test_zeros_of_other_sign_are_equal_and_told():
    assert judge([distance(zeros=3)], BOTH, None).reason == "all 100 elements of w are equal; 3 zeros differ in sign"


@pytest.mark.parametrize("wanted", ["IDENTICAL", "DIVERGED"])
def test_a_difference_without_budget_is_diverged(wanted):
    verdict = judge([distance("m", 2), distance("w", 9, size=0.5, step=2)], BOTH, expects(wanted))
    assert (verdict.kind, verdict.as_expected) == (Kind.DIVERGED, wanted == "DIVERGED")
    assert verdict.reason.endswith("from step 2 (p[7]): m 2 ULP, w 9 ULP = 5 lr")


@pytest.mark.parametrize("distances", [[], [distance(compared=0)]])
@pytest.mark.parametrize("expectation", [None, expects(), within(w={"max_ulp": 9.0})])
def test_nothing_compared_is_never_green(distances, expectation):
    assert outcome(distances, BOTH, expectation) == (Kind.NOT_COMPARABLE, False)


@pytest.mark.parametrize(("ulp", "kind"), [(4, Kind.WITHIN), (5, Kind.DIVERGED), (0, Kind.IDENTICAL)])
def test_a_budget_includes_its_limit(ulp, kind):
    assert outcome([distance(ulp=ulp)], BOTH, within(w={"max_ulp": 4.0})) == (kind, kind is not Kind.DIVERGED)


@pytest.mark.parametrize(
    ("metric", "limit"),
    [
        ("max_abs", 0.5),
        ("max_rel", 0.5),
        ("rms_abs", 0.5),
        ("max_steps", 5.0),
        ("p99_ulp", 8.0),
        ("max_ulp", 8.0),
        ("differing", 1.0),
    ],
)
def test_every_metric_can_be_limited(metric, limit):
    found = [distance(ulp=8, size=0.5)]
    assert outcome(found, BOTH, within(w={metric: limit})) == (Kind.WITHIN, True)
    assert outcome(found, BOTH, within(w={metric: limit * 0.99})) == (Kind.DIVERGED, False)


def test_all_limits_of_a_budget_have_to_hold_and_every_excess_is_told():
    verdict = judge([distance(ulp=8, size=0.5)], BOTH, within(w={"max_ulp": 9.0, "max_abs": 0.1, "max_steps": 1.0}))
    assert verdict.kind is Kind.DIVERGED
    told = "WITHIN was expected; w: max_abs 0.5 > 0.1 at step 3 in p; w: max_steps 5 > 1 at step 3 in p"
    assert verdict.reason == told


def test_infinity_is_over_every_limit():
    assert outcome([distance(ulp=1, size=float("inf"))], BOTH, within(w={"max_abs": 1e308}))[0] is Kind.DIVERGED
    assert outcome([distance(ulp=1, size=float("nan"))], BOTH, within(w={"max_abs": 1e308}))[0] is Kind.DIVERGED


def test_a_quantity_without_budget_is_over_it():
    verdict = judge([distance("w", 1), distance("v")], BOTH, within(w={"max_ulp": 4.0}))
    assert (verdict.kind, verdict.as_expected) == (Kind.DIVERGED, False)
    assert verdict.reason == "WITHIN was expected; v has no budget"


def test_a_star_is_the_budget_of_what_is_not_named():
    budgets = {"w": {"max_ulp": 1.0}, "*": {"max_ulp": 9.0}}
    assert outcome([distance("w", 1), distance("v", 9)], BOTH, within(**budgets)) == (Kind.WITHIN, True)
    assert outcome([distance("w", 2), distance("v", 9)], BOTH, within(**budgets)) == (Kind.DIVERGED, False)


def test_only_weights_are_measured_in_units_of_lr():
    verdict = judge([distance("w", 1), distance("v", 1)], BOTH, within(**{"*": {"max_steps": 9.0}}))
    assert (verdict.kind, verdict.as_expected) == (Kind.DIVERGED, False)
    assert verdict.reason == "WITHIN was expected; v has no max_steps (only w is measured in units of lr)"


def test_without_expectation_only_equality_is_green():
    assert outcome([distance()], BOTH, None) == (Kind.IDENTICAL, True)
    verdict = judge([distance(ulp=1)], BOTH, None)
    assert (verdict.kind, verdict.as_expected, verdict.wanted) == (Kind.DIVERGED, False, None)


@pytest.mark.parametrize("wanted", ["DIVERGED", "NOT_COMPARABLE", "CRASHED", "SKIPPED"])
def test_equality_where_another_verdict_was_expected_is_red(wanted):
    """A divergence that is gone makes its expectation stale."""
    verdict = judge([distance()], BOTH, expects(wanted))
    assert (verdict.kind, verdict.as_expected) == (Kind.IDENTICAL, False)
    assert verdict.reason.startswith(f"{wanted} was expected; ")


@pytest.mark.parametrize("ulp", [0, 3])
@pytest.mark.parametrize("wanted", [expects(), within(w={"max_ulp": 9.0}), expects("DIVERGED"), None])
def test_what_is_not_finite_is_never_green_unasked(ulp, wanted):
    assert not judge([distance(ulp=ulp, nonfinite=2)], BOTH, wanted).as_expected


def test_nan_on_both_sides_is_no_comparison():
    verdict = judge([distance(nonfinite=2)], BOTH, expects())
    assert verdict.kind is Kind.NOT_COMPARABLE
    assert verdict.reason.endswith("equal, but 2 elements are NaN or inf on both sides")


def test_what_is_not_finite_may_be_expected():
    assert outcome([distance(nonfinite=2)], BOTH, expects(nonfinite=True)) == (Kind.IDENTICAL, True)
    assert outcome([distance(ulp=1, nonfinite=2)], BOTH, expects("DIVERGED", nonfinite=True)) == (
        Kind.DIVERGED,
        True,
    )


@pytest.mark.parametrize("ulp", [0, 3])
def test_what_is_not_finite_may_be_reported(ulp):
    assert judge([distance(ulp=ulp, nonfinite=2)], BOTH, expects("ANY", nonfinite=True)).as_expected
    assert not judge([distance(ulp=ulp, nonfinite=2)], BOTH, expects("ANY")).as_expected


@pytest.mark.parametrize("wanted", [None, expects(), within(w={"max_ulp": 9.0})])
def test_equality_of_two_that_never_move_is_no_comparison(wanted):
    assert outcome([distance()], (False, False), wanted) == (Kind.NOT_COMPARABLE, False)


@pytest.mark.parametrize(
    ("moved", "side"),
    [((False, True), "actual"), ((True, False), "expected"), ((False, False), "either side")],
)
@pytest.mark.parametrize("wanted", [within(w={"max_ulp": 9.0}), expects("DIVERGED")])
def test_a_side_that_never_moves_is_red(moved, side, wanted):
    verdict = judge([distance(ulp=1)], moved, wanted)
    assert not verdict.as_expected
    assert verdict.reason.startswith(f"{side} never moved a weight; ")


def test_standing_still_may_be_expected():
    assert outcome([distance()], (False, False), expects(moves=False)) == (Kind.IDENTICAL, True)
    assert outcome([distance(ulp=1)], (True, False), expects("DIVERGED", moves=False)) == (
        Kind.DIVERGED,
        True,
    )


def test_an_expectation_to_stand_still_is_stale_where_both_move():
    verdict = judge([distance()], BOTH, expects(moves=False))
    assert not verdict.as_expected
    assert verdict.reason.startswith("the expectation is stale: it says that a side stands still, and both moved")


@pytest.mark.parametrize("kind", [Kind.CRASHED, Kind.SKIPPED])
def test_a_failure_is_green_only_where_it_is_expected(kind):
    assert judge_failure(kind, "it did", expects(kind.value)).as_expected
    for expectation in (None, expects(), expects("DIVERGED"), within(w={"max_ulp": 1e18})):
        verdict = judge_failure(kind, "it did", expectation)
        assert (verdict.kind, verdict.reason, verdict.as_expected) == (kind, "it did", False)


@pytest.mark.parametrize(
    ("limits", "void"),
    [
        ({"max_abs": 1.0}, True),
        ({"max_abs": 0.9}, False),
        ({"max_rel": 1.0}, True),
        ({"max_ulp": float(1 << 30)}, True),
        ({"max_ulp": 4.0}, False),
        ({"max_abs": 1.0, "max_ulp": 4.0}, False),
        ({"max_abs": 1.0, "max_rel": 1.5}, True),
        ({"differing": 5.0}, True),
    ],
)
def test_a_budget_that_admits_an_optimizer_that_never_steps_is_red(limits, void):
    verdict = judge([distance("v", 1)], BOTH, within(v=limits), reaches=[reach()])
    assert verdict.kind is Kind.WITHIN
    assert verdict.as_expected is not void
    assert ("the budget of v" in verdict.reason) is void


def test_a_void_budget_does_not_matter_where_all_is_equal():
    assert outcome([distance("v")], BOTH, within(v={"max_abs": 1.0}), reaches=[reach()]) == (
        Kind.IDENTICAL,
        True,
    )


def test_a_quantity_that_stays_at_nothing_has_no_void_budget():
    still = reach(differing=0, max_abs=0.0)
    found = [distance("v", 1)]
    assert outcome(found, BOTH, within(v={"max_abs": 1.0}), reaches=[still]) == (Kind.WITHIN, True)


def test_hidden_quantities_are_told():
    verdict = judge([distance()], BOTH, expects(), one_sided=["m", "v"])
    assert verdict.reason == "all 100 elements of w are equal; not compared, as one side hides it: m, v"


def unbounded(**more):
    return expects("WITHIN", within={"v": {"max_ulp": 4.0}}, unbounded=("w",), **more)


def test_where_rounding_sets_no_limit_a_difference_is_diverged_and_as_expected():
    verdict = judge([distance("v", 4), distance("w", 1 << 40)], BOTH, unbounded())
    assert (verdict.kind, verdict.as_expected) == (Kind.DIVERGED, True)
    assert verdict.reason.startswith("rounding sets w no limit here; from step 3 (p[7]): v 4 ULP, w ")
    assert outcome([distance("v", 4), distance("w")], BOTH, unbounded()) == (Kind.WITHIN, True)


@pytest.mark.parametrize(
    ("distances", "moved"),
    [
        ([distance("v", 5), distance("w", 9)], BOTH),
        ([distance("v", 4), distance("m", 1), distance("w", 9)], BOTH),
        ([distance("v", 4), distance("w", 9, nonfinite=1)], BOTH),
        ([distance("v", 4), distance("w", 9)], (False, True)),
    ],
    ids=["another quantity is over its limit", "another has none", "not finite", "one side stands still"],
)
def test_no_limit_for_one_quantity_excuses_nothing_else(distances, moved):
    assert not judge(distances, moved, unbounded()).as_expected


def test_a_derived_budget_that_admits_standing_still_is_told_and_not_red():
    """How wide it is says theory, and no case's author."""
    derived = expects("WITHIN", within={"v": {"max_abs": 1.0}}, rounding="operations")
    verdict = judge([distance("v", 1)], BOTH, derived, reaches=[reach("v"), reach("m")])
    assert (verdict.kind, verdict.as_expected, verdict.blind) == (Kind.WITHIN, True, ("v",))
    assert judge([distance("v")], BOTH, derived, reaches=[reach("v")]).blind == ()


DERIVED = {"within": {"w": {"max_ulp": 4.0}}, "rounding": "operations"}


@pytest.mark.parametrize(
    ("formula", "more", "told"),
    [
        (None, {}, (Kind.WITHIN, True)),
        ((), {}, (Kind.EXPLAINED, True)),
        (("epsilon-value",), {}, (Kind.DIVERGED, False)),
        (("epsilon-value",), {"causes": ("epsilon-value",)}, (Kind.EXPLAINED, True)),
        (("epsilon-value", "amsgrad"), {"causes": ("epsilon-value",)}, (Kind.DIVERGED, False)),
        # Where a budget is stated, and under "moments", formulas may differ.
        (("epsilon-value",), {"rounding": "moments"}, (Kind.EXPLAINED, True)),
        (("epsilon-value",), {"rounding": None}, (Kind.EXPLAINED, True)),
    ],
)
def test_what_is_explained_is_more_than_within_and_another_formula_is_less(formula, more, told):
    assert outcome([distance("w", 3)], BOTH, expects("WITHIN", **DERIVED | more), formula=formula) == told
    strict = expects("EXPLAINED", **DERIVED | more)
    kind, green = told
    assert outcome([distance("w", 3)], BOTH, strict, formula=formula) == (kind, green and formula is not None)


def test_what_is_explained_has_to_be_inside_of_its_budget_all_the_same():
    verdict = judge([distance("w", 5)], BOTH, expects("WITHIN", **DERIVED), formula=())
    assert (verdict.kind, verdict.as_expected) == (Kind.DIVERGED, False)
    assert verdict.reason.startswith("WITHIN was expected; w: max_ulp 5 > 4 at step 3")


def test_rounding_that_has_no_limit_may_be_explained():
    assert outcome([distance("w", 999)], BOTH, unbounded(), formula=()) == (Kind.EXPLAINED, True)
    assert outcome([distance("w", 999)], BOTH, unbounded()) == (Kind.DIVERGED, True)


def test_why_nothing_is_explained_is_told_where_it_was_expected():
    verdict = judge([distance("w", 3)], BOTH, expects("EXPLAINED", **DERIVED), unexplained="bits are left")
    assert verdict.reason.startswith("EXPLAINED was expected, and bits are left; from step 3")
