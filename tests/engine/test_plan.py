"""Which pairs are compared, and when there is nothing to compare."""

from __future__ import annotations

import pytest

import parity
from parity.api.run import make_plan
from parity.case.expectation import Kind
from parity.core.errors import NothingCompared, ParityError

ANY = {
    "actual": "numpy.*",
    "expected": "numpy.*",
    "verdict": "DIVERGED",
    "because": "Other formulas, both ways.",
}


@pytest.fixture
def plan(tmp_path):
    def make(*paths, implementations=("numpy.adam.outside", "numpy.adam.hat"), keyword="", dtypes=()):
        return make_plan(paths, keyword, implementations, dtypes, tmp_path)

    return make


def test_a_pair_stands_once_and_is_never_turned_round(plan, write_case):
    (cell,) = plan(write_case(expect=[ANY])).cells
    assert cell.pairs == (("numpy.adam.outside", "numpy.adam.hat"),)


def test_only_those_in_a_pair_take_part(plan, write_case):
    (cell,) = plan(write_case(), implementations=("numpy.adam.*", "torch.adam.fused")).cells
    assert [one.name for one in cell.candidates] == ["numpy.adam.outside", "numpy.adam.hat"]


def test_cells_are_cases_by_dtype_from_the_most_precise_on(plan, write_case):
    cases = [write_case(name, dtypes=["bfloat16", "float64", "float32"]) for name in ("a", "b")]
    names = [cell.name for cell in plan(*cases, dtypes=["float32", "float64"]).cells]
    assert names == ["a float64", "a float32", "b float64", "b float32"]


def test_a_case_that_is_named_twice_is_run_once(plan, write_case):
    case = write_case()
    assert len(plan(case, case, case.parent).cells) == 1


@pytest.mark.parametrize(
    ("selection", "told"),
    [
        ({"keyword": "other"}, "no case is selected"),
        ({"implementations": ["numpy.adam.hat"]}, "only numpy.adam.hat is selected; it takes two"),
        ({"implementations": ["numpy.adam.hat", "numpy.adam.inside"]}, "no expectation of 1 case"),
        ({"dtypes": ["float64"]}, "no expectation of 1 case"),
    ],
)
def test_nothing_to_compare_is_an_error(plan, write_case, selection, told):
    with pytest.raises(NothingCompared, match=f"nothing to compare: {told}"):
        plan(write_case(), **selection)


def test_the_reference_joins_a_plugin_whatever_else_is_selected(plan, write_case, write_adam):
    (cell,) = plan(write_case(), implementations=(write_adam(), "numpy.adam.inside")).cells
    assert cell.pairs == (("user.plugin", "numpy.adam.outside"),)


def test_two_implementations_of_one_name(plan, write_case, write_adam, tmp_path):
    target = write_adam()
    (tmp_path / "copy.py").write_text((tmp_path / "plugin.py").read_text())
    with pytest.raises(ParityError, match=r"two implementations are called 'user\.plugin'"):
        plan(write_case(), implementations=(target, f"{tmp_path / 'copy.py'}:plugin"))


CRASHED = {
    "actual": "user.*",
    "expected": "numpy.adam.outside",
    "verdict": "CRASHED",
    "because": "It is known to crash.",
}
HAT = {
    "actual": "numpy.adam.hat",
    "expected": "numpy.adam.outside",
    "verdict": "DIVERGED",
    "because": "Other formula.",
}
CRASHES = {"before": "raise ValueError('planted')"}


def test_a_crash_that_is_expected_is_green_beside_what_was_compared(run_small, write_adam, verdict_of):
    run = run_small(write_adam(**CRASHES), "numpy.adam.hat", expect=[CRASHED, HAT])
    assert verdict_of(run).kind is Kind.CRASHED
    assert run.exit_code == 0


def test_nothing_compared_is_never_green_even_where_all_is_as_expected(run_small, write_adam):
    run = run_small(write_adam(**CRASHES), expect=[CRASHED])
    assert run.counts.as_expected == run.counts.pairs
    assert run.exit_code == 5


@pytest.mark.parametrize(
    ("facts", "told"),
    [
        ("dtypes=('float64',)", "does not run in float32"),
        ("needs=('no_such_framework',)", "no_such_framework is not installed"),
    ],
)
def test_an_implementation_that_cannot_run_here_is_a_skipped_row(tmp_path, write_case, verdict_of, facts, told):
    (tmp_path / "narrow.py").write_text(
        f"from parity import Implementation\nadam = Implementation('narrow', print, {facts})\n"
    )
    run = parity.run([write_case()], [f"{tmp_path / 'narrow.py'}:adam", "numpy.adam.hat"], output=tmp_path / "run")
    verdict = verdict_of(run, "user.narrow")
    assert (verdict.kind, verdict.reason) == (Kind.SKIPPED, f"user.narrow: {told}")
    assert run.exit_code == 1
    assert verdict_of(run, "numpy.adam.hat").as_expected


WRONG = [("1 - hyper.beta1**t", "1 - hyper.beta1**(t + 1)")]


def written(write_adam, **planted):
    """Targets of plug-ins by name, each with what is planted in it."""
    return {name: write_adam(name, **lines) for name, lines in planted.items()}


@pytest.mark.parametrize(
    ("names", "pairs"),
    [
        (["numpy.adam.hat", "numpy.adam.outside"], [("numpy.adam.outside", "numpy.adam.hat")]),
        (["numpy.adam.outside", "numpy.adam.hat"], [("numpy.adam.hat", "numpy.adam.outside")]),
        (["numpy.adam.inside", "two", "numpy.adam.hat"],
         [("numpy.adam.hat", "numpy.adam.inside"), ("user.two", "numpy.adam.inside")]),
        (["one", "two"], [("user.two", "user.one")]),
        (["two", "numpy.adam.hat", "one"], [("numpy.adam.hat", "user.two"), ("user.one", "user.two")]),
        (["numpy.*"], [("numpy.adam.hat", "numpy.adam.outside"), ("numpy.adam.inside", "numpy.adam.outside")]),
        (["two"], [("user.two", "numpy.adam.outside")]),
        (["two", "two"], [("user.two", "numpy.adam.outside")]),
        (["numpy.adam.hat", "numpy.adam.outside", "numpy.adam.hat"], [("numpy.adam.outside", "numpy.adam.hat")]),
    ],
)  # fmt: skip
def test_a_case_without_expectations_holds_all_against_the_first(plan, write_case, write_adam, names, pairs):
    targets = written(write_adam, one={}, two={})
    (cell,) = plan(write_case(expect=None), implementations=[targets.get(name, name) for name in names]).cells
    assert sorted(cell.pairs) == sorted(pairs)
    assert {one.name for one in cell.candidates} == {name for pair in pairs for name in pair}


@pytest.mark.parametrize("names", [["numpy.adam.hat"], ["numpy.adam.hat", "numpy.adam.hat"]])
def test_one_alone_is_nothing_to_compare_there_either(plan, write_case, names):
    with pytest.raises(NothingCompared, match=r"only numpy\.adam\.hat is selected; it takes two"):
        plan(write_case(expect=None), implementations=names)


def reported(run):
    return {(one.actual, one.expected): (one.verdict.kind, one.verdict.as_expected) for one in run.verdicts}


def test_what_is_reported_is_green_where_all_is_identical_within_or_explained(run_small, write_adam):
    targets = written(write_adam, one={}, two={}, other={"swap": [("f(hyper.beta2) * v[name] + ", "")]})
    run = run_small(targets["one"], targets["two"], "torch.adam.fused", "numpy.adam.hat", expect=None,
                    hyper={"eps": 1e-3})  # fmt: skip
    assert reported(run) == {
        ("user.two", "user.one"): (Kind.IDENTICAL, True),
        ("torch.adam.fused", "user.one"): (Kind.EXPLAINED, True),
        ("numpy.adam.hat", "user.one"): (Kind.EXPLAINED, True),
    }
    assert (run.exit_code, run.stale) == (0, ())
    run = run_small(targets["one"], targets["two"], targets["other"], expect=None, output="again")
    assert reported(run)["user.other", "user.one"] == (Kind.DIVERGED, False)
    assert reported(run)["user.two", "user.one"] == (Kind.IDENTICAL, True)
    assert run.exit_code == 1
    (told,) = [one.verdict.reason for one in run.unexpected]
    assert told.startswith("not explained: ")
    assert "bits of user.other are not accounted for; from step 2 " in told


def test_what_nobody_explains_is_green_within_rounding_only(tmp_path, write_case, write_adam):
    case = write_case(expect=None, hyper={"eps": 1e-3})
    targets = [write_adam("one"), "torch.adam.fused", "numpy.adam.hat"]
    run = parity.run([case], targets, output=tmp_path / "run", explained=False)
    assert reported(run) == {
        ("torch.adam.fused", "user.one"): (Kind.WITHIN, True),
        ("numpy.adam.hat", "user.one"): (Kind.DIVERGED, False),
    }
    assert run.exit_code == 1


def test_what_crashes_is_skipped_or_stands_still_is_not_green_there(run_small, write_adam):
    targets = written(write_adam, one={}, bad=CRASHES, not_today={"first": "raise Unsupported('not today')"},
                      still={"after": "state = State(w=weights, m=m, v=v)"},
                      nan={"after": "state = State({n: a * np.nan for n, a in w.items()}, m, v)"})  # fmt: skip
    run = run_small(*targets.values(), expect=None)
    found = {actual.removeprefix("user."): kind for (actual, _), (kind, _) in reported(run).items()}
    assert found["bad"] is Kind.CRASHED
    assert found["not_today"] is Kind.SKIPPED
    assert {found["still"], found["nan"]} == {Kind.DIVERGED}
    assert not any(one.verdict.as_expected for one in run.verdicts)
    assert run.exit_code == 1


def test_a_budget_that_one_passes_who_never_steps_makes_nobody_the_same(run_small, write_adam):
    """In bfloat16 the budget for rounding is wider than all that a small lr does in five steps."""
    still = write_adam("still", after="state = State(w=weights, m=m, v=v)")
    keys = {"expect": None, "dtypes": ["bfloat16"], "hyper": {"lr": 1e-3, "eps": 1e-3}}
    run = run_small("numpy.adam.outside", still, **keys)
    assert reported(run) == {("user.still", "numpy.adam.outside"): (Kind.DIVERGED, False)}


def test_what_is_shipped_for_some_dtypes_is_not_asked_in_others(plan, write_case):
    case = write_case(expect=None, dtypes=["float32", "bfloat16"])
    cells = plan(case, implementations=["numpy.adam.outside", "numpy.adam.hat", "numpy.adam.hat.store"]).cells
    assert [(cell.dtype, len(cell.pairs)) for cell in cells] == [("float32", 1), ("bfloat16", 2)]
