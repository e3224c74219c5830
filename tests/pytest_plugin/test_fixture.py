"""The fixture `parity` in a user's own suite."""

from __future__ import annotations

import pytest

HEAD = """\
import pytest
import mine
"""


@pytest.fixture
def suite(pytester, session):
    """Run a test module of these lines; `-n` and the like follow."""

    def run(text, *arguments):
        pytester.path.joinpath("test_suite.py").write_text(HEAD + text)
        return session("test_suite.py", "--no-parity-explain", *arguments)

    return run


@pytest.fixture
def wrong(adam):
    """An Adam with epsilon inside the root, in wrong.py."""
    return adam("wrong", swap=[("(np.sqrt(v_hat) + f(hyper.eps))", "np.sqrt(v_hat + f(hyper.eps))")])


def test_the_same_adam_however_it_is_named(adam, suite, spread):
    adam()
    result = suite(
        """
from parity import Implementation
@pytest.mark.parametrize("target", ["mine:mine", "mine.py:mine", mine.mine, Implementation("own", mine.mine)])
def test(parity, target):
    first, second = parity.assert_same(target, "numpy.adam.outside")
    assert (first.dtype, second.dtype) == ("float64", "float32")
    assert first.compared == second.compared > 0
""",
        *spread,
    )
    result.assert_outcomes(passed=4)


def test_what_pytest_made_importable_is_found_by_a_worker(adam, suite, pytester):
    """A src layout that is not installed: only pytest's own path leads there."""
    (pytester.path / "src").mkdir()
    adam().rename(pytester.path / "src" / "mine.py")
    (pytester.path / "pytest.ini").write_text("[pytest]\npythonpath = src\n")
    result = suite("def test(parity):\n    parity.assert_same('mine:mine', 'numpy.adam.outside', dtype='float32')\n")
    result.assert_outcomes(passed=1)


def test_a_wrong_one_fails_at_the_line_of_the_claim(adam, wrong, suite):
    adam()
    result = suite(
        """
import wrong
def test(parity):
    parity.assert_same(wrong.wrong, "numpy.adam.outside", case="epsilon[eps=0.01]", dtype="float32")
"""
    )
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            ">*parity.assert_same(wrong.wrong, *",
            "E*AssertionError: DIVERGED, where WITHIN was expected: user.wrong against numpy.adam.outside",
            "E*parts at   step 1, w of *",
            "E*reproduce  parity explain 'epsilon[[]eps=0.01]' wrong.py:wrong numpy.adam.outside -d float32",
        ]
    )
    assert "fixture.py" not in result.stdout.str()


def test_what_is_handed_over_runs_as_it_is_now(adam, suite):
    """Patched by the test, closed over by it: the very object is measured, not what stands in a file."""
    adam()
    result = suite(
        """
def test_patched(parity, monkeypatch):
    monkeypatch.setattr(mine.np, "sqrt", lambda value: value)
    with pytest.raises(AssertionError, match="DIVERGED"):
        parity.assert_same(mine.mine, "numpy.adam.outside", dtype="float64")

def test_closed_over(parity):
    from dataclasses import replace
    def run(weights, gradients, hyper):
        yield from mine.mine(weights, gradients, replace(hyper, eps=hyper.eps * factor))
    factor = 1
    parity.assert_same(run, "numpy.adam.outside", case="epsilon[eps=0.01]", dtype="float64")
    factor = 3
    with pytest.raises(AssertionError, match="pytest test_suite.py::test_closed_over"):
        parity.assert_same(run, "numpy.adam.outside", case="epsilon[eps=0.01]", dtype="float64")
"""
    )
    result.assert_outcomes(passed=2)


def test_what_happens_in_this_process_is_told(adam, suite):
    """An exception is a crash of that side; a skip is a skip; and the next claim is answered as if nothing was."""
    adam()
    result = suite(
        """
def raising(error):
    def run(weights, gradients, hyper):
        for gradient in gradients:
            raise error
            yield
    return run

def test_crash(parity):
    with pytest.raises(AssertionError, match=r"CRASHED, where .*\\n.*\\nverdict .* step 1: ValueError: no"):
        parity.assert_same(raising(ValueError("no")), "numpy.adam.outside")

def test_skip(parity):
    # The worker of the other side was asked already, and owes an answer.
    parity.assert_same("numpy.adam.outside", raising(pytest.skip.Exception("not here")))

def test_next(parity):
    parity.assert_same(mine.mine, "numpy.adam.outside")
"""
    )
    result.assert_outcomes(passed=2, skipped=1)


@pytest.mark.parametrize(
    ("within", "holds"),
    [
        ("None", True),
        ("'operations'", True),
        ("'identical'", False),
        ("{'max_ulp': 100_000}", True),
        ("{'max_ulp': 0}", False),
        ("{'w': {'max_steps': 0.01}, '*': {'max_ulp': 1000}}", True),
        ("{'w': {'max_steps': 0.01}}", False),
        ("{'max_ulp': 1e30}", False),
    ],
)
def test_within(adam, suite, within, holds):
    """Another order of operations: near, not equal. No budget for m, or one that admits anything, is not held."""
    adam(swap=[("m[name] / f(1 - hyper.beta1**t)", "m[name] * f(1 / (1 - hyper.beta1**t))")])
    result = suite(
        f"""
def test(parity):
    parity.assert_same("mine:mine", "numpy.adam.outside", dtype="float32", within={within})
"""
    )
    result.assert_outcomes(passed=int(holds), failed=int(not holds))


def test_the_marker_gives_what_is_left_out(adam, suite):
    adam()
    result = suite(
        """
pytestmark = [pytest.mark.parity(case="constant", dtype="float32"), pytest.mark.thorough]
def test_of_the_module(parity):
    (answer,) = parity.assert_same("mine:mine", "numpy.adam.outside")
    assert (answer.case.partition("@")[0], answer.dtype) == ("constant", "float32")
@pytest.mark.parity(case="sign-flipping")
def test_of_the_function_wins(parity):
    (answer,) = parity.assert_same("mine:mine", "numpy.adam.outside")
    assert (answer.case.partition("@")[0], answer.dtype) == ("sign-flipping", "float32")
    (answer,) = parity.assert_same("mine:mine", "numpy.adam.outside", dtype="float64")
    assert answer.dtype == "float64"
""",
        "--strict-markers",
    )
    result.assert_outcomes(passed=2)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("parity.assert_same('mine:mine', 'user.nobody')", "implementation 'user.nobody' is unknown*"),
        ("parity.assert_same(mine.mine, mine.mine)", "nothing to compare: both sides are user.mine*"),
        ("parity.assert_same(3, 'numpy.adam.hat')", "3 is a int; allowed: a run function*"),
        ("parity.assert_same(mine.mine, 'numpy.adam.hat', case='constnt')", "*'constnt' is unknown*mean 'constant'*"),
        ("parity.assert_same(mine.mine, 'numpy.adam.hat', dtype='float23')", "dtype 'float23' is unknown*"),
        ("parity.assert_same(mine.mine, 'numpy.adam.hat', within='exact')", "within: 'exact' is not allowed*"),
        ("parity.assert_same(mine.mine, 'numpy.adam.hat', within={'max_up': 1})", "*unknown key 'max_up'*max_ulp*"),
        ("parity.assert_identified(lambda: 0, epsilon='hat')", "*it has to stand at the top of a file"),
    ],
)
def test_a_claim_that_cannot_be_put_is_an_error_of_one_line(adam, suite, line, told):
    adam()
    result = suite(f"def test(parity):\n    {line}\n")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines([f"E*{told}"])


def test_a_marker_with_an_unknown_key_is_an_error(adam, suite):
    adam()
    result = suite("@pytest.mark.parity(dtyp='float32')\ndef test(parity):\n    pass\n")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["E*marker parity: 'dtyp' is unknown*did you mean 'dtype'*"])


def test_half_precision_where_rounding_has_no_limit_is_not_the_same(adam, suite):
    """Nobody can promise anything about w there, so nobody can claim it."""
    adam()
    result = suite("def test(parity):\n    parity.assert_same(mine.mine, 'numpy.adam.outside.store', dtype='float16', "
                   "nonfinite=True)\n")  # fmt: skip
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        ["E*DIVERGED, where WITHIN was expected: user.mine *", "E*rounding sets w no limit here*", "E*would pass *"]
    )


def test_which_adam_it_is(adam, wrong, suite):
    adam()
    result = suite(
        """
import wrong
def test_named(parity):
    known = ["weight-decay", "amsgrad"]
    parity.assert_identified("mine:mine", departures=known, epsilon="outside", bias_correction="both")
def test_handed_over(parity):
    parity.assert_identified(mine.mine, epsilon="outside", departures=("weight-decay", "amsgrad"))
def test_departing(parity):
    with pytest.raises(AssertionError, match=r"float64: departs: amsgrad: AMSGrad is asked for and not done"):
        parity.assert_identified("mine:mine", departures="weight-decay", epsilon="outside")
def test_unknown_departure(parity):
    with pytest.raises(Exception, match=r"departures: 'weight_decay' is unknown.*did you mean 'weight-decay'"):
        parity.assert_identified("mine:mine", departures="weight_decay", epsilon="outside")
def test_wrong(parity):
    with pytest.raises(AssertionError, match="float64: epsilon is 'inside', not 'outside'"):
        parity.assert_identified(wrong.wrong, epsilon="outside")
def test_unknown(parity):
    parity.assert_identified("mine:mine", epsilom="outside")
"""
    )
    result.assert_outcomes(passed=5, failed=1)
    result.stdout.fnmatch_lines(["E*convention 'epsilom' is unknown*did you mean 'epsilon'*"])


OUTSIDE = '"{0}:{0}", departures=("weight-decay", "amsgrad"), epsilon="outside"'


@pytest.mark.parametrize(
    ("swap", "told"),
    [
        (("* g * g", "* g * g", "g.dtype.type\n", "g.dtype.type\n            g = np.clip(g, f(-0.5), f(0.5))\n"),
         "departs: gradient-"),
        (("f(1 - hyper.beta1**t)", "f(1)", "f(1 - hyper.beta2**t)", "f(1)"), "departs: bias-correction: "),
        (("m_hat /", "(f(hyper.beta1) * m_hat + f(1 - hyper.beta1) * g / f(1 - hyper.beta1**t)) /"),
         "it is no Adam that is known"),
    ],
)  # fmt: skip
def test_what_departs_from_adam_is_not_passed_for_where_its_epsilon_stands(adam, suite, swap, told):
    adam("wrong", swap=list(zip(swap[::2], swap[1::2], strict=True)))
    adam()
    result = suite(f"""
def test(parity):
    with pytest.raises(AssertionError, match="float64: {told}"):
        parity.assert_identified({OUTSIDE.format("wrong")})
""")
    result.assert_outcomes(passed=1)


def test_a_dtype_in_which_it_fails_says_so_and_the_other_is_asked(adam, suite):
    adam(before="if gradient['kernel'].dtype == 'f2': raise ValueError('no halves')")
    told = r"float16: it fails: step 1: ValueError: no halves \(mine.py:\d+\)"
    result = suite(
        f"""
def test_named(parity):
    with pytest.raises(AssertionError, match=r"^{told}\\n[^\\n]+ in float32 is Adam"):
        parity.assert_identified("mine:mine", dtype=["float32", "float16"], epsilon="outside",
                                 departures=["weight-decay", "amsgrad"])
"""
    )
    result.assert_outcomes(passed=1)


@pytest.mark.frameworks
def test_against_a_framework(adam, suite):
    adam()
    result = suite("def test(parity):\n    parity.assert_same(mine.mine, 'torch.adam.forloop', dtype='float32')\n")
    result.assert_outcomes(passed=1)
