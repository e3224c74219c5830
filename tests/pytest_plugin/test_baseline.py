"""`--parity-baseline` and `--parity-update`: what implementations compute is held against yesterday's bits."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree

import pytest

from parity.baseline.store import INDEX, baselines_in

pytestmark = pytest.mark.thorough


MINE = ("--parity-implementations=mine.py:mine", "--parity-implementations=numpy.adam.outside")
BASELINE = "--parity-baseline=kept"
OTHER_ROUNDING = {"swap": [("f(1 - hyper.beta2) * g * g", "f(1 - hyper.beta2) * (g * g)")]}
SUITE = """
from parity.pytest_plugin import catalogue

test_listed = catalogue("mine.py:mine", cases=["cases"], expected_failures={failures})


def test_same(parity):
    parity.assert_same("mine.py:mine", "numpy.adam.outside", case="cases/small.toml", dtype="float32")
"""


def places(folder):
    (one,) = baselines_in(folder)
    return set(one.places())


def test_the_life_of_a_baseline(case, adam, session, pytester, spread):
    """Made by the first session, kept by the second, defended against a change, and brought up to date."""
    case(dtypes=["float64", "float32"])
    adam()
    kept = pytester.path / "kept"
    result = session("cases", *MINE, BASELINE, "--parity-update", *spread)
    result.assert_outcomes(passed=6)
    result.stdout.fnmatch_lines(["baseline: 4 missing; 0 digests of steps compared", "  updated: *kept/python*"])
    made = {("small", dtype, name) for dtype in ("float64", "float32") for name in ("numpy.adam.outside", "user.mine")}
    assert places(kept) == made

    result = session("cases", *MINE, BASELINE, *spread)
    result.assert_outcomes(passed=6)
    # 5 steps and the initial state, of w, m and v.
    result.stdout.fnmatch_lines([f"baseline: 4 identical; {4 * 6 * 3} digests of steps compared"])

    adam(**OTHER_ROUNDING)
    before = {path: path.read_bytes() for path in kept.rglob("*") if path.is_file()}
    result = session("cases", *MINE, BASELINE, *spread)
    result.assert_outcomes(passed=4, failed=2)
    result.stdout.fnmatch_lines_random(
        [
            "baseline changed: user.mine on small in float32",
            "*from step 1 in v*",
            "differs    v of kernel*: 1 ULP",
            "  new      *(0x1.*",
            "  old      *(0x1.*",
            "baseline: 2 identical, 2 changed; *",
            "  obtained: *kept.obtained/python*",
        ]
    )
    assert {path: path.read_bytes() for path in kept.rglob("*") if path.is_file()} == before
    assert places(pytester.path / "kept.obtained") == {one for one in made if one[2] == "user.mine"}

    session("cases", *MINE, BASELINE, "--parity-update", *spread).assert_outcomes(passed=6)
    session("cases", *MINE, BASELINE, *spread).assert_outcomes(passed=6)
    assert places(kept) == made


@pytest.mark.parametrize("failures", [{}, {"small[float32]": "It is known to fail."}], ids=["plain", "xfail"])
def test_fixture_and_catalogue_are_held_too(case, adam, session, pytester, spread, failures):
    case()
    adam(**({"swap": [("t)", "t + 1)")]} if failures else {}))
    pytester.makepyfile(test_mine=SUITE.format(failures=failures))
    expected = {"xfailed": 1, "failed": 1} if failures else {"passed": 2}
    session("test_mine.py", BASELINE, "--parity-update", *spread).assert_outcomes(**expected)
    session("test_mine.py", BASELINE, *spread).assert_outcomes(**expected)
    swap = OTHER_ROUNDING["swap"] + ([("t)", "t + 1)")] if failures else [])
    adam(swap=swap)
    result = session("test_mine.py", BASELINE, *spread)
    result.assert_outcomes(failed=2)
    result.stdout.fnmatch_lines(["*baseline changed: user.mine on small@*"])


def test_an_adam_of_the_test_itself_is_held(case, adam, session, pytester):
    adam()
    case()
    claim = "parity.assert_same(mine.mine, 'numpy.adam.outside', case='cases/small.toml')"
    pytester.makepyfile(test_here=f"import mine\n\n\ndef test(parity):\n    {claim}\n")
    session("test_here.py", BASELINE, "--parity-update").assert_outcomes(passed=1)
    session("test_here.py", BASELINE).assert_outcomes(passed=1)
    adam(**OTHER_ROUNDING)
    result = session("test_here.py", BASELINE)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*baseline changed: user.mine on small@*"])


def test_what_the_baseline_does_not_have_fails(case, adam, session, pytester):
    case()
    adam()
    session("cases", *MINE, BASELINE, "--parity-update").assert_outcomes(passed=3)
    case("other")
    result = session("cases", *MINE, BASELINE)
    result.assert_outcomes(passed=4, failed=2)
    result.stdout.fnmatch_lines(
        ["*baseline missing: user.mine on other in float32", "baseline: 2 identical, 2 missing; *"]
    )
    (pytester.path / "cases" / "small.toml").unlink()
    result = session("cases", *MINE, BASELINE)
    result.stdout.fnmatch_lines(["baseline: 2 missing, 2 unused; *"])
    result.assert_outcomes(passed=1, failed=2)


def test_what_crashes_now_and_did_not_then_fails(case, adam, session):
    case()
    adam()
    session("cases", *MINE, BASELINE, "--parity-update").assert_outcomes(passed=3)
    adam(before="if t == 3: raise ValueError('planted')")
    result = session("cases", *MINE, BASELINE, "-k", "baseline")
    result.assert_outcomes(passed=1, failed=1, deselected=1)
    result.stdout.fnmatch_lines(["*baseline failed: user.mine on small in float32", "*ValueError: planted*"])


def test_baselines_alone_may_be_green(case, adam, session):
    """Nothing is compared with another implementation, and everything with the baseline."""
    case()
    adam()
    session("cases", *MINE, BASELINE, "--parity-update").assert_outcomes(passed=3)
    result = session("cases", *MINE, BASELINE, "-k", "baseline")
    result.assert_outcomes(passed=2, deselected=1)
    assert result.ret == 0
    assert "nothing was compared" not in result.stdout.str()


def test_other_tests_of_a_project_with_a_baseline_are_left_alone(case, adam, session, pytester):
    case()
    adam()
    session("cases", *MINE, BASELINE, "--parity-update").assert_outcomes(passed=3)
    (pytester.path / "pytest.ini").write_text("[pytest]\nparity_baseline = kept\n")
    pytester.makepyfile(test_other="def test(): pass\n")
    result = session("test_other.py")
    assert result.ret == 0
    result.assert_outcomes(passed=1)
    assert "baseline:" not in result.stdout.str()


def test_a_junit_file_names_the_change(case, adam, session, pytester):
    case()
    adam()
    session("cases", *MINE, BASELINE, "--parity-update").assert_outcomes(passed=3)
    adam(**OTHER_ROUNDING)
    session("cases", *MINE, BASELINE, "--junitxml=junit.xml").assert_outcomes(passed=2, failed=1)
    (failure,) = ElementTree.parse(pytester.path / "junit.xml").getroot().iter("failure")
    assert "baseline changed: user.mine on small in float32" in failure.text


def test_bad_input_is_one_line(case, adam, session, pytester):
    case()
    adam()
    for flags, told in (
        ((BASELINE,), "*kept: no baseline here; save one with 'parity baseline save -o *kept'*"),
        (("--parity-update",), "*--parity-update: names no baseline to bring up to date; add --parity-baseline=DIR"),
    ):
        result = session("cases", *MINE, *flags)
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        result.stderr.fnmatch_lines([told])
        assert "Traceback" not in result.stderr.str()
    session("cases", *MINE, BASELINE, "--parity-update").assert_outcomes(passed=3)
    (index,) = (pytester.path / "kept").glob(f"*/{INDEX}")
    (packed,) = index.parent.glob("*.xz")
    for path in (index, packed):
        sound = path.read_bytes()
        path.write_bytes(sound[:40] + bytes([sound[40] ^ 1]) + sound[41:])
        for update in ((), ("--parity-update",)):
            result = session("cases", *MINE, BASELINE, *update)
            assert result.ret == pytest.ExitCode.USAGE_ERROR
            result.stderr.fnmatch_lines(["*altered*"])
        path.write_bytes(sound)
    session("cases", *MINE, BASELINE).assert_outcomes(passed=3)
