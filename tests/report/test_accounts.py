"""Explanations in a run: kept, counted and told; a claim that breaks is an alarm."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

import parity
from parity.api.run import run as run_cases
from parity.engine.account import Explaining
from parity.engine.accounts import count_answers
from parity.engine.findings import Severity, find
from parity.engine.record import read_run
from parity.engine.result import Account
from parity.report import markdown as accounts
from parity.report.markdown import render

PAIR = ("numpy.adam.outside", "numpy.adam.hat")


def test_a_run_explains_every_pair(run_small, tmp_path):
    run = run_small(*PAIR)
    (cell,) = run.cells
    assert cell.account.reason == ""
    assert [one.implementation for one in cell.account.held] == sorted(PAIR)
    for one in cell.account.held:
        assert (one.source, one.differing, one.covered) == ("claimed", 0, "")
        assert one.compared == 3 * cell.steps * cell.elements
        assert 0 < one.error_ulp < 100
    (why,) = cell.account.pairs
    assert why.answer == "explained"
    assert "epsilon-placement" in dict(why.families)
    assert count_answers(run) == {"explained": 1}
    assert read_run(tmp_path / "run") == run
    assert not (tmp_path / "run" / "traces").exists()
    text = render(run)
    assert "0 pairs are identical, 1 differ and every differing bit is accounted for" in text
    assert "## Why they differ" in text
    assert "| numpy.adam.hat | 0 of 255 differ; error" in text


def test_what_is_not_asked_for_is_not_told(write_case, tmp_path):
    run = run_cases([write_case()], PAIR, output=tmp_path / "run", explained=False)
    assert run.cells[0].account == Account()
    assert count_answers(run).total() == 0
    assert "## Why they differ" not in render(run)
    assert not list(accounts.open_lines(run))


def test_an_explained_run_does_not_take_over_one_that_was_not(write_case, tmp_path):
    case = write_case()
    run_cases([case], PAIR, output=tmp_path / "run", explained=False)
    resumed = run_cases([case], PAIR, output=tmp_path / "run", options=parity.Options(resume=True))
    assert resumed.cells[0].account.pairs


def test_a_cell_too_large_says_so(write_case, tmp_path, monkeypatch):
    monkeypatch.setattr("parity.api.run.Explaining", lambda explainer: Explaining(explainer, largest=100))
    run = run_cases([write_case()], PAIR, output=tmp_path / "run")
    assert "larger than" in run.cells[0].account.reason
    assert [line for line in accounts.open_lines(run) if "was not explained" in line]


def test_a_plug_in_without_a_twin_is_not_called_explained(run_small, write_adam):
    target = write_adam(swap=[("np.sqrt(v_hat) + f(hyper.eps)", "np.sqrt(v_hat) * f(1.0001) + f(hyper.eps)")])
    run = run_small(target, "numpy.adam.outside")
    (why,) = run.cells[0].account.pairs
    assert why.answer == "unexplained"
    assert [one.differing for one in run.cells[0].account.held if one.implementation == "user.plugin"] != [0]


def test_a_broken_claim_is_an_alarm(run_small):
    run = run_small(*PAIR)
    (cell,) = run.cells
    held = tuple(replace(one, differing=3, max_ulp=1) for one in cell.account.held[:1])
    broken = replace(cell, account=replace(cell.account, held=held))
    (alarm,) = [one for one in find([broken], []) if one.severity is Severity.ALARM]
    assert "numpy.adam.hat in float32 is no longer the Adam it is known to be" in alarm.title
    assert "3 of 255" in alarm.detail
    covered = replace(broken, account=replace(broken.account, held=(replace(held[0], covered="for a reason"),)))
    assert not [one for one in find([covered], []) if one.severity is Severity.ALARM]
    assert "for a reason" in next(accounts.open_lines(replace(run, cells=(covered,))))
    assert np.isfinite(held[0].error_ulp)
