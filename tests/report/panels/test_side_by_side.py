"""Two runs side by side, from real runs of small cases of which one thing is different."""

from __future__ import annotations

from dataclasses import replace

import pytest

import parity
from parity.core.errors import NothingCompared
from parity.engine.record import read_run
from parity.report.panels.side_by_side import Course, side_by_side

HAT, OUTSIDE = "numpy.adam.hat", "numpy.adam.outside"
WRONG = [("1 - hyper.beta2**t", "1.0")]
LOST = {"after": "w['bias'][:] = np.float32('nan')"}


@pytest.fixture(scope="module")
def runs(tmp_path_factory, case_text, adam_text):
    """Runs by name, each of a plug-in beside the Adam of the paper in the cases a and b."""
    made = {
        "right": ({}, {}, ()),
        "wrong": ({"swap": WRONG}, {}, ()),
        "lost": (LOST, {}, ()),
        "broken": ({"before": "if t == 3: raise ValueError('no more')"}, {}, ()),
        "other seed": ({}, {"seed": 8}, ()),
        "longer": ({}, {"steps": 6}, ()),
        "more": ({}, {}, (HAT,)),
    }
    found = {}
    for name, (planted, keys, others) in made.items():
        folder = tmp_path_factory.mktemp("side")
        (folder / "a.toml").write_text(case_text())
        (folder / "b.toml").write_text(case_text(**({"hyper": {"eps": 1e-3}} | keys)))
        (folder / "plugin.py").write_text(adam_text("plugin", **planted))
        targets = [f"{folder / 'plugin.py'}:plugin", OUTSIDE, *others]
        cases = [folder / "a.toml", folder / "b.toml"]
        found[name] = parity.run(cases, targets, output=folder / "run")
        assert read_run(folder / "run") == found[name]
    return found


def test_a_run_beside_itself_is_the_same(runs):
    found = side_by_side(runs["right"], runs["right"])
    assert found.same
    assert (found.asked, found.held, found.groups, found.environment) == (2, 2, (), ())
    assert found.count(Course.SAME) == 2
    assert found.ended == (4, 0)


def test_what_got_wrong_is_another_verdict_farther_apart_and_its_side_is_named(runs):
    found = side_by_side(runs["right"], runs["wrong"])
    assert not found.same
    assert (found.held, found.judged_otherwise, found.count(Course.FARTHER), found.count(Course.SAME)) == (2, 2, 2, 0)
    (group,) = found.groups
    assert (group.actual, group.expected, group.dtype, group.of) == ("user.plugin", OUTSIDE, "float32", 2)
    for one in group.rows:
        assert one.moved == ("user.plugin",)
        assert (one.before.verdict.as_expected, one.after.verdict.as_expected) == (True, False)
        assert one.after.lr > one.before.lr
    assert [one.after.lr - one.before.lr for one in group.rows] == sorted(
        (one.after.lr - one.before.lr for one in group.rows), reverse=True
    )
    assert {one.implementation: one.moved for one in found.orbits} == {OUTSIDE: (), "user.plugin": ("a", "b")}


def test_the_other_way_round_is_nearer(runs):
    found = side_by_side(runs["wrong"], runs["right"])
    assert (found.count(Course.NEARER), found.count(Course.FARTHER), found.judged_otherwise) == (2, 0, 2)


def test_of_other_inputs_nothing_is_said(runs):
    for name, what in (("other seed", "other weights or gradients"), ("longer", "5 steps in A, 6 in B")):
        found = side_by_side(runs["right"], runs[name])
        assert [(one.case, one.what, one.pairs) for one in found.other_inputs] == [("b", what, 1)]
        assert (found.asked, found.held, found.groups, found.ended) == (2, 1, (), (2, 0))
        assert not found.same


def test_other_hyperparameters_are_another_question(runs):
    run = runs["right"]
    cell = run.cells[0]
    asked = tuple(replace(one, hyper={**one.hyper, "eps": "0x1p-3"}) for one in cell.outcomes)
    changed = replace(run, cells=(replace(cell, outcomes=asked), *run.cells[1:]))
    assert [one.what for one in side_by_side(run, changed).other_inputs] == ["other eps"]


def test_where_nothing_is_in_both_with_the_same_inputs_nothing_is_compared(runs):
    def only(run, case):
        cells = tuple(one for one in run.cells if one.case == case)
        return replace(run, cells=cells, verdicts=tuple(one for one in run.verdicts if one.case == case))

    with pytest.raises(NothingCompared, match="no pair, case and dtype stands in both runs"):
        side_by_side(only(runs["right"], "a"), only(runs["right"], "b"))
    with pytest.raises(NothingCompared, match=r"the inputs differ \(b float32: other weights or gradients\)"):
        side_by_side(only(runs["right"], "b"), only(runs["other seed"], "b"))


def test_what_only_one_has_is_told(runs):
    found = side_by_side(runs["right"], runs["more"])
    before, after = found.only
    assert not before.anything
    assert (after.implementations, after.cases, after.dtypes) == ((HAT,), (), ())
    assert after.pairs[HAT, OUTSIDE, "float32"] == ("a", "b")
    assert (after.count, found.asked, found.held, found.groups) == (2, 4, 2, ())
    assert not found.same


def test_nan_on_one_side_is_farther_than_any_number_and_equals_itself(runs):
    found = side_by_side(runs["wrong"], runs["lost"])
    assert {one.course for one in found.rows} == {Course.FARTHER}
    assert side_by_side(runs["lost"], runs["lost"]).same
    assert {one.course for one in side_by_side(runs["lost"], runs["wrong"]).rows} == {Course.NEARER}


def test_what_crashed_has_other_figures_neither_nearer_nor_farther(runs):
    found = side_by_side(runs["right"], runs["broken"])
    assert {one.course for one in found.rows} == {Course.OTHER}
    assert {str(one.after.verdict.kind) for one in found.rows} == {"CRASHED"}
    assert found.judged_otherwise == 2
    with pytest.raises(NothingCompared, match="in neither run a pair came to its end"):
        side_by_side(runs["broken"], runs["broken"])


def test_other_bits_with_the_same_figures_are_not_the_same_run(runs):
    run = runs["right"]
    cell = run.cells[0]
    moved = tuple(replace(one, digests=dict.fromkeys(one.digests, "0")) for one in cell.outcomes)
    found = side_by_side(run, replace(run, cells=(replace(cell, outcomes=moved), *run.cells[1:])))
    assert (found.groups, found.ended, found.same) == ((), (4, 2), False)


def test_other_causes_for_the_same_figures_are_a_change(runs):
    run = runs["right"]
    cell = run.cells[0]
    whys = tuple(replace(one, answer="unexplained", families=()) for one in cell.account.pairs)
    changed = replace(cell, account=replace(cell.account, pairs=whys))
    found = side_by_side(run, replace(run, cells=(changed, *run.cells[1:])))
    assert (found.other_causes, found.judged_otherwise, found.count(Course.SAME)) == (1, 0, 2)
    assert [one.case for one in found.rows] == ["a"]
    unexplained = replace(cell, account=replace(cell.account, pairs=()))
    assert side_by_side(run, replace(run, cells=(unexplained, *run.cells[1:]))).same


def test_environments_that_differ_are_told_once_and_processes_by_what_is_theirs(runs):
    run = replace(runs["right"], environment={**runs["right"].environment, "variables": {}})
    facts = {**run.environment, "variables": {"OMP_NUM_THREADS": "1"}}
    workers = {name: {**worker, "variables": {}} for name, worker in run.workers.items()}
    packages = {**run.environment["packages"], "numpy": "1.0"}
    others = {name: {**facts, "packages": packages} for name in run.workers}
    found = side_by_side(
        replace(run, workers=workers), replace(run, environment=facts, workers=others, version="0.0.1")
    )
    told = [(one.what, one.before, one.after) for one in found.environment]
    assert told == [("parity", run.version, "0.0.1"), ("OMP_NUM_THREADS", "absent", "1")]
    (processes,) = found.processes
    assert processes.names == tuple(sorted(run.workers))
    assert [(one.what, one.after) for one in processes.differences] == [("numpy", "1.0")]
    assert found.same
