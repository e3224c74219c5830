"""Every wrong Adam gets the family of its fault and no other; no right one gets any; no other optimizer is an Adam."""

from __future__ import annotations

import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from parity.identify.fit import fit
from parity.identify.observation import Observation
from parity.identify.probes import WIDE, probes
from parity.numerics.formats import FORMATS

sys.path.append(str(Path(__file__).parents[1] / "faults"))
from benign_adams import BENIGN
from other_optimizers import OTHERS
from wrong_adams import WRONG

SAME_NUMBERS = {"correction_without_power": "step-count"}
"""1 - beta at every step is also t = 1 at every step: no measurement tells them apart."""

TWO_RUNS = {"noisy"}
"""Flips of a last bit show only where two runs are compared."""

NOTHING_IN_FLOAT32 = {"lr_in_float32", "state_in_float32", "weights_in_float32", "cast_at_resume"}
"""Faults that cast to float32."""

CASES = [
    (name, dtype)
    for dtype in ("float64", "float32")
    for name in WRONG
    if name not in TWO_RUNS and not (dtype == "float32" and name in NOTHING_IN_FLOAT32)
]


def observed(run, probe, hidden=()):
    """What a plug-in shows on a probe."""
    rows = {
        name: np.zeros((probe.steps + 1, probe.layout.size), probe.format.dtype) for name in ("w", "m", "v", "vmax")
    }
    rows["w"][0] = probe.weights

    def gradients():
        for step, row in enumerate(probe.gradients, start=1):
            yield probe.layout.views(row) | dict.fromkeys(probe.none.get(step, ()))

    shown = set(rows) - set(hidden)
    for step, state in enumerate(run(probe.layout.views(probe.weights), gradients(), probe.hyper), start=1):
        for name in sorted(shown):
            table = getattr(state, name)
            if table is None:
                shown.discard(name)
            else:
                for parameter, place in probe.layout.slices():
                    rows[name][step, place] = table[parameter.name].reshape(-1)
    return Observation(probe, **{name: rows[name] if name in shown else None for name in rows})


def answer(run, dtype, claim="outside", hidden=(), only=None):
    """What `fit` says of a plug-in."""
    asked = [one for one in probes(FORMATS[dtype]) if one.name != WIDE and (only is None or one.name in only)]
    return fit({one.name: observed(run, one, hidden) for one in asked}, claim)


@cache
def of_wrong(name, dtype):
    return answer(WRONG[name].run, dtype)


@pytest.mark.parametrize(("name", "dtype"), CASES)
def test_a_wrong_adam_is_named_by_the_family_of_its_fault_and_by_no_other(name, dtype):
    found = of_wrong(name, dtype)
    family = SAME_NUMBERS.get(name, WRONG[name].family)
    assert family in {one.family for one in found.causes}
    assert {one.family for one in found.causes if not one.benign} <= {family}
    assert found.verdict == "explained"
    assert found.residual["differing"] == 0


@pytest.mark.parametrize("dtype", FORMATS)
@pytest.mark.parametrize("name", BENIGN)
def test_a_right_adam_departs_in_nothing_however_it_rounds(name, dtype):
    found = answer(BENIGN[name], dtype)
    assert [one for one in found.causes if not one.benign] == []
    assert found.verdict == "explained"
    assert found.convention["epsilon"] == "outside"
    assert found.convention["step_count"] == "per_parameter"


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", OTHERS)
def test_another_optimizer_is_no_adam(name, dtype):
    found = answer(OTHERS[name].run, dtype)
    assert found.convention == {}
    assert {one.family for one in found.causes} == {"unexplained"}
    assert any(one.detail.startswith("not an Adam") for one in found.causes)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("sgd", "w = w - lr * g"),
        ("rmsprop", "v = beta2 * v + (1 - beta2) * g^2\nw = w - lr * g / (sqrt(v) + eps)"),
    ],
)
def test_another_optimizer_that_is_known_is_named(name, text):
    found = answer(OTHERS[name].run, "float64")
    assert (found.verdict, found.formula) == ("explained", text)


@pytest.mark.parametrize(
    ("name", "detail"),
    [
        ("lr_off", "lr in force is 1.001 times what was asked"),
        ("beta1_off", "beta1 in force is 0.79 where 0.8 was asked, 0.89 where 0.9 was asked"),
        ("epsilon_tenfold", "eps in force is 10 times what was asked"),
        ("step_saturates", "t stands still at 256"),
        ("step_saturates_late", "t stands still at 2048"),
        ("clipped_by_norm", "the norm of the gradient of a parameter is clipped to 1"),
        ("scale_forgotten", "gradients are 1024 times as large as given"),
        ("reversed_at_resume", "at step 8 v came back in reverse order"),
        ("reset_at_resume", "at step 10 m and v were 0"),
        ("state_in_float32", "m and v are kept in float32"),
        ("tail_stands", "elements from number 1024 on never move"),
        ("none_is_the_last", "None is taken as the last gradient"),
        ("v_centered", "v averages the square of g - m, as AdaBelief does, with m before the step"),
    ],
)
def test_numbers_of_a_fault_are_read_out(name, detail):
    assert [one.detail for one in of_wrong(name, "float64").causes] == [detail]


def test_the_claim_decides_what_is_a_departure():
    hat = WRONG["epsilon_hat"].run
    assert {one.family for one in answer(hat, "float64", "outside").causes} == {"epsilon-placement"}
    assert "epsilon-placement" not in {one.family for one in answer(hat, "float64", "hat").causes}
    assert {one.family for one in answer(BENIGN["correct"], "float64", "hat").causes} == {
        "epsilon-placement",
        "step-count",
    }


@pytest.mark.parametrize("name", ["correct", "lerp"])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_the_weights_alone_tell_a_right_adam(name, dtype):
    found = answer(BENIGN[name], dtype, hidden=("m", "v", "vmax"))
    assert (found.verdict, found.causes) == ("explained", ())


@pytest.mark.parametrize("name", ["epsilon_hat", "uncorrected", "lr_off", "decay_ignored", "step_ahead"])
def test_the_weights_alone_tell_a_fault_of_the_update(name):
    found = answer(WRONG[name].run, "float64", hidden=("m", "v", "vmax"))
    assert {one.family for one in found.causes} == {WRONG[name].family}


def test_one_probe_is_enough_for_what_it_shows():
    found = answer(WRONG["epsilon_inside"].run, "float64", only={"main"})
    assert found.convention["epsilon"] == "inside"
    assert found.convention["step_count"] == "undetermined"
