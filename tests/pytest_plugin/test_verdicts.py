"""What a pair comes to: passed, failed with all that is known, skipped; and what turns a session red beside it."""

from __future__ import annotations

import re

import pytest

pytestmark = pytest.mark.thorough


HAT = {"actual": "numpy.adam.hat", "expected": "numpy.adam.outside"}
OWN = {"actual": "user.*", "expected": "numpy.adam.outside"}


def expecting(verdict, *others, pair=HAT, **more):
    return [{**pair, "verdict": verdict, "because": "A test says so.", **more}, *others]


def text_of(result):
    return result.stdout.str()


def test_an_unexpected_pair_fails_with_all_that_is_known(case, session, spread):
    """Epsilon in another place, where the case claims rounding only; every line of the text."""
    path = case(expect=expecting("WITHIN", rounding="operations"), hyper={"eps": 1e-3})
    result = session(path.relative_to(path.parent.parent), *spread)
    number = r"[\d.e+-]+"
    hexadecimal = r"-?0x1\.[0-9a-f]+p[+-]\d+"
    place = r"(kernel|bias)\[\d+\]"
    expected = [
        r"DIVERGED, where WITHIN was expected: numpy\.adam\.hat against numpy\.adam\.outside",
        r"case       small in float32, 5 steps, 255 elements compared",
        rf"verdict    w: max_steps {number} > {number} at step \d in (kernel|bias); another formula: epsilon-placement",
        r"expected   A test says so\.",
        rf"parts at   step 1, w of {place}: abs {number}, rel {number}, [\d,]+ ULP, {number} lr",
        rf"  actual   {number} \({hexadecimal}\)",
        rf"  expected {number} \({hexadecimal}\)",
        rf"worst      w: .* ULP at step \d in (kernel|bias); abs {number}, rel {number}, {number} lr; 85 of 85 differ",
        rf"would pass within = {{ w = {{ max_steps = {number} }} }}",
        r"causes     epsilon-placement 100%.*",
        r"reproduce  parity run cases/small\.toml -i numpy\.adam\.hat -i numpy\.adam\.outside -d float32",
    ]
    lines = text_of(result).splitlines()
    first = next(place for place, line in enumerate(lines) if line.startswith("DIVERGED, where"))
    for line, pattern in zip(lines[first:], expected, strict=False):
        assert re.fullmatch(pattern, line), line
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    # What the text calls enough is enough, and a little less is not.
    told = re.search(r"max_steps = ([\d.e+-]+)", "\n".join(lines[first:]))
    for factor, passed in ((1, 1), (0.999, 0)):
        budget = {"w": {"max_steps": float(told[1]) * factor}, "*": {"differing": 0}}
        case(expect=expecting("WITHIN", within=budget), hyper={"eps": 1e-3})
        session("cases", "--no-parity-explain").assert_outcomes(passed=passed, failed=1 - passed)


def test_an_expected_divergence_passes_and_an_equality_that_was_none_fails(case, session):
    case("apart", expect=expecting("DIVERGED"))
    case("equal", expect=expecting("IDENTICAL"))
    result = session("cases")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(
        ["DIVERGED, where IDENTICAL was expected: *", "would pass within = { w = { max_ulp = *"]
    )


def test_no_budget_would_pass_where_nan_meets_a_number(case, adam, session):
    adam(before="if t == 3: w['kernel'][0, 0] = float('nan')")
    case(expect=expecting("IDENTICAL", pair=OWN))
    result = session("cases", "--parity-implementations=mine.py:mine")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["would pass none: *NaN or inf*"])


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("raise ValueError('at its end')", "*user.mine: step 1: ValueError: at its end (mine.py:*)"),
        ("os.kill(os.getpid(), signal.SIGKILL)", "*user.mine: step 1: the worker process died (signal SIGKILL)"),
        ("time.sleep(60)", "*user.mine: step 1: no answer in 3 s (--timeout); the process was ended"),
    ],
)
def test_an_adam_that_crashes_is_a_failure_and_the_next_case_goes_on(case, adam, session, line, told):
    adam(before=line)
    case("first", expect=[*expecting("WITHIN", pair=OWN, rounding="operations"), *expecting("DIVERGED")])
    result = session("cases", "--parity-implementations=mine.py:mine", "--parity-implementations=numpy.adam.hat",
                     "--parity-timeout=3")  # fmt: skip
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["CRASHED, where WITHIN was expected: user.mine against numpy.adam.outside", told])


def test_a_skipped_pair_is_a_skip_only_where_the_case_says_so(case, adam, session):
    adam(first="raise Unsupported('not this one')")
    case("expected", expect=[*expecting("SKIPPED", pair=OWN), *expecting("DIVERGED")])
    names = ("--parity-implementations=mine.py:mine", "--parity-implementations=numpy.adam.hat")
    result = session("cases", "-rs", *names)
    result.assert_outcomes(skipped=1, passed=1)
    result.stdout.fnmatch_lines(["SKIPPED*user.mine: not this one"])
    assert result.ret == 0
    case("expected", expect=[*expecting("WITHIN", pair=OWN, rounding="operations"), *expecting("DIVERGED")])
    session("cases", *names).assert_outcomes(failed=1, passed=1)


def test_nothing_compared_is_not_green(case, adam, session, spread):
    adam(first="raise Unsupported('not this one')")
    case(expect=expecting("SKIPPED", pair=OWN))
    result = session("cases", "--parity-implementations=mine.py:mine", *spread)
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(["nothing was compared"])
    assert result.ret == pytest.ExitCode.NO_TESTS_COLLECTED


def test_a_stale_expectation_fails(case, session, spread):
    stale = {**HAT, "actual": "numpy.adam.hut", "verdict": "IDENTICAL", "because": "There is no such Adam."}
    case("fresh")
    case("stale", expect=expecting("DIVERGED", stale))
    result = session("cases", *spread)
    result.assert_outcomes(passed=2, failed=1)
    result.stdout.fnmatch_lines(
        ["stale: the expectation numpy.adam.hut / numpy.adam.outside (IDENTICAL) matches no pair"]
    )
    # Selected by a pair, the case is still held to it; another case is not.
    session("cases", "-k", "stale and hat", *spread).assert_outcomes(passed=1, failed=1)
    session("cases", "-k", "fresh", *spread).assert_outcomes(passed=1)


def test_a_stale_expectation_of_a_base_fails_where_all_its_cases_are_there(case, session):
    unused = {**HAT, "actual": "numpy.adam.hut", "verdict": "IDENTICAL", "because": "There is no such Adam."}
    case("_base", expect=expecting("DIVERGED", unused), summary=None, why=None)
    for name in ("one", "two"):
        path = case(name, expect=None)
        path.write_text('extends = "_base.toml"\n' + path.read_text())
    result = session("cases")
    result.assert_outcomes(passed=2, failed=1)
    result.stdout.fnmatch_lines(["base file: the expectation numpy.adam.hut / *"])
    session("cases/one.toml").assert_outcomes(passed=1)


def test_a_case_without_expectations_fails(case, session):
    case("silent", expect=None)
    result = session("cases")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["silent: no expectation is stated, so nothing of it is compared"])


def test_a_time_limit_of_the_session_does_not_mix_up_answers(case, adam, session):
    """pytest-timeout breaks off in the middle of a question; the next cell must not get its answer."""
    adam(first="time.sleep(5 if hyper.eps == 0.5 else 0)")
    case("a-slow", expect=expecting("WITHIN", pair=OWN, rounding="operations"), hyper={"eps": 0.5})
    case("b-quick", expect=expecting("WITHIN", pair=OWN, rounding="operations"))
    result = session("cases", "--parity-implementations=mine.py:mine", "--timeout=3", "--timeout-method=signal")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["*Timeout*"])
