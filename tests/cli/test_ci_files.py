"""What `parity run` writes for CI: JUnit's XML and a summary in Markdown, red wherever the exit code is."""

from __future__ import annotations

import json
from xml.etree import ElementTree

import pytest

from parity.engine.record import read_run

PAIR = ("-i", "numpy.adam.hat", "-i", "numpy.adam.outside")
WRONG = {"swap": [("1 - hyper.beta2**t", "1.0")]}
CRASH = {"after": "raise ValueError('\\x1b[31m ]]> \\x00 <b> & |')"}
HAT = {"actual": "numpy.adam.hat", "expected": "numpy.adam.outside", "verdict": "DIVERGED", "because": "Other formula."}
USER = {"actual": "user.plugin", "expected": "numpy.adam.outside"}
STALE = {"actual": "torch.adam.forlop", "expected": "numpy.adam.outside", "because": "A typing error."}


def kinds_in(path):
    """By name, the kind of what each test came to: '' where it passed."""
    root = ElementTree.parse(path).getroot()
    assert root.tag == "testsuites"
    found = {}
    for test in root.iter("testcase"):
        assert test.get("name") not in found
        found[test.get("name")] = next((child.tag for child in test), "")
    for key, kind in (("tests", None), ("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        expected = [one for one in found.values() if kind is None or one == kind]
        assert int(root.get(key)) == len(expected)
        assert sum(int(suite.get(key)) for suite in root) == len(expected)
    return found


@pytest.fixture
def run_for_ci(command, write_case, write_adam, tmp_path):
    """Run a small case with a plug-in: exit code, what each test came to, the text of both files, run.json."""

    def run(planted, *flags, **keys):
        output, junit, markdown = tmp_path / "run", tmp_path / "made" / "junit.xml", tmp_path / "made" / "summary.md"
        code, _, err = command(
            "run", write_case(**keys), *PAIR, "-i", write_adam(**planted), *flags, "-q",
            "-o", output, "--junitxml", junit, "--markdown", markdown,
        )  # fmt: skip
        assert code in (0, 1), err
        told = json.loads((output / "run.json").read_text())
        return code, kinds_in(junit), junit.read_text(), markdown.read_text(), told

    return run


@pytest.mark.parametrize(
    ("planted", "flags", "keys", "kinds"),
    [
        ({}, (), {}, {""}),
        (WRONG, (), {}, {"", "failure"}),
        (CRASH, (), {}, {"", "error"}),
        (WRONG, ("-x",), {"dtypes": ["float64", "float32"]}, {"", "failure"}),
    ],
    ids=["green", "red", "crash", "stopped"],
)
def test_the_file_is_green_where_the_run_is(run_for_ci, planted, flags, keys, kinds):
    code, tests, _, markdown, told = run_for_ci(planted, *flags, **keys)
    assert code == (0 if kinds == {""} else 1)
    assert set(tests.values()) == kinds
    pairs = {f"{one['case']}[{one['dtype']}-{one['actual']}-{one['expected']}]" for one in told["verdicts"]}
    assert pairs <= tests.keys()
    assert {name for name in tests if name not in pairs} == (
        set() if told["complete"] else {f"incomplete: {told['stopped']}: 1 of 2 cells"}
    )
    assert markdown.endswith(f"Exit code {code}.\n")
    assert markdown.startswith(f"### Adam parity: {'as expected' if code == 0 else 'not as expected'}\n")
    assert f"{told['counts']['elements']:,} elements" in markdown
    assert ("Not as expected" in markdown) == (code == 1)


def test_a_stale_expectation_is_a_test_that_fails(run_for_ci):
    user = USER | {"verdict": "WITHIN", "rounding": "operations", "because": "Equal formulas."}
    code, tests, _, markdown, told = run_for_ci({}, expect=[HAT, user, STALE | {"verdict": "IDENTICAL"}])
    assert code == 1
    (stale,) = told["stale"]
    assert tests[f"stale expectation: {stale}"] == "failure"
    assert "Stale expectation" in markdown


def test_a_pair_that_cannot_be_is_skipped_where_that_is_expected(run_for_ci):
    planted = {"first": "from parity import Unsupported\nraise Unsupported('no such kernel')"}
    user = USER | {"verdict": "SKIPPED", "because": "It has no such kernel."}
    code, tests, junit, _, _ = run_for_ci(planted, expect=[HAT, user])
    assert (code, sorted(tests.values())) == (0, ["", "skipped"])
    assert "no such kernel" in junit
    code, tests, _, _, _ = run_for_ci(planted)
    assert (code, sorted(tests.values())) == (1, ["", "failure"])


def test_a_failure_says_where_both_part(run_for_ci, tmp_path):
    _, _, junit, markdown, told = run_for_ci(WRONG)
    (one,) = [each for each in told["verdicts"] if not each["verdict"]["as_expected"]]
    text = ElementTree.fromstring(junit).find(".//failure").text
    assert one["verdict"]["reason"] in text
    pair = next(each for each in read_run(tmp_path / "run").cells[0].pairs if each.actual == one["actual"])
    first = next(distance.first for distance in pair.distances if distance.first)
    assert f"differs from step {first.step} on, in {first.parameter}[{first.index}]" in text
    assert first.actual in text
    assert first.expected in text
    assert first.actual in markdown


def test_what_a_plug_in_says_stays_text(run_for_ci):
    _, _, junit, markdown, _ = run_for_ci(CRASH)
    text = ElementTree.fromstring(junit).find(".//error").text
    assert "<b> & |" in text
    assert "\x00" not in junit + markdown
    assert "\x1b" not in junit
    assert "<b>" not in markdown


def test_a_summary_is_appended_and_a_folder_is_no_file(command, write_case, tmp_path):
    summary = tmp_path / "summary.md"
    summary.write_text("before\n")
    assert command("run", write_case(), *PAIR, "-q", "-o", tmp_path / "run", "--markdown", summary)[0] == 0
    assert summary.read_text().startswith("before\n### Adam parity: as expected\n")
    for flag in ("--junitxml", "--markdown", "--json"):
        code, _, err = command("run", write_case(), *PAIR, "-q", "-o", tmp_path / "run", flag, tmp_path)
        assert (code, err.count("\n")) == (2, 1)
        assert flag in err
