"""A cell that is too large for whole traces is explained on a sample, and that is what is said."""

from __future__ import annotations

import numpy as np
import pytest

import parity
from parity.case.catalogue import load_case_file
from parity.case.sample import sample_of, sampled
from parity.comparison.trace import read_trace
from parity.engine.account import Explained, Explaining
from parity.engine.candidates import select_candidates
from parity.engine.plan import plan_cells
from parity.engine.result import SAMPLED, Account
from parity.engine.run import Options, execute, traces_path
from parity.explain.account import account
from parity.explain.libraries import Libraries
from parity.report.markdown import answer_line
from parity.report.terminal import summary_line

TEXT = """
summary = "A case of a test."
why = "It is tested here."
seed = 5
steps = 3
dtypes = ["float32"]
weights = {{ kind = "uniform", low = -1.0, high = 1.0 }}
gradients = {{ kind = "bell", scale = 1e-3 }}
[[parameters]]
name = "long"
shape = [{size}]
[[parameters]]
name = "short"
shape = [7]
{start}
[[expect]]
actual = "numpy.adam.hat"
expected = "numpy.adam.outside"
{expect}
because = "It is only a test."
"""

NAMES = ("numpy.adam.outside", "numpy.adam.hat")
DIVERGED = 'verdict = "DIVERGED"'
LARGE = 6_000_000
"""Elements of which whole traces of two implementations and three steps are more than a run keeps."""


@pytest.fixture
def write(tmp_path):
    def write(size, expect=DIVERGED, start=""):
        path = tmp_path / "one.toml"
        path.write_text(TEXT.format(size=size, expect=expect, start=start))
        return path

    return write


def executed(path, folder, explaining, options):
    (folder / "parts").mkdir(parents=True)
    cases = load_case_file(path)
    candidates = select_candidates(NAMES, folder)
    plan = plan_cells(cases, candidates, ["float32"], NAMES)
    (result,) = execute(plan, folder, options, lambda *_: None, explaining).results
    return plan.cells[0], result


@pytest.mark.parametrize(
    "start", ["", 'start = { steps = 2, m = { kind = "zero" }, v = { kind = "constant", value = 0.5 } }']
)
def test_traces_of_a_sample_are_what_whole_traces_have_there(write, tmp_path, start):
    path, seen = write(100_000, start=start), {}

    def look(cell, result, folder):
        seen["case"] = cell.case
        for name in NAMES:
            trace = read_trace(folder / name)
            assert trace.case_digest == cell.case.digest()
            seen[name] = {quantity: np.array(trace.array(quantity)) for quantity in trace.quantities}
        return Explained(Account(reason=""))

    # Ten steps fit: not the whole.
    cell, result = executed(path, tmp_path / "sampled", Explaining(look, largest=1 << 21), Options())
    assert seen["case"].layout().size == result.account.sampled == 3 * 256 + 32 + 7
    executed(path, tmp_path / "whole", None, Options(keep_traces=True))
    part = sampled(cell.case, 256)
    for name in NAMES:
        whole = read_trace(traces_path(tmp_path / "whole", "one", "float32") / name)
        assert set(seen[name]) == set(whole.quantities)
        for quantity in whole.quantities:
            assert np.array_equal(seen[name][quantity], sample_of(whole.array(quantity), part)), (name, quantity)


def test_a_sample_is_as_wide_as_fits_and_none_is_told(write, tmp_path):
    path = write(100_000)

    def look(cell, result, folder):
        return Explained(Account(reason=""))

    for largest, size in ((1 << 21, 807), (100_000, 423), (60_000, 231)):
        _, result = executed(path, tmp_path / str(largest), Explaining(look, largest=largest), Options())
        assert result.account.sampled == size
    _, result = executed(path, tmp_path / "none", Explaining(look, largest=1000), Options())
    assert result.account.sampled == 0
    assert result.account.reason == "its traces are larger than 0 MiB; --keep-traces, or 'parity explain'"


def test_it_is_said_to_be_a_sample_everywhere(write, tmp_path):
    run = parity.run([write(LARGE)], NAMES, output=tmp_path / "run")
    (cell,) = run.cells
    (why,) = cell.account.pairs
    assert (cell.account.sampled, why.answer) == (775, SAMPLED)
    assert why.sentence.endswith("(explained on 775 of 6,000,007 elements).")
    assert dict(why.families)["epsilon-placement"]
    assert run.exit_code == 0
    assert "; 1 explained on 775 of 6,000,007 elements; " in summary_line(run)
    assert "0 explained to the last bit" in summary_line(run)
    assert "1 were explained on 775 of 6,000,007 elements." in answer_line(run)
    report = (tmp_path / "run" / "report.md").read_text()
    assert "one float32 was explained on 775 of 6,000,007 elements, some of every tensor." in report
    assert "1 explained on a sample: epsilon-placement" in report


@pytest.mark.parametrize(
    ("expect", "kind", "told"),
    [
        ('verdict = "EXPLAINED"', "DIVERGED", "(explained on 775 of 6,000,007 elements)"),
        ('verdict = "WITHIN"\nrounding = "operations"\nwithin = { "*" = { max_abs = 1 } }', "DIVERGED",
         "another formula: epsilon-placement"),
        ('verdict = "WITHIN"\nwithin = { w = { max_steps = 2.9 }, m = { max_abs = 1e-6 }, v = { max_abs = 1e-9 } }',
         "WITHIN", ""),
    ],
)  # fmt: skip
def test_a_sample_proves_another_formula_and_nothing_else(write, tmp_path, expect, kind, told):
    run = parity.run([write(LARGE, expect)], NAMES, output=tmp_path / "run")
    (found,) = run.verdicts
    assert found.verdict.kind == kind
    assert told in found.verdict.reason
    assert found.verdict.as_expected == (kind == "WITHIN")


def test_what_differs_outside_the_sample_is_not_identical(write, tmp_path, write_adam):
    # Beyond every span: the first of them ends at 256, the middle one begins far behind.
    other = write_adam("other", after="for a in w.values():\n    a.reshape(-1)[300:301] *= 2")
    plain = write_adam("plain")
    path = write(LARGE, 'verdict = "DIVERGED"\n')
    path.write_text(
        path.read_text().replace("numpy.adam.hat", "user.other").replace("numpy.adam.outside", "user.plain")
    )
    (cell,) = parity.run([path], [plain, other], output=tmp_path / "run").cells
    (why,) = cell.account.pairs
    assert why.answer == SAMPLED
    assert "elements)" in why.sentence


def test_what_is_identical_in_the_whole_is_said_to_be(write, tmp_path, write_adam):
    path = write(LARGE, 'verdict = "IDENTICAL"')
    path.write_text(path.read_text().replace("numpy.adam.hat", "user.one").replace("numpy.adam.outside", "user.two"))
    run = parity.run([path], [write_adam("one"), write_adam("two")], output=tmp_path / "run")
    (why,) = run.cells[0].account.pairs
    assert why.answer == "identical"
    assert "1 identical" in summary_line(run)
    assert run.exit_code == 0


def test_the_explainer_is_that_of_every_run(write, tmp_path):
    with Libraries() as libraries:
        explaining = Explaining(lambda *asked: account(*asked, libraries=libraries), largest=1 << 21)
        _, result = executed(write(100_000), tmp_path / "run", explaining, Options())
    assert [one.answer for one in result.account.pairs] == [SAMPLED]
    assert {one.compared for one in result.account.held} == {807 * 3 * 3}
