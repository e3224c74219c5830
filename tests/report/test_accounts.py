"""Explanations in a run: kept, counted and told; a claim that breaks is an alarm."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import numpy as np

import parity
from parity.adam import machine
from parity.adam.forms import SecondMoment
from parity.api.run import run as run_cases
from parity.core.environment import describe_environment
from parity.engine.account import Explaining
from parity.engine.accounts import count_answers
from parity.engine.findings import Severity, Topic, find
from parity.engine.record import read_run
from parity.engine.result import Account
from parity.report import markdown as accounts
from parity.report import twins
from parity.report.markdown import render
from parity.report.terminal import summary_line

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
    assert text.index("## Each implementation against its twin") < text.index("## Matrix") < text.index("## Why they")
    assert "| numpy.adam.hat | 0 of 255 differ; error" in text


def test_what_is_not_asked_for_is_not_told(write_case, tmp_path):
    run = run_cases([write_case()], PAIR, output=tmp_path / "run", explained=False)
    assert run.cells[0].account == Account()
    assert count_answers(run).total() == 0
    assert "## Why they differ" not in render(run)
    assert "## Each implementation" not in render(run)
    assert not list(twins.open_lines(run))


def test_an_explained_run_does_not_take_over_one_that_was_not(write_case, tmp_path):
    case = write_case()
    run_cases([case], PAIR, output=tmp_path / "run", explained=False)
    resumed = run_cases([case], PAIR, output=tmp_path / "run", options=parity.Options(resume=True))
    assert resumed.cells[0].account.pairs


def test_a_cell_too_large_says_so(write_case, tmp_path, monkeypatch):
    monkeypatch.setattr("parity.api.run.Explaining", lambda explainer: Explaining(explainer, largest=100))
    run = run_cases([write_case()], PAIR, output=tmp_path / "run")
    assert "larger than" in run.cells[0].account.reason
    assert [line for line in twins.open_lines(run) if "was not explained" in line]


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
    assert "numpy.adam.hat in float32 is not the Adam it is known to be, bit by bit" in alarm.title
    assert "small: 3 of 255 elements" in alarm.detail
    assert f"On {held[0].machine} its twin leaves" in alarm.detail
    covered = replace(broken, account=replace(broken.account, held=(replace(held[0], covered="for a reason"),)))
    assert not [one for one in find([covered], []) if one.severity is Severity.ALARM]
    assert "for a reason" in next(twins.open_lines(replace(run, cells=(covered,))))
    assert np.isfinite(held[0].error_ulp)


def told_everywhere(run, folder, command):
    """The finding of a claim that does not hold, as the run directory, the page and the command tell it."""
    (finding,) = [one for one in run.findings if one.topic is Topic.CLAIM]
    assert json.loads((folder / "run.json").read_text())["findings"][run.findings.index(finding)]["topic"] == "claim"
    assert read_run(folder).broken == run.broken
    assert f"{finding.title}.** {finding.detail.partition(';')[0]}" in (folder / "report.md").read_text()
    assert "1 claim does not hold" in summary_line(run)
    assert command("report", folder)[0] == 0
    (banner,) = re.findall(r'<p class="banner (\w+)"><strong>(.*?)\.</strong>', (folder / "report.html").read_text())
    assert banner == (str(finding.severity), finding.title)
    assert any(line.startswith(f"> **{finding.title}.**") for line in accounts.summary_lines(run))
    return finding


def here():
    """Architecture and vendor of this processor."""
    told = describe_environment()
    return told["platform"].rpartition("-")[2], told["vendor"]


def another_mean(claims):
    """Claims by which numpy.adam.hat forms v in another order than it does."""
    hat = claims["numpy.adam.hat"]["float32"]
    other = replace(hat, arithmetic=replace(hat.arithmetic, second_moment=SecondMoment.AVERAGE_LEFT))
    return {**claims, "numpy.adam.hat": {**claims["numpy.adam.hat"], "float32": other}}


def test_a_claim_that_does_not_hold_makes_the_run_red_where_it_was_confirmed(run_small, monkeypatch, tmp_path, command):
    monkeypatch.setattr(machine, "TWINS", another_mean(machine.TWINS))
    monkeypatch.setattr(machine, "CONFIRMED", {here(): dict.fromkeys(machine.Engine, ())})
    run = run_small(*PAIR)
    assert not run.unexpected
    assert run.exit_code == 1
    assert run.broken == (("small", "float32", "numpy.adam.hat"),)
    finding = told_everywhere(run, tmp_path / "run", command)
    assert (finding.severity, finding.where) == (Severity.ALARM, ("small float32",))
    (held,) = [one for one in run.cells[0].account.held if one.implementation == "numpy.adam.hat"]
    assert f"small: {held.broken:,} of 255 elements. Another arithmetic fits. The claim was confirmed there." in (
        finding.detail
    )
    assert (held.source, held.differing, 0 < held.broken <= 85) == ("replaced", 0, True)
    tests = command("run", tmp_path / "small.toml", *words(PAIR), "-o", tmp_path / "again", "--junitxml",
                    tmp_path / "tests.xml")  # fmt: skip
    assert tests[0] == 1
    assert "claim that does not hold: numpy.adam.hat in float32" in (tmp_path / "tests.xml").read_text()


def words(implementations):
    return [word for one in implementations for word in ("-i", one)]


def test_on_a_machine_that_nobody_has_seen_it_is_told_and_the_verdicts_decide(
    run_small, monkeypatch, tmp_path, command
):
    monkeypatch.setattr(machine, "TWINS", another_mean(machine.TWINS))
    monkeypatch.setattr(machine, "CONFIRMED", {("aarch64", "implementer 0x41"): {}})
    run = run_small(*PAIR)
    assert (run.exit_code, run.broken) == (0, ())
    finding = told_everywhere(run, tmp_path / "run", command)
    assert finding.severity is Severity.WARNING
    told = f"The claim was confirmed on aarch64 of implementer 0x41; nobody has seen {' of '.join(here())}."
    assert told in finding.detail
    (unseen,) = [one for one in run.findings if one.severity is Severity.NOTE]
    assert unseen.subject == "numpy.adam.hat, numpy.adam.outside"
    assert "Nobody has confirmed on such a machine" in unseen.title
    assert "parity doctor --confirm" in unseen.detail


def test_on_a_machine_that_was_seen_nothing_is_told(run_small, monkeypatch):
    monkeypatch.setattr(machine, "CONFIRMED", {here(): dict.fromkeys(machine.Engine, ())})
    assert not [one for one in run_small(*PAIR).findings if "machine" in one.title]
