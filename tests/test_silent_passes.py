"""What passes in silence elsewhere is red here: runs of plug-ins (traces: test_silent_passes_traces.py).

The list is that of the project's field study; every item is driven through a public door.
"""

from __future__ import annotations

import pytest

import parity
from parity.case.expectation import Kind
from parity.core.errors import NothingCompared, ParityError

EVERY_W = "state = State(w={{name: {} for name, a in w.items()}}, m=m, v=v)"
NAN_AT_3 = "if t == 3: {} = {} * np.float32('nan')"


@pytest.mark.parametrize("steps", [0, -1])
def test_no_steps(command, write_case, tmp_path, steps):
    code, _, err = command("run", write_case(steps=steps), "-i", "numpy.adam.*", "-o", tmp_path / "run")
    assert code == 4
    assert "steps" in err


def test_a_single_implementation(command, write_case, tmp_path):
    code, _, err = command("run", write_case(), "-i", "numpy.adam.outside", "-o", tmp_path / "run")
    assert code == 5
    assert "only numpy.adam.outside is selected; it takes two" in err


def test_a_plugin_that_no_expectation_pairs_with_anything(write_adam, run_small):
    """It would be left out without a word where others are compared."""
    expect = [
        {
            "actual": "numpy.adam.hat",
            "expected": "numpy.adam.outside",
            "verdict": "DIVERGED",
            "because": "Other formula.",
        }
    ]
    with pytest.raises(NothingCompared, match=r"nothing to compare user\.plugin with"):
        run_small(write_adam(), "numpy.adam.hat", expect=expect)


def test_a_case_that_states_no_expectation_holds_all_against_the_first_and_reports(write_case, tmp_path):
    cases = [write_case("silent", expect=[]), write_case("small")]
    names = ["numpy.adam.outside", "numpy.adam.hat", "numpy.adam.inside"]
    run = parity.run(cases, names, output=tmp_path / "run")
    assert run.exit_code == 0
    told = [(one.actual, one.expected, one.verdict.kind) for one in run.verdicts if one.case == "silent"]
    assert told == [(name, names[0], Kind.EXPLAINED) for name in names[1:]]
    assert {one.verdict.wanted for one in run.verdicts if one.case == "silent"} == {None}
    with pytest.raises(NothingCompared, match=r"only numpy\.adam\.hat is selected; it takes two"):
        parity.run(cases[:1], ["numpy.adam.hat"], output=tmp_path / "alone")


@pytest.mark.parametrize("planted", ["if t == 3: raise ValueError('planted')", "w[name][...] = np.nan"])
def test_what_is_only_reported_is_not_green_where_nothing_can_be_compared(write_case, write_adam, tmp_path, planted):
    """A crash, and NaN on one side only."""
    case = write_case("silent", expect=[])
    places = {"after": f"for name in w: {planted}"} if "nan" in planted else {"before": planted}
    run = parity.run([case], [write_adam(**places), "numpy.adam.outside"], output=tmp_path / "run")
    (one,) = run.verdicts
    assert (one.verdict.as_expected, run.exit_code) == (False, 1)
    assert one.verdict.kind is (Kind.DIVERGED if "nan" in planted else Kind.CRASHED)


def test_two_cases_of_one_name(write_case, tmp_path):
    """One of them would take the other's place."""
    (tmp_path / "other").mkdir()
    case = write_case()
    (tmp_path / "other" / case.name).write_text(case.read_text().replace("seed = 7", "seed = 8"))
    with pytest.raises(ParityError, match="two cases are called 'small'"):
        parity.run([case, tmp_path / "other" / case.name], ["numpy.adam.*"], output=tmp_path / "run")


def test_an_expectation_that_matches_nothing(run_small):
    stale = {
        "actual": "torch.adam.forlop",
        "expected": "numpy.adam.outside",
        "verdict": "IDENTICAL",
        "because": "A typing error.",
    }
    living = {
        "actual": "numpy.adam.hat",
        "expected": "numpy.adam.outside",
        "verdict": "DIVERGED",
        "because": "Other formula.",
    }
    run = run_small("numpy.adam.outside", "numpy.adam.hat", expect=[stale, living])
    assert run.counts.as_expected == run.counts.pairs
    assert run.exit_code == 1


@pytest.mark.parametrize(
    "planted",
    [
        pytest.param({"before": "if t == 4: return"}, id="too few states"),
        pytest.param({"before": "if t == 1: return"}, id="no state"),
        pytest.param({"after": "state = State(w={'kernel': w['kernel']}, m=m, v=v)"}, id="w lacks a tensor"),
        pytest.param({"after": "state = State(w=w, m=m, v={'kernel': v['kernel']})"}, id="v lacks a tensor"),
        pytest.param({"after": EVERY_W.format("a[:1]")}, id="broadcasts"),
        pytest.param({"after": EVERY_W.format("a.T")}, id="transposed"),
        pytest.param({"after": EVERY_W.format("a.astype(np.float64)")}, id="promoted"),
        pytest.param({"after": EVERY_W.format("a[:0]")}, id="empty"),
        pytest.param({"first": "raise Unsupported('nothing is')"}, id="skips"),
    ],
)
def test_a_state_of_another_form(run_small, write_adam, verdict_of, planted):
    run = run_small(write_adam(**planted))
    assert verdict_of(run).kind in (Kind.CRASHED, Kind.SKIPPED)
    assert not verdict_of(run).as_expected
    assert run.exit_code in (1, 5)


@pytest.mark.parametrize("shape", [[0], [3, 0]])
def test_empty_tensors_as_the_only_content(command, write_case, tmp_path, shape):
    case = write_case(parameters=[{"name": "nothing", "shape": shape}])
    code, _, err = command("run", case, "-i", "numpy.adam.*", "-o", tmp_path / "run")
    assert code == 4
    assert "every tensor is empty, nothing would be compared" in err


@pytest.mark.parametrize(
    "planted",
    [
        pytest.param({"after": NAN_AT_3.format("w['bias'][2:3]", "w['bias'][2:3]")}, id="NaN in w"),
        pytest.param({"after": NAN_AT_3.format("v['bias'][2:3]", "v['bias'][2:3]")}, id="NaN in v"),
        pytest.param({"after": EVERY_W.format("a[..., ::-1].copy()")}, id="w reversed"),
        pytest.param(
            {"after": "state = State(w=w, m=m, v={name: a[::-1].copy() for name, a in v.items()})"},
            id="v reversed",
        ),
        pytest.param({"after": "if t == 5: w['bias'][0] *= np.float32(1.01)"}, id="last step only"),
        pytest.param({"after": "if t == 1: v['bias'][0] *= np.float32(1.01)"}, id="first step only"),
        pytest.param({"after": "state = State(w=weights, m=m, v=v)"}, id="never steps"),
    ],
)
def test_a_state_of_another_value(run_small, write_adam, verdict_of, planted):
    run = run_small(write_adam(**planted))
    assert verdict_of(run).kind is Kind.DIVERGED
    assert not verdict_of(run).as_expected
    assert run.exit_code == 1


def test_a_first_step_that_differs_is_the_one_that_is_named(run_small, write_adam, verdict_of):
    """And a difference that is gone at the end still counts."""
    late = EVERY_W.format("a + 1 * (t == 2 and name == 'bias')")
    assert "at step 2 in bias" in verdict_of(run_small(write_adam(after=late))).reason


def test_nan_on_both_sides(run_small, write_adam, verdict_of):
    """Overflowing gradients: everybody is NaN, and nobody is right."""
    run = run_small(
        write_adam(),
        gradients={"kind": "constant", "value": 3e38},
        hyper={"eps": 0.0, "lr": 1e38, "beta1": 0.0},
        steps=9,
    )
    assert not verdict_of(run).as_expected
    assert "NaN or inf" in verdict_of(run).reason
    assert run.exit_code == 1


BOTH_WRONG = {"swap": [("1 - hyper.beta2**t", "1.0")]}


def test_both_sides_wrong_in_the_same_way(run_small, write_adam, verdict_of):
    """They are equal to each other, and held against the reference, which joins unasked."""
    equal = {
        "actual": "user.one",
        "expected": "user.two",
        "verdict": "IDENTICAL",
        "because": "They are the same.",
    }
    paper = {
        "actual": "user.*",
        "expected": "numpy.adam.outside",
        "verdict": "WITHIN",
        "rounding": "operations",
        "because": "Algorithm 1.",
    }
    run = run_small(write_adam("one", **BOTH_WRONG), write_adam("two", **BOTH_WRONG), expect=[equal, paper])
    by_pair = {(one.actual, one.expected): one.verdict for one in run.verdicts}
    assert by_pair["user.one", "user.two"].kind is Kind.IDENTICAL
    for name in ("user.one", "user.two"):
        assert by_pair[name, "numpy.adam.outside"].kind is Kind.DIVERGED
    assert run.exit_code == 1


def test_both_never_step(run_small, write_adam, verdict_of):
    still = {"after": "state = State(w=weights)"}
    equal = {
        "actual": "user.one",
        "expected": "user.two",
        "verdict": "IDENTICAL",
        "because": "They are the same.",
    }
    run = run_small(write_adam("one", **still), write_adam("two", **still), expect=[equal])
    assert verdict_of(run, "user.one").reason.endswith("equal, but neither side ever moved a weight")
    assert run.exit_code == 1


def test_a_tolerance_does_not_leak_into_the_next_case(write_case, write_adam, tmp_path):
    loose = {
        "actual": "user.*",
        "expected": "numpy.adam.outside",
        "verdict": "WITHIN",
        "because": "It is loose on purpose.",
    }
    strict = loose | {"verdict": "IDENTICAL"}
    budgets = {"w": {"max_steps": 0.5}, "*": {"max_rel": 0.5}}
    cases = [
        write_case("a-loose", expect=[loose | {"within": budgets}]),
        write_case("b-strict", expect=[strict]),
        write_case("c-loose", expect=[loose | {"within": budgets}]),
    ]
    run = parity.run(cases, [write_adam(after="w['bias'] *= np.float32(1.00001)")], output=tmp_path / "run")
    assert [(one.verdict.kind, one.verdict.as_expected) for one in run.verdicts] == [
        (Kind.WITHIN, True),
        (Kind.DIVERGED, False),
        (Kind.WITHIN, True),
    ]
    assert run.exit_code == 1


def test_a_tolerance_larger_than_the_quantity(run_small, write_adam, verdict_of):
    """v is of the order of 1e-5 here, and atol 1e-5 is what others take for float32: any v would pass."""
    expect = [
        {
            "actual": "user.*",
            "expected": "numpy.adam.outside",
            "verdict": "WITHIN",
            "within": {"v": {"max_abs": 1e-3}, "*": {"max_ulp": 100.0}},
            "because": "Taken over from somewhere.",
        }
    ]
    run = run_small(write_adam(after="state = State(w=w, m=m, v={k: 2 * a for k, a in v.items()})"), expect=expect)
    verdict = verdict_of(run)
    assert verdict.kind is Kind.WITHIN
    assert not verdict.as_expected
    assert verdict.reason.startswith("the budget of v (max_abs 0.001) would admit an optimizer that never steps; ")
    assert run.exit_code == 1


def test_a_derived_budget_as_wide_as_the_quantity_is_told(run_small, write_adam, verdict_of):
    """In bfloat16 rounding alone may carry weights of 1 further than 40 steps of 0.001 do."""
    run = run_small(write_adam(after="if t == 5: w['bias'][3] += f(0.01)"), dtypes=["bfloat16"], steps=40)
    assert "w" in verdict_of(run).blind
    assert "WITHIN says nothing about w in bfloat16" in [finding.title for finding in run.findings]


def test_a_budget_as_wide_as_the_quantity_is_not_needed_where_every_bit_is_explained(run_small, write_adam, verdict_of):
    """The twin of a right Adam says what no budget can say in bfloat16; and of a wrong one, that it is another."""
    eps = {"eps": 1e-3}
    right = verdict_of(run_small(write_adam(), dtypes=["bfloat16"], steps=40, hyper=eps))
    assert (right.kind, right.as_expected, right.blind) == (Kind.EXPLAINED, True, ())
    step = "f(hyper.lr * (1 - hyper.beta2**t) ** 0.5 / (1 - hyper.beta1**t))"
    hat = [("f(hyper.lr_at(t)) * m_hat", f"{step} * m[name]"), ("np.sqrt(v_hat)", "np.sqrt(v[name])")]
    wrong = write_adam("hat", swap=hat)
    wrong = verdict_of(run_small(wrong, dtypes=["bfloat16"], steps=40, hyper=eps, output="wrong"), "user.hat")
    assert (wrong.kind, wrong.as_expected) == (Kind.DIVERGED, False)
    assert wrong.reason == "WITHIN was expected; another formula: epsilon-placement"


def test_one_bad_element_in_a_million(run_small, write_adam, verdict_of):
    bad = write_adam(after="if t == 2: w['p'][654321] += np.float32(0.01)")
    run = run_small(bad, parameters=[{"name": "p", "shape": [1_000_000]}], steps=2)
    verdict = verdict_of(run)
    assert verdict.kind is Kind.DIVERGED
    assert not verdict.as_expected
    assert "at step 2 in p" in verdict.reason
    (w,) = [one for one in run.cells[0].pairs[0].distances if one.quantity == "w"]
    assert w.worst_max_steps.value == pytest.approx(10, rel=1e-2)


def test_a_reference_that_is_0_in_a_relative_error(run_small, write_adam, verdict_of):
    """All gradients are 0, so m is 0, and any m is infinitely far away."""
    expect = [
        {
            "actual": "user.*",
            "expected": "numpy.adam.outside",
            "verdict": "WITHIN",
            "within": {"*": {"max_rel": 1e300}},
            "moves": False,
            "because": "Nothing moves here.",
        }
    ]
    bad = write_adam(after="m['bias'][1] = 1e-30")
    run = run_small(bad, gradients={"kind": "zero"}, expect=expect)
    assert "m: max_rel inf > 1e+300" in verdict_of(run).reason
    assert run.exit_code == 1


def test_equality_everywhere_is_reported_like_anything_else(command, write_case, write_adam, tmp_path):
    """Two copies of one Adam: no figure is missing, nothing divides by zero."""
    equal = {
        "actual": "user.one",
        "expected": "user.two",
        "verdict": "IDENTICAL",
        "because": "They are the same.",
    }
    case = write_case(expect=[equal])
    targets = [part for name in ("one", "two") for part in ("-i", write_adam(name))]
    code, out, err = command("run", case, *targets, "-v", "-o", tmp_path / "run", "--keep-traces")
    assert (code, "Traceback" in err) == (0, False)
    assert "1 of 1 pairs as expected" in out
    assert "1 IDENTICAL" in (tmp_path / "run" / "report.md").read_text()
    traces = tmp_path / "run" / "traces" / "small" / "float32"
    code, out, _ = command("compare", traces / "user.one", traces / "user.two")
    assert (code, "IDENTICAL all 255 elements of m, v, w are equal" in out) == (0, True)
