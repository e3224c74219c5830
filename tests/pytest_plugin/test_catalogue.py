"""A new implementation gets the whole catalogue by being listed once."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.thorough


BEFORE = "from parity.pytest_plugin import catalogue\n"


@pytest.fixture
def suite(pytester, session, adam):
    """Run a module that lists mine.py's Adam so; further arguments follow."""
    adam()

    def run(listed, *arguments):
        pytester.path.joinpath("test_suite.py").write_text(f"{BEFORE}test_mine = catalogue({listed})\n")
        return session("test_suite.py", "--no-parity-explain", *arguments)

    return run


def test_every_case_and_dtype_that_pairs_it_is_a_test(suite, pytester):
    """As many as `parity run -i` has cells."""
    from parity.api.run import make_plan

    result = suite("'mine:mine'", "--collect-only", "-q")
    collected = [line for line in result.outlines if "::" in line]
    assert "test_suite.py::test_mine[epsilon[eps=1e-10][float16]]" in collected
    assert "test_suite.py::test_mine[huge[bfloat16]]" in collected
    plan = make_plan([], "", [f"{pytester.path}/mine.py:mine"], [], pytester.path)
    assert len(collected) == len(plan.cells)


def test_the_right_adam_passes_and_a_wrong_one_fails(suite, adam, spread):
    where = "keyword='constant', dtypes=['float64', 'float32']"
    suite(f"'mine:mine', {where}", *spread).assert_outcomes(passed=2)
    adam(swap=[("m[name] / f(1 - hyper.beta1**t)", "m[name]")])
    result = suite(f"'mine:mine', {where}", *spread)
    result.assert_outcomes(failed=2)
    result.stdout.fnmatch_lines(
        [
            "DIVERGED, where WITHIN was expected: user.mine against numpy.adam.outside",
            "reproduce  parity run -k constant -i mine:mine -i numpy.adam.outside -d float64",
        ]
    )


def test_others_to_be_held_against(suite, case):
    case(
        expect=[{"actual": "user.*", "expected": "numpy.adam.*", "verdict": "DIVERGED", "because": "Nothing is known."}]
    )
    suite("'mine:mine', cases=['cases'], against=['numpy.adam.hat', 'numpy.adam.inside']").assert_outcomes(passed=1)


def test_an_adam_itself_may_be_listed(pytester, session, adam):
    adam()
    pytester.path.joinpath("test_suite.py").write_text(
        BEFORE + "import mine\ntest_mine = catalogue(mine.mine, keyword='constant', dtypes=['float32'])\n"
    )
    session("test_suite.py").assert_outcomes(passed=1)


def test_an_expected_failure_is_data(suite, adam):
    adam(before="if g_shape and t == 2: raise RuntimeError('no')", first="g_shape = True")
    where = "keyword='constant', dtypes=['float64', 'float32']"
    known = "expected_failures={'constant[float64]': 'it gives up'}"
    result = suite(f"'mine:mine', {where}, {known}", "--parity-report=report", "-rx")
    result.assert_outcomes(xfailed=1, failed=1)
    result.stdout.fnmatch_lines(["XFAIL*constant[[]float64[]]*it gives up*"])


def test_a_session_of_expected_failures_only_is_green_and_its_report_says_why(suite, adam, pytester):
    adam(swap=[("m[name] / f(1 - hyper.beta1**t)", "m[name]")])
    known = "expected_failures={'constant[float32]': 'no bias correction'}"
    result = suite(f"'mine:mine', keyword='constant', dtypes=['float32'], {known}", "--parity-report=report")
    result.assert_outcomes(xfailed=1)
    assert result.ret == 0
    report = (pytester.path / "report" / "report.md").read_text()
    assert "Expected failure: no bias correction" in report
    assert "Everything is as expected: 1 of 1 verdicts" in report


def test_an_unexpected_pass_fails(suite):
    known = "expected_failures={'constant[float32]': 'it used to fail'}"
    result = suite(f"'mine:mine', keyword='constant', dtypes=['float32'], {known}")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*XPASS(strict)*it used to fail*"])


@pytest.mark.parametrize(
    ("listed", "told"),
    [
        ("'mine:mine', expected_failures={'hug[float16]': 'x'}",
         "*expected_failures: 'hug[[]float16[]]' matches no test; *did you mean 'huge[[]float16[]]'?"),
        ("'mine:mine', expected_failures={'huge[float16]': ' '}", "*'huge[[]float16[]]' needs a reason"),
        ("'mine:mien'", "*implementation 'mine:mien': no attribute 'mien'; *did you mean 'mine'?"),
        ("'mine:mine', keyword='nonsense'", "*nothing to compare user.mine with: no expectation pairs it with *"),
        ("'mine:mine', against=['numpy.adm']", "*against: 'numpy.adm' is unknown; *"),
    ],
)  # fmt: skip
def test_a_wrong_list_is_an_error_of_one_line(suite, listed, told):
    result = suite(listed)
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines([told])
    assert "Traceback" not in result.stdout.str()
    assert result.ret == pytest.ExitCode.INTERRUPTED
