"""A recording is a case: what was recorded is a party of its own, and all others get the same gradients."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

import parity
from parity.case.catalogue import select_cases
from parity.case.expectation import Kind
from parity.core.errors import ParityError
from parity.engine.findings import Topic

pytestmark = [pytest.mark.frameworks, pytest.mark.thorough]

STEPS = 12


@pytest.fixture
def recorded(tmp_path):
    """Record a torch training of two tensors; its folder. change: called with optimizer and step before every step."""
    import torch

    def record(name="mine", *, before=0, change=None, groups=None, none=(), kind="Adam", dtype="float32", **settings):
        options = {one: settings.pop(one) for one in ("elements", "moments", "first") if one in settings}
        torch.manual_seed(0)
        weights = {"kernel": torch.randn(40, 5), "bias": torch.randn(7)}
        weights = {key: torch.nn.Parameter(one.to(getattr(torch, dtype))) for key, one in weights.items()}
        given = groups(weights) if groups else weights.values()
        optimizer = getattr(torch.optim, kind)(given, **{"lr": 0.01, **settings})

        def steps(count, first=1):
            for step in range(first, first + count):
                for one in weights.values():
                    one.grad = torch.randn_like(one)
                if step in none:
                    weights["bias"].grad = None
                if change:
                    change(optimizer, step)
                optimizer.step()

        steps(before)
        with parity.record(tmp_path / name, optimizer, model=weights, **options):
            steps(STEPS, before + 1)
        return tmp_path / name

    return record


def verdicts(run):
    return {(one.case, one.expected): one.verdict.kind for one in run.verdicts}


@pytest.mark.parametrize("settings", [
    {}, {"foreach": True}, {"fused": True}, {"amsgrad": True}, {"weight_decay": 0.1}, {"dtype": "bfloat16"},
    {"kind": "AdamW", "weight_decay": 0.1}, {"none": (1, 5)}, {"elements": 20}, {"moments": False},
], ids=str)  # fmt: skip
def test_what_happened_is_the_adam_that_it_is_said_to_be(recorded, tmp_path, settings):
    folder = recorded(**settings)
    run = parity.run([folder], ["torch.adam.f*", "numpy.adam.hat"], output=tmp_path / "run")
    assert run.exit_code == 0
    own = "fused" if "fused" in settings else "foreach" if "foreach" in settings else "forloop"
    found = verdicts(run)
    assert found["mine", f"torch.adam.{own}"] is Kind.IDENTICAL
    assert found["mine", "numpy.adam.hat"] is Kind.EXPLAINED
    assert {one.actual for one in run.verdicts} == {"recorded"}
    (held,) = [one for one in run.cells[0].account.held if one.implementation == "recorded"]
    assert held.differing == 0


def test_a_schedule_is_replayed(recorded, tmp_path):
    def halve(optimizer, step):
        optimizer.param_groups[0]["lr"] = 0.1 / step

    run = parity.run([recorded(change=halve)], ["torch.adam.forloop"], output=tmp_path / "run")
    assert verdicts(run) == {("mine", "torch.adam.forloop"): Kind.IDENTICAL}
    (case,) = select_cases([tmp_path / "mine"])
    assert case.hyper.lr == tuple(0.1 / step for step in range(1, STEPS + 1))


def test_betas_that_change_are_replayed(recorded, tmp_path):
    """As OneCycleLR cycles them."""

    def cycle(optimizer, step):
        optimizer.param_groups[0]["betas"] = (0.95 - 0.01 * step, 0.99)

    run = parity.run([recorded(change=cycle)], ["torch.adam.f*", "numpy.adam.outside", "keras.adam.eager"],
                     output=tmp_path / "run")  # fmt: skip
    found = verdicts(run)
    assert {found["mine", f"torch.adam.{kind}"] for kind in ("forloop", "foreach")} == {Kind.IDENTICAL}
    assert found["mine", "keras.adam.eager"] is Kind.SKIPPED
    held = {one.implementation: one.differing for one in run.cells[0].account.held}
    assert set(held.values()) == {0}
    (case,) = select_cases([tmp_path / "mine"])
    assert case.hyper.beta1 == tuple(0.95 - 0.01 * step for step in range(1, STEPS + 1))
    answers = {why.expected: why.answer for why in run.cells[0].account.pairs}
    assert answers["numpy.adam.outside"] == "explained"


def test_groups_are_cases_of_their_own(recorded, tmp_path):
    def groups(weights):
        return [{"params": [weights["kernel"]], "lr": 0.5}, {"params": [weights["bias"]], "betas": (0.5, 0.9)}]

    run = parity.run([recorded(groups=groups)], ["torch.adam.forloop"], output=tmp_path / "run")
    assert verdicts(run) == {(f"mine[group={k}]", "torch.adam.forloop"): Kind.IDENTICAL for k in (0, 1)}
    first, second = select_cases([tmp_path / "mine"])
    assert (first.hyper.lr, second.hyper.beta1) == (0.5, 0.5)


@pytest.mark.parametrize("kind", ["NAdam", "RAdam"])
def test_what_is_no_adam_is_not_green_beside_one(recorded, tmp_path, kind):
    run = parity.run([recorded(kind=kind)], ["torch.adam.forloop", "numpy.adam.outside"], output=tmp_path / "run")
    assert [(one.verdict.kind, one.verdict.as_expected) for one in run.verdicts] == [(Kind.DIVERGED, False)] * 2
    assert run.exit_code == 1


def test_an_adam_that_is_none_is_not_green(recorded, change_recording, tmp_path):
    """It says that it is torch's Adam, and its gradients were changed behind its back."""

    def change(optimizer, step):
        for group in optimizer.param_groups:
            for one in group["params"]:
                one.register_hook(lambda gradient: gradient)

    folder = recorded(change=change)

    def flip(rows):
        rows["gradients"][3] ^= 0x3

    change_recording(folder, rows=flip)
    run = parity.run([folder], ["torch.adam.forloop"], output=tmp_path / "run")
    assert run.exit_code == 1
    assert verdicts(run) == {("mine", "torch.adam.forloop"): Kind.DIVERGED}


@pytest.mark.parametrize("settings", [
    {}, {"amsgrad": True}, {"kind": "AdamW", "weight_decay": 0.1}, {"none": (1, 2, 5)}, {"dtype": "bfloat16"},
], ids=str)  # fmt: skip
def test_what_begins_with_a_state_is_replayed(recorded, tmp_path, settings):
    """Recorded from step 4 on; with counts of each parameter, as torch has them."""
    folder = recorded(before=3, **settings)
    run = parity.run([folder], ["torch.adam.f*", "numpy.adam.outside", "keras.adam.eager"], output=tmp_path / "run")
    # What was asked for and not compared is not green.
    assert run.exit_code == (1 if "none" in settings else 0)
    found = verdicts(run)
    assert found["mine", "torch.adam.forloop"] is Kind.IDENTICAL
    assert found["mine", "numpy.adam.outside"] in (Kind.EXPLAINED, Kind.IDENTICAL)
    # Keras counts for all parameters together.
    assert found["mine", "keras.adam.eager"] is (Kind.SKIPPED if "none" in settings else Kind.EXPLAINED)
    held = {one.implementation: one.differing for one in run.cells[0].account.held}
    assert (held["recorded"], held["torch.adam.forloop"], held["numpy.adam.outside"]) == (0, 0, 0)
    (case,) = select_cases([folder])
    assert [one.start.steps for one in case.parameters] == [3, 1 if "none" in settings else 3]


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"before": 3, "moments": False}, r"begins with a state that was not recorded \(moments=False\)"),
        (
            {"change": lambda o, step: o.param_groups[0].update(eps=1e-3 * step)},
            "eps changes at step 2; only lr and the betas may",
        ),
    ],
)
def test_what_no_case_can_ask_is_one_line(recorded, settings, told):
    with pytest.raises(ParityError, match=told) as caught:
        select_cases([recorded(**settings)])
    assert "\n" not in str(caught.value)


def test_explain_takes_a_recording(recorded, command):
    folder = recorded()
    code, out, _ = command("explain", folder, "torch.adam.forloop", "numpy.adam.hat")
    assert code == 0
    assert "Does it matter?" in out


def test_a_baseline_takes_a_recording(recorded, command, tmp_path):
    folder = recorded()
    names = ("-i", "torch.adam.forloop", "-i", "numpy.adam.outside")
    assert command("baseline", "save", folder, *names, "-o", tmp_path / "kept")[0] == 0
    assert command("baseline", "check", folder, *names, "-o", tmp_path / "kept")[0] == 0


def test_identify_takes_a_recording(recorded, command):
    code, out, _ = command("identify", recorded())
    assert code == 0
    assert out.startswith("torch.optim.adam.Adam in float32 is Adam with epsilon outside, bit for bit.")


def test_identify_names_every_group_of_a_recording(recorded, command, tmp_path):
    def groups(weights):
        return [{"params": [weights["kernel"]], "eps": 1e-3}, {"params": [weights["bias"]], "weight_decay": 0.1}]

    code, out, _ = command("identify", recorded(groups=groups), "--json", tmp_path / "told.json")
    assert code == 0
    assert "float32[group=0] is Adam with epsilon outside" in out
    assert "float32[group=1] is Adam with epsilon outside" in out
    first, second = out.split("float32[group=1]")
    assert ("eps 0.001" in first, "g = g + weight_decay * w" in second) == (True, True)


def test_identify_asks_a_first_step(recorded, command):
    code, _, err = command("identify", recorded(before=3))
    assert code == 4
    assert err == "parity: mine: begins with a state; which Adam it is shows from a first step on\n"


ELSEWHERE = """\
import torch, parity
torch.manual_seed(0)
weights = {"kernel": torch.nn.Parameter(torch.randn(17, 59)), "bias": torch.nn.Parameter(torch.randn(7))}
optimizer = torch.optim.Adam(weights.values(), lr=0.01)
with parity.record("elsewhere", optimizer, model=weights):
    for _ in range(12):
        for one in weights.values():
            one.grad = torch.randn_like(one)
        optimizer.step()
"""


def recorded_elsewhere(folder):
    """Record a training in a process that has torch's kernels without fused multiply-add; the folder."""
    environment = {**os.environ, "ATEN_CPU_CAPABILITY": "default"}
    subprocess.run([sys.executable, "-c", ELSEWHERE], cwd=folder, env=environment, check=True)
    return folder / "elsewhere"


def claim_of(recording, output):
    """What a recording is known to be, on which machine, and the findings of a run of it."""
    run = parity.run([recording], ["torch.adam.forloop", "numpy.adam.hat"], output=output)
    (held,) = [one for one in run.cells[0].account.held if one.implementation == "recorded"]
    return held, [one for one in run.findings if one.topic is Topic.CLAIM]


def test_a_recording_is_held_against_the_twin_of_the_machine_on_which_it_was_made(change_recording, tmp_path):
    recording = recorded_elsewhere(tmp_path)
    held, broken = claim_of(recording, tmp_path / "run")
    assert (held.source, held.differing, broken) == ("claimed", 0, [])
    assert "torch on DEFAULT" in held.machine

    # One that does not say so may have been made on any; one that says otherwise was not.
    change_recording(recording, lambda told: told["environment"]["machine"].update({"torch instruction set": "AVX2"}))
    held, broken = claim_of(recording, tmp_path / "other")
    assert held.broken > 0
    assert [one.subject for one in broken] == ["recorded"]

    change_recording(recording, lambda told: told.pop("environment"))
    held, broken = claim_of(recording, tmp_path / "untold")
    assert (held.source, held.differing, broken) == ("claimed", 0, [])
    assert "nobody has seen an unknown architecture" in held.unconfirmed
