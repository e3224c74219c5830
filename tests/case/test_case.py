"""The question itself: its digest, its hyperparameters, what it expects."""

from __future__ import annotations

import math
from typing import Any

import pytest
from pydantic import ValidationError

from parity.case.budget import Magnitudes, rounding_budget
from parity.case.case import Case, unmatched_expectations, unused_base_expectations
from parity.case.expectation import Budget, Expectation
from parity.core.hyper import Hyper
from parity.numerics.formats import FORMATS

ONE: dict[str, Any] = {
    "name": "one",
    "summary": "A case of a test.",
    "why": "It is tested here.",
    "seed": 1,
    "steps": 2,
    "dtypes": ("float32", "float16"),
    "hyper": {"lr": 0.01},
    "parameters": (
        {
            "name": "kernel",
            "shape": (2, 3),
            "weights": {"kind": "uniform", "low": -1, "high": 1},
            "gradients": {"kind": "bell", "scale": 0.1},
        },
    ),
}

MAGNITUDES = Magnitudes(weight=1.0, smallest=1e-6, largest=0.3)


def expectation(actual: str, expected: str, **more: Any) -> Expectation:
    return Expectation(
        **{"actual": actual, "expected": expected, "verdict": "DIVERGED", "because": "Only a test.", **more}
    )


def case(**more: Any) -> Case:
    return Case.model_validate({**ONE, **more})


def parameter(**more: Any) -> tuple[dict[str, Any]]:
    return ({**ONE["parameters"][0], **more},)


def test_the_digest_is_pinned() -> None:
    assert case().digest() == "5812362bb63dff3a5978970132fef42bc0d7f6841a255b642a91f32c5871a02f"


@pytest.mark.parametrize(
    "more",
    [
        {"seed": 2},
        {"steps": 3},
        {"hyper": {"lr": math.nextafter(0.01, 1)}},
        {"hyper": {"lr": "default"}},
        {"hyper": {"lr": 0.01, "decoupled": True}},
        {"parameters": parameter(name="other")},
        {"parameters": parameter(shape=(3, 2))},
        {"parameters": parameter(weights={"kind": "zero"})},
        {"parameters": parameter(gradients={"kind": "bell", "scale": 0.2})},
        {"parameters": parameter(gradients={"kind": "bell", "scale": 0.1, "none_steps": (1,)})},
    ],
)
def test_the_digest_follows_the_question(more: dict[str, Any]) -> None:
    assert case(**more).digest() != case().digest()


@pytest.mark.parametrize(
    "more",
    [
        {"name": "two"},
        {"summary": "Another summary."},
        {"why": "Another reason."},
        {"dtypes": ("float64",)},
        {"expect": (expectation("a", "b"),)},
        {"hyper": {"lr": 0.01, "beta1": 0.9}},
    ],
)
def test_the_digest_does_not_follow_prose_dtypes_and_expectations(more: dict[str, Any]) -> None:
    assert case(**more).digest() == case().digest()


def test_a_case_is_frozen_and_survives_json() -> None:
    one = case(expect=(expectation("a", "b", verdict="WITHIN", within={"*": {"max_ulp": 2}}),))
    with pytest.raises(ValidationError):
        one.steps = 3  # type: ignore[misc]
    assert Case.model_validate_json(one.model_dump_json()) == one


def test_the_layout_is_the_parameters_in_their_order() -> None:
    layout = case().layout()
    assert [(one.name, one.shape) for one in layout.parameters] == [("kernel", (2, 3))]
    assert layout.size == 6


def test_default_takes_the_implementation_s_own() -> None:
    keras = Hyper(lr=0.5, beta1=0.8, beta2=0.99, eps=1e-7, weight_decay=0.3, amsgrad=True)
    asked = case(hyper={"lr": "default", "eps": "default", "beta1": 0.7})
    assert asked.hyper_for(keras) == Hyper(lr=0.5, beta1=0.7, beta2=0.999, eps=1e-7)
    assert case(hyper={"lr": (0.1, 0.2)}).hyper_for(keras) == Hyper(lr=(0.1, 0.2))


def test_the_first_match_wins() -> None:
    one = case(expect=(expectation("a.*", "n", verdict="IDENTICAL"), expectation("*", "n")))
    found = [one.expectation_for(actual, "n", "float32") for actual in ("a.b", "user.b")]
    assert [each and each.verdict for each in found] == ["IDENTICAL", "DIVERGED"]
    assert one.expectation_for("a.b", "other", "float32") is None


def test_no_implementation_is_compared_with_itself() -> None:
    one = case(expect=(expectation("*", "*"),))
    assert one.expectation_for("a", "a", "float32") is None
    assert one.expectation_for("a", "b", "float32") is not None


def test_alternatives_are_parted_by_a_bar() -> None:
    one = expectation("torch.* | user.*", "n")
    assert [one.speaks_of(name, "float32") for name in ("torch.a", "user.a", "keras.a")] == [True, True, False]
    assert [one.expects(name) for name in ("n", "torch.a")] == [True, False]


def test_dtypes_limit_an_expectation() -> None:
    one = case(expect=(expectation("a", "b", dtypes=("float16",)),))
    assert one.expectation_for("a", "b", "float16") is not None
    assert one.expectation_for("a", "b", "float32") is None


def test_what_restates_adds_no_pair() -> None:
    one = case(expect=(expectation("*", "*", restates=True, verdict="SKIPPED"), expectation("a", "b")))
    found = one.expectation_for("a", "b", "float32")
    assert found is not None
    assert found.verdict == "SKIPPED"
    assert one.expectation_for("b", "a", "float32") is None


def test_stale_and_hidden_expectations_are_found() -> None:
    used, stale, hidden = expectation("a", "b"), expectation("c", "d"), expectation("a", "*")
    one = case(expect=(used, stale, hidden))
    assert unmatched_expectations(one, [("a", "b"), ("b", "a")]) == (stale, hidden)
    assert unmatched_expectations(one, [("a", "b"), ("a", "c"), ("c", "d")]) == ()
    late = case(expect=(expectation("a", "b", dtypes=("bfloat16",)),))
    assert unmatched_expectations(late, [("a", "b")]) == late.expect
    assert unmatched_expectations(late, [("a", "b")], ("bfloat16",)) == ()


def test_a_base_expectation_is_stale_if_no_case_comes_to_it() -> None:
    own, shared, dead = expectation("a", "b"), expectation("*", "b"), expectation("x", "y")
    first = case(expect=(own, shared, dead), inherited=2)
    second = case(expect=(shared, dead), inherited=2)
    assert unmatched_expectations(first, [("a", "b")]) == ()
    assert unused_base_expectations((first, second), [("a", "b")]) == (dead,)
    assert unused_base_expectations((first,), [("a", "b")]) == (shared, dead)


def test_rounding_becomes_budgets_and_stated_ones_win() -> None:
    stated = expectation("a", "b", verdict="WITHIN", rounding="operations", within={"m": {"max_abs": 1.0}})
    found = case(expect=(stated,)).expectation_for("a", "b", "float32")
    assert found is not None
    assert found.within is not None
    assert set(found.within) == {"w", "m", "v", "vmax"}
    assert found.within["m"] == Budget(max_abs=1.0)
    assert found.within["v"] == Budget(max_ulp=14.0)


def test_a_budget_belongs_to_within() -> None:
    for more in ({"verdict": "WITHIN"}, {"within": {"*": {"max_ulp": 1}}}, {"rounding": "store"}):
        with pytest.raises(ValidationError, match="belong to the verdict WITHIN"):
            expectation("a", "b", **more)


def test_the_budget_of_one_step_is_that_of_the_docstring() -> None:
    u = 2.0**-24
    budget = rounding_budget(FORMATS["float32"], Hyper(lr=0.5), 1, MAGNITUDES, "operations")
    assert budget["v"].max_ulp == 2 * (3 + 1)
    assert budget["m"].max_abs == pytest.approx(2 * 3 * u * 0.3)
    # t = 1: K = 1 / sqrt(1), R = 1, so lr (3 u / 0.1 + 2 u + 8 u) and u (W + lr).
    assert budget["w"].max_steps == pytest.approx(2 * u * ((30 + 2 + 8) + (1 + 0.5) / 0.5), rel=1e-6)


def test_the_budget_of_rounded_betas_is_that_of_the_docstring() -> None:
    u = 2.0**-24
    scalars, betas = (
        rounding_budget(FORMATS["float32"], Hyper(lr=0.5, beta2=0.99), 1, MAGNITUDES, rounding)
        for rounding in ("scalars", "betas")
    )
    # c1 = 9 u, c2 = 99 u; t = 1: K = 1 and R = 1, and 2 t is t + 1.
    left = (1 - 99 * u) * (1 - u)
    assert betas["v"].max_ulp - scalars["v"].max_ulp == pytest.approx(2 * (1 / left - 1) / u, rel=1e-6)
    assert betas["m"].max_abs - scalars["m"].max_abs == pytest.approx(2 * (2 * 9 * u * 0.3), rel=1e-6)
    more = 2 * (2 * 9 * u + 1 / math.sqrt(left) - 1)
    assert betas["w"].max_steps - scalars["w"].max_steps == pytest.approx(more, rel=1e-6)


def test_the_budget_of_rounded_betas_holds_for_betas_that_were() -> None:
    """The moments of constant gradients, by hand, with both betas off by as much as they can be."""
    u, steps, gradient = 2.0**-24, 40, 0.3
    budget = rounding_budget(FORMATS["float32"], Hyper(), steps, MAGNITUDES, "betas")
    assert budget["m"].max_abs is not None
    assert budget["v"].max_ulp is not None
    for sign in (-1, 1):
        b1, b2 = 0.9 * (1 + sign * u), 0.999 * (1 + sign * u)
        for t in range(1, steps + 1):
            assert abs(gradient * (b1**t - 0.9**t)) <= budget["m"].max_abs
            assert abs((1 - b2**t) / (1 - 0.999**t) - 1) / u <= budget["v"].max_ulp
        assert abs((1 - b2) / 0.001 - 1) / u > 100  # what "scalars" allows does not cover it after a few steps


def test_budgets_grow_with_what_may_go_wrong() -> None:
    def limits(format: str = "float32", steps: int = 40, rounding: Any = "operations", **hyper: Any) -> float:
        budget = rounding_budget(FORMATS[format], Hyper(**hyper), steps, MAGNITUDES, rounding)
        assert budget["w"].max_steps is not None
        return budget["w"].max_steps

    assert limits("float64") < 1e-8 * limits()
    assert limits(steps=41) > limits()
    assert limits("float64", rounding="scalars") > 1e6 * limits("float64")
    assert limits(rounding="store") < limits()
    assert limits(weight_decay=0.1, decoupled=True) > limits()


@pytest.mark.parametrize(
    ("format", "hyper", "magnitudes", "rounding", "unlimited"),
    [
        ("float16", Hyper(), MAGNITUDES, "operations", {"w"}),
        ("float32", Hyper(), MAGNITUDES, "moments", {"w"}),
        ("float32", Hyper(), Magnitudes(1.0, 1e-20, 1e-19), "operations", {"w"}),
        ("float32", Hyper(), Magnitudes(1.0, 1.0, 1e20), "operations", {"w", "m", "v", "vmax"}),
        ("float16", Hyper(weight_decay=0.1), MAGNITUDES, "operations", {"w", "m", "v", "vmax"}),
        ("float32", Hyper(weight_decay=0.1), MAGNITUDES, "operations", set()),
        ("float32", Hyper(beta2=0.0, beta1=0.0), MAGNITUDES, "scalars", set()),
        ("float32", Hyper(beta2=0.0, beta1=0.0), MAGNITUDES, "betas", set()),
        ("bfloat16", Hyper(), MAGNITUDES, "betas", {"w", "v", "vmax"}),
        ("bfloat16", Hyper(beta2=0.95), MAGNITUDES, "betas", set()),
        ("float32", Hyper(weight_decay=0.1), MAGNITUDES, "betas", {"w", "m", "v", "vmax"}),
    ],
)
def test_nothing_is_promised_where_nothing_holds(
    format: str, hyper: Hyper, magnitudes: Magnitudes, rounding: Any, unlimited: set[str]
) -> None:
    budget = rounding_budget(FORMATS[format], hyper, 40, magnitudes, rounding)
    assert {"w", "m", "v", "vmax"} - set(budget) == unlimited


def test_a_schedule_and_a_standing_rate_are_limited_absolutely() -> None:
    for hyper in (Hyper(lr=(0.1, 0.2)), Hyper(lr=0.0)):
        budget = rounding_budget(FORMATS["float32"], hyper, 2, MAGNITUDES, "operations")["w"]
        assert set(budget.limits()) == {"max_abs"}
