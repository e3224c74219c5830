"""Adams with one planted fault each turn a run of shipped cases red; a correct one does not."""

from __future__ import annotations

import pytest

import parity
from parity.catalogue import shipped_cases
from parity.expectation import Kind

CASES = ("same-hyperparameters", "constant", "decades", "epsilon")
DTYPES = ("float64", "float32")


def names(folder):
    return sorted(path.stem for path in folder.glob("*.py"))


@pytest.fixture(scope="module")
def run_of(faults, tmp_path_factory):
    """One fault on the shipped cases: its Run."""

    def run(name):
        cases = [shipped_cases() / f"{case}.toml" for case in CASES]
        output = tmp_path_factory.mktemp(name) / "run"
        return parity.run(cases, [f"{faults / name}.py:run"], DTYPES, output)

    return run


def test_a_correct_adam_is_green_everywhere(run_of):
    run = run_of("correct")
    assert run.exit_code == 0
    assert run.counts.pairs == run.counts.as_expected == run.counts.cells == 2 * (len(CASES) - 1 + 5)


@pytest.mark.parametrize(
    "fault", ["epsilon_place", "epsilon_inside", "no_bias_correction", "off_by_one_step", "swapped_betas"]
)
def test_a_wrong_formula_is_red_in_both_dtypes(run_of, fault):
    run = run_of(fault)
    assert run.exit_code == 1
    red = run.unexpected
    assert {one.dtype for one in red} == set(DTYPES)
    assert {one.verdict.kind for one in red} == {Kind.DIVERGED}
    assert all("WITHIN was expected" in one.verdict.reason for one in red)


def test_an_optimizer_that_does_nothing_is_red_in_every_cell_and_told(run_of):
    run = run_of("does_nothing")
    assert run.exit_code == 1
    assert len(run.unexpected) == run.counts.pairs
    assert any("user.does_nothing never moved a weight" in finding.title for finding in run.findings)


def test_a_silently_promoted_dtype_is_red_where_there_is_something_to_promote(run_of):
    run = run_of("promoted")
    assert run.exit_code == 1
    assert {one.dtype for one in run.unexpected} == {"float32"}
    assert {one.verdict.kind for one in run.unexpected} == {Kind.CRASHED}
    assert "step 1: w['kernel'] is float64, the case runs in float32" in run.unexpected[0].verdict.reason


def test_every_planted_fault_is_tested(faults):
    assert names(faults) == [
        "correct",
        "does_nothing",
        "epsilon_inside",
        "epsilon_place",
        "no_bias_correction",
        "off_by_one_step",
        "promoted",
        "swapped_betas",
    ]


def test_the_faults_are_from_scratch(faults):
    for path in faults.glob("*.py"):
        assert "parity.adam" not in path.read_text()


def test_the_command_line_says_the_same(faults, command, tmp_path):
    case = shipped_cases() / "constant.toml"
    for name, code in (("correct", 0), ("no_bias_correction", 1)):
        output = tmp_path / name
        assert command("run", case, "-d", "float32", "-i", f"{faults / name}.py:run", "-o", output)[0] == code
