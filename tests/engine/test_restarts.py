"""A case that restarts: each is saved, its process ends, another loads; and what was lost on the way is named."""

from __future__ import annotations

import os

import pytest

import parity
from parity.case.catalogue import load_case_file
from parity.case.expectation import Kind

pytestmark = [pytest.mark.frameworks, pytest.mark.thorough]

CASE = """
summary = "Saved after steps 3 and 6, and loaded by another process."
why = "What does not come back from a checkpoint shows after it."
steps = 9
dtypes = ["float32"]
restart = [3, 6]
[hyper]
lr = [0.01, 0.02, 0.03, 0.04, 0.05, 0.06, 0.07, 0.08, 0.09]
[weights]
kind = "uniform"
low = -1.0
high = 1.0
[gradients]
kind = "bell"
scale = 0.3
[[parameters]]
name = "kernel"
shape = [5, 4]
[[parameters]]
name = "bias"
shape = [7]
"""

TORCH = """
import torch
from parity.core.stages import NO_STAGES
from parity.implementations.implementation import WHOLE
from parity.implementations.torch_ import CHECKPOINT, run as whole

def run(weights, gradients, hyper, start=None, leg=WHOLE, stages=NO_STAGES):
    if leg.load is not None:
        kept = torch.load(leg.load / CHECKPOINT, weights_only=True)
        for one in kept["optimizer"]["state"].values():
            {change}
        torch.save(kept, leg.load / CHECKPOINT)
    yield from whole(weights, gradients, hyper, start, leg, stages, foreach=False, fused=False)
"""

KERAS = """
import numpy as np
from parity.implementations.implementation import WHOLE
from parity.implementations.keras_ import run as whole
from parity.implementations.keras_restart import VARIABLES

def run(weights, gradients, hyper, start=None, leg=WHOLE):
    if leg.load is not None:
        path = leg.load / VARIABLES
        with np.load(path) as kept:
            bits = dict(kept)
        # Those of Keras: iterations, learning_rate, and then m and v of each variable in turn.
        bits["0"][:] = 0
        np.savez(path, **bits)
    yield from whole(weights, gradients, hyper, start, leg)
"""

OPTAX = """
import numpy as np
from parity.implementations.implementation import WHOLE
from parity.implementations.optax_ import LEAVES, run as whole

def run(weights, gradients, hyper, start=None, leg=WHOLE):
    if leg.load is not None:
        with np.load(leg.load / LEAVES) as kept:
            leaves = [kept[name] for name in kept.files]
        # The last leaf is the count of the schedule.
        leaves[-1][:] = 0
        np.savez(leg.load / LEAVES, *leaves)
    yield from whole(weights, gradients, hyper, start, leg)
"""

OWN = """
import os
import numpy as np
from parity import State

def run(weights, gradients, hyper{start}):
    w = {{name: one.copy() for name, one in weights.items()}}
    m = {{name: np.zeros_like(one) for name, one in w.items()}}
    v = {{name: np.zeros_like(one) for name, one in w.items()}}
    t = 0
    if {given} is not None:
        m, v = ({{name: one.copy() for name, one in part.items()}} for part in ({given}.m, {given}.v))
        t = {given}.steps["kernel"]
        {change}
    for step, gradient in enumerate(gradients, start=1):
        t += 1
        for name, g in gradient.items():
            m[name] += np.float32(1 - hyper.beta1) * (g - m[name])
            v[name] += np.float32(1 - hyper.beta2) * (g * g - v[name])
            size = np.sqrt(v[name]) / np.float32((1 - hyper.beta2**t) ** 0.5) + np.float32(hyper.eps)
            w[name] -= np.float32(hyper.lr_at(step) / (1 - hyper.beta1**t)) * m[name] / size
        yield State(w, m, v)
"""


@pytest.fixture
def ran(tmp_path):
    def ran(text, *names, case=CASE):
        (tmp_path / "case.toml").write_text(case)
        (tmp_path / "mine.py").write_text(text)
        return parity.run([tmp_path / "case.toml"], [f"{tmp_path / 'mine.py'}:run", *names], output=tmp_path / "run")

    return ran


def of(run, name="user.mine"):
    """Verdict, and why it differs, of what is restarted against what is not."""
    (verdict,) = [one for one in run.verdicts if one.actual == f"{name}.restarted"]
    (why,) = [one for one in run.cells[0].account.pairs if one.actual == f"{name}.restarted"]
    assert verdict.expected == name
    return verdict.verdict, why


def own(start=", start=None", given="start", change="pass"):
    return OWN.format(start=start, given=given, change=change)


def test_one_that_takes_a_start_comes_back(ran):
    run = ran(own())
    assert of(run)[0].kind is Kind.IDENTICAL
    # The reference restarts too, and neither is held against the other.
    assert {(one.actual, one.expected) for one in run.verdicts} == {
        ("user.mine.restarted", "user.mine"), ("numpy.adam.outside.restarted", "numpy.adam.outside"),
    }  # fmt: skip
    assert run.exit_code == 0


@pytest.mark.parametrize(("change", "cause"), [
    ("t = 0", "the step count is lost (t begins at 1 again)"),
    ("t += 1", "the step count is one too large"),
    ("v = {name: np.zeros_like(one) for name, one in v.items()}", "v is lost (zeros)"),
])  # fmt: skip
def test_one_that_takes_a_start_wrongly_is_named(ran, change, cause):
    run = ran(own(change=change))
    verdict, why = of(run)
    assert (verdict.kind, run.exit_code) == (Kind.DIVERGED, 1)
    assert f"after the restart at step 3, from step 4 on: {cause}" in why.sentence
    assert any(cause in one.detail for one in run.findings)


def test_one_that_takes_neither_is_skipped_with_the_reason(ran):
    verdict = verdict_alone(ran(own(start="", given="None")))
    assert verdict.kind is Kind.SKIPPED
    assert "its run takes neither leg nor start; a restart needs one of them" in verdict.reason


def verdict_alone(run):
    (verdict,) = [one for one in run.verdicts if one.actual == "user.mine.restarted"]
    return verdict.verdict


@pytest.mark.parametrize(("text", "cause"), [
    (TORCH.format(change='one["step"].zero_()'), "the step count is lost (t begins at 1 again)"),
    (TORCH.format(change='one["exp_avg"].zero_()'), "m is lost (zeros)"),
    pytest.param(KERAS, "the step count is lost (t begins at 1 again)", marks=pytest.mark.exhaustive),
    (OPTAX, "the schedule is back at its start"),
], ids=["torch-count", "torch-m", "keras-count", "optax-schedule"])  # fmt: skip
def test_a_loss_between_two_processes_is_named(ran, text, cause):
    verdict, why = of(ran(text))
    assert verdict.kind is Kind.DIVERGED
    assert f"after the restart at step 3, from step 4 on: {cause}" in why.sentence


@pytest.mark.parametrize("stage", ["accumulate = 2", "loss_scale = { initial = 1024.0 }"])
def test_a_loss_is_named_where_not_every_step_is_counted(ran, stage):
    """Two updates of four gradients, or three of four where one is not finite."""
    case = CASE.replace("[3, 6]", "[4, 6]")
    if "loss_scale" in stage:
        case = case.replace("scale = 0.3", "scale = 0.3\nnan_steps = [2]")
    case = case.replace("[hyper]", f"[stages]\n{stage}\n[hyper]")
    verdict, why = of(ran(TORCH.format(change='one["step"] += 1'), case=case))
    assert verdict.kind is Kind.DIVERGED
    assert "after the restart at step 4" in why.sentence
    assert "the step count is one too large" in why.sentence


def test_another_process_goes_on(ran, tmp_path):
    """It notes its process at every start, two restarts, three processes for one, and one for the other; each ends."""
    place = 'os.path.join(os.path.dirname(os.path.abspath(__file__)), f"{what}-{os.getpid()}")'
    note = f'def note(what):\n    open({place}, "w").close()\n\n'
    text = own().replace("    t = 0\n", '    t = 0\n    note("began")\n    atexit.register(note, "ended")\n', 1)
    run = ran("import atexit\n" + text.replace("def run(", f"{note}def run(", 1))
    assert of(run)[0].kind is Kind.IDENTICAL
    began, ended = ({one.name.partition("-")[2] for one in tmp_path.glob(f"{what}-*")} for what in ("began", "ended"))
    assert (len(began), ended) == (4, began)
    assert str(os.getpid()) not in began


def test_a_gradient_of_none_needs_counts(ran):
    """Nobody can tell how many steps it counted, unless its states say it."""
    text = own().replace("        for name, g in gradient.items():\n",
                         "        for name, g in gradient.items():\n            if g is None: continue\n")  # fmt: skip
    verdict = verdict_alone(ran(text, case=CASE.replace("scale = 0.3", "scale = 0.3\nnone_steps = [2]")))
    assert verdict.kind is Kind.SKIPPED
    assert "its states say no steps, and some gradients were None" in verdict.reason


def test_one_s_own_may_take_no_start_and_a_shipped_one_may_not(ran, tmp_path):
    """A right Adam is green in the whole catalogue; what it was not asked stands in its row."""
    run = ran(own(start="", given="None"))
    assert verdict_alone(run).as_expected
    assert run.exit_code == 0
    (case,) = load_case_file(tmp_path / "case.toml")
    assert case.expectation_for("user.mine.restarted", "user.mine", "float32").skips
    assert not case.expectation_for("torch.adam.fused.restarted", "torch.adam.fused", "float32").skips


def test_betas_that_change_go_on_where_they_were(ran):
    betas = [0.95, 0.94, 0.93, 0.92, 0.91, 0.9, 0.89, 0.88, 0.87]
    case = CASE.replace("[weights]", f"beta1 = {betas}\n[weights]")
    run = ran(own().replace("hyper.beta1", "hyper.betas_at(step)[0]"), case=case)
    assert of(run)[0].kind is of(run, "numpy.adam.outside")[0].kind is Kind.IDENTICAL
