"""What a session leaves: summary, JUnit properties, report; and what it costs who does not use it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from dataclasses import replace

import psutil
import pytest

import parity
from parity.api.session import exit_code_beside_tests

NUMPY = "--parity-implementations=numpy.adam.*"
HEAVY = {"numpy", "pandas", "pydantic", "pyarrow", "rich", "click", "ml_dtypes"}


def judged(folder):
    run = json.loads((folder / "run.json").read_text())
    return [(one["case"], one["dtype"], one["actual"], one["expected"], one["verdict"]) for one in run["verdicts"]]


def test_the_report_is_that_of_parity_run(case, session, pytester, spread):
    """The same verdicts, tables and text as `parity run` leaves, however the session is spread."""
    case("one", dtypes=["float64", "float32"])
    case("two", steps=7)
    result = session("cases", NUMPY, "--parity-report=made/report", *spread)
    result.assert_outcomes(passed=3)
    result.stdout.fnmatch_lines(["report: */made/report"])
    folder = pytester.path / "made" / "report"
    outcome = parity.run([pytester.path / "cases"], ["numpy.adam.*"], output=pytester.path / "ran")
    assert outcome.exit_code == 0
    assert judged(folder) == judged(pytester.path / "ran")
    for name in ("report.md", "divergence.parquet"):
        assert (folder / name).read_bytes() == (pytester.path / "ran" / name).read_bytes(), name
    # A later session may write over it.
    session("cases", NUMPY, "--parity-report=made/report", "-k", "one", *spread).assert_outcomes(passed=2)
    assert {one[0] for one in judged(folder)} == {"one"}


def test_a_session_that_stops_early_says_so_in_its_report(case, session, pytester):
    wrong = [{"actual": "numpy.adam.hat", "expected": "numpy.adam.outside", "verdict": "IDENTICAL",
              "because": "It is not, which stops the session."}]  # fmt: skip
    case("first", expect=wrong)
    case("second")
    result = session("cases", "-x", "--parity-report=report")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert (
        "**This run is not complete** (stopping after 1 failures)"
        in (pytester.path / "report" / "report.md").read_text()
    )


def test_ini_keys_have_the_names_of_the_flags(case, adam, session, pytester):
    adam(before="time.sleep(30)")
    case()
    (pytester.path / "pytest.ini").write_text(
        "[pytest]\nparity_report = made\nparity_implementations =\n    mine.py:mine\nparity_timeout = 2\n"
        "parity_explain = false\n"
    )
    result = session("cases", "--strict-config")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*no answer in 2 s (--timeout); the process was ended", "report: */made"])
    assert (pytester.path / "made" / "report.md").is_file()


def test_the_summary_and_the_properties_of_junit(case, session, pytester, spread):
    case(dtypes=["float64", "float32"])
    result = session("cases", NUMPY, "--junitxml=junit.xml", *spread)
    result.stdout.fnmatch_lines(
        [
            "*= parity =*",
            "verdict *pairs *as expected *elements compared",
            "DIVERGED * 2 * 2 * 510",
            "total * 2 * 2 * 510",
        ]
    )
    for test in ElementTree.parse(pytester.path / "junit.xml").iter("testcase"):
        told = {one.get("name"): one.get("value") for one in test.iter("property")}
        assert told["parity_verdict"] == told["parity_expected"] == "DIVERGED"
        assert int(told["parity_compared"]) == 255
        assert int(told["parity_first_step"]) == 1
        assert int(told["parity_max_ulp_w"]) > 0 == int(told["parity_max_ulp_v"])
        assert float(told["parity_max_steps"]) > 0


def test_what_turns_a_session_red_beside_its_tests(case, pytester):
    """As `parity run` decides, but for verdicts: those are for the tests to judge."""
    path = case()
    run = parity.run([path], ["numpy.adam.*"], output=pytester.path / "ran")
    assert exit_code_beside_tests(run) == run.exit_code == 0
    assert exit_code_beside_tests(replace(run, stale=("something is stale",))) == 1
    (one,) = run.verdicts
    unexpected = replace(run, verdicts=(replace(one, verdict=replace(one.verdict, as_expected=False)),))
    assert (unexpected.exit_code, exit_code_beside_tests(unexpected)) == (1, 0)
    nothing = replace(run, counts=replace(run.counts, elements=0))
    assert exit_code_beside_tests(nothing) == nothing.exit_code == 5


def test_ctrl_c_leaves_no_worker(case, adam, pytester):
    running = pytester.path / "running"
    adam(before=f"open({str(running)!r}, 'w').close(); time.sleep(600)")
    case()
    # Where tests run in the background SIGINT is ignored, and children inherit that.
    heard = "signal.signal(signal.SIGINT, signal.default_int_handler)"
    code = f"import runpy, signal; {heard}; runpy.run_module('pytest', run_name='__main__')"
    command = [sys.executable, "-c", code, "cases", "--parity-implementations=mine.py:mine"]
    process = subprocess.Popen(command, cwd=pytester.path, stdout=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not running.exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    family = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == pytest.ExitCode.INTERRUPTED, out
    assert len(family) >= 2
    _, alive = psutil.wait_procs(family, timeout=10)
    assert not alive


def test_who_does_not_use_it_imports_nothing_heavy(pytester):
    pytester.makepyfile(test_trivial="def test(): pass")
    pytester.makeconftest(
        "import sys\n"
        "def pytest_unconfigure():\n"
        "    print('loaded:', *sorted(sys.modules))\n"
    )  # fmt: skip
    result = pytester.runpytest_subprocess("-p", "no:hypothesispytest", "-s", "--collect-only")
    loaded = set(result.stdout.str().partition("loaded:")[2].split())
    assert "parity.pytest_plugin" in loaded
    assert {name for name in loaded if name.startswith("parity.")} == {
        "parity.case",
        "parity.case.case_file",
        "parity.core",
        "parity.pytest_plugin",
        "parity.pytest_plugin.options",
        "parity.core.shown",
    }
    assert not {name.partition(".")[0] for name in loaded} & HEAVY


def test_markers_and_flags_are_listed(session):
    session("--markers").stdout.fnmatch_lines(["@pytest.mark.parity(case, dtype, within, nonfinite): *"])
    session("--help").stdout.fnmatch_lines(["*--parity-report=DIR*", "*--parity-implementations=NAME*"])


def test_workers_are_forked(case, session, pytester, monkeypatch):
    because = "Epsilon stands in another place."
    hat = {"actual": "numpy.adam.hat", "expected": "numpy.adam.outside", "verdict": "DIVERGED", "because": because}
    case(expect=[hat])
    told = []
    for cold in ("", "1"):
        monkeypatch.setenv("PARITY_COLD", cold)
        session("cases", NUMPY, "--log-level=INFO", "--log-file=log.txt").assert_outcomes(passed=1)
        told.append("worker numpy is started cold" in (pytester.path / "log.txt").read_text())
    assert told == [False, True]
