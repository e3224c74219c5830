"""Every wrong Adam gets the family of its fault and no other; no right one gets any; no other optimizer is an Adam."""

from __future__ import annotations

import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from parity.identify.fit import fit
from parity.identify.laws import ASIDE
from parity.identify.probes import WIDE, probes
from parity.numerics.formats import FORMATS
from parity.numerics.ulp import NO_DISTANCE, ulp_distance

sys.path.append(str(Path(__file__).parents[1] / "faults"))
from benign_adams import BENIGN
from exchangeable_adam import Adam, first, moved
from other_optimizers import OTHERS
from pairs import observed
from wrong_adams import WRONG

LEFT_OUT = (WIDE, "many", *ASIDE)
"""Probes that tell of a formula what others do, or nothing."""

SAME_NUMBERS = {"correction_without_power": "step-count"}
"""1 - beta at every step is also t = 1 at every step: no measurement tells them apart."""

TWO_RUNS = {"noisy"}
"""Flips of a last bit show only where two runs are compared."""

SAME_BITS = {
    "float32": {"lr_in_float32", "state_in_float32", "weights_in_float32", "cast_at_resume"},
    "float16": {
        *("lr_in_float32", "complements_in_float32", "state_in_float32", "weights_in_float32", "cast_at_resume"),
        *("v_in_float16", "epsilon_underflow", "epsilon_zero_is_default", "subnormals_flushed"),
    },
    "bfloat16": {
        *("lr_in_float32", "betas_in_float32", "complements_in_float32", "powers_of_float32", "product_in_float32"),
        *("state_in_float32", "weights_in_float32", "cast_at_resume", "m_in_bfloat16", "lr_in_bfloat16"),
        *("decay_below_ulp", "decay_after", "decay_by_corrected_lr"),
    },
}
"""Faults that change no bit in a dtype: what they do is rounded away, or is what the dtype does anyway."""

LOST = {
    "float16": {
        "beta2_off": "0.1 % of 1 - beta2, which itself is rounded by up to 0.05 %, as are its products",
        "lr_off": "0.1 % of a step, of which lr, quotient and product are each rounded by up to 0.05 %",
        "lr_in_bfloat16": "0.1 % of a step, too",
        "betas_in_float32": "7e-6 of 1 - beta2^t",
        "powers_of_float32": "7e-6 of 1 - beta2^t",
        "product_in_float32": "7e-6 of 1 - beta2^t",
        "step_saturates_late": "1 % of steps of 1e-3, in weights of up to 1 whose unit is 1e-3",
        "decay_after": "1e-3 of a step",
        "decay_by_corrected_lr": "a share of 1e-3 of w, whose unit is as much",
        "decay_below_ulp": "a share of 1e-3 of w, whose unit is as much",
    },
    "bfloat16": {
        "beta2_off": "0.1 % of 1 - beta2, which itself is rounded by up to 0.4 %",
        "lr_off": "0.1 % of a step, of which lr, quotient and product are each rounded by up to 0.4 %",
        "epsilon_zero_is_default": "1e-7 beside roots of v of 1e-6 and more",
        "step_saturates_late": "1 % of steps of 1e-3, in weights of up to 1 whose unit is 8e-3",
    },
}
"""Faults that change bits, and why rounding hides which: any name would be a guess."""

UNSEEN = {dtype: SAME_BITS.get(dtype, set()) | set(LOST.get(dtype, ())) for dtype in FORMATS}

CASES = [(name, dtype) for dtype in FORMATS for name in WRONG if name not in TWO_RUNS | UNSEEN[dtype]]


def sampled(*values):
    """What is asked in every dtype: `make test` asks it in float32, `make test-all` in all."""
    return pytest.param(*values, marks=() if values[-1] == "float32" else pytest.mark.exhaustive)


def answer(run, dtype, claim="outside", hidden=(), only=None):
    """What `fit` says of a plug-in."""
    asked = [one for one in probes(FORMATS[dtype]) if one.name not in LEFT_OUT and (only is None or one.name in only)]
    return fit({one.name: observed(run, one, hidden) for one in asked}, claim)


@cache
def of_wrong(name, dtype):
    return answer(WRONG[name].run, dtype)


@pytest.mark.parametrize(("name", "dtype"), [sampled(name, dtype) for name, dtype in CASES])
def test_a_wrong_adam_is_named_by_the_family_of_its_fault_and_by_no_other(name, dtype):
    found = of_wrong(name, dtype)
    family = SAME_NUMBERS.get(name, WRONG[name].family)
    named = {one.family for one in found.causes if one.family == family or not one.benign}
    assert named == {family}
    assert (found.verdict, found.residual["differing"]) == ("explained", 0)


@pytest.mark.parametrize(
    ("name", "dtype"), [sampled(name, dtype) for dtype in FORMATS for name in sorted(UNSEEN[dtype])]
)
def test_a_fault_that_rounding_hides_gets_no_name(name, dtype):
    found = of_wrong(name, dtype)
    assert found.causes == ()
    assert found.verdict == "explained"


@pytest.mark.parametrize(
    ("name", "dtype"), [sampled(name, dtype) for dtype in FORMATS for name in sorted(UNSEEN[dtype])]
)
def test_a_fault_is_known_to_change_no_bit_or_some(name, dtype):
    asked = [one for one in probes(FORMATS[dtype]) if one.name not in LEFT_OUT]
    same = all(
        np.array_equal(getattr(wrong, quantity), getattr(right, quantity), equal_nan=True)
        for wrong, right in ((observed(WRONG[name].run, one), observed(Adam(), one)) for one in asked)
        for quantity in ("w", "m", "v")
    )
    assert same == (name in SAME_BITS[dtype])
    assert same != (name in LOST.get(dtype, ()))


@pytest.mark.parametrize("dtype", [sampled(dtype) for dtype in FORMATS])
@pytest.mark.parametrize("name", BENIGN)
def test_a_right_adam_departs_in_nothing_however_it_rounds(name, dtype):
    found = answer(BENIGN[name], dtype)
    assert [one for one in found.causes if not one.benign] == []
    assert found.verdict == "explained"
    assert found.convention["epsilon"] == "outside"
    assert found.convention["step_count"] == "per_parameter"


@pytest.mark.thorough
@pytest.mark.parametrize("dtype", [sampled(dtype) for dtype in FORMATS])
@pytest.mark.parametrize("name", OTHERS)
def test_another_optimizer_is_no_adam(name, dtype):
    found = answer(OTHERS[name].run, dtype)
    assert found.verdict == "unexplained"
    # No weight ever moves: that can be said of any rule.
    assert found.convention == {} or name == "no_op"


@pytest.mark.parametrize(
    ("name", "detail"),
    [
        ("lr_off", "lr in force is 1.001 times what was asked"),
        ("beta1_off", "beta1 in force is 0.79 where 0.8 was asked, 0.89 where 0.9 was asked"),
        ("epsilon_tenfold", "eps in force is 10 times what was asked"),
        ("step_saturates", "t stands still at 256"),
        ("step_saturates_late", "t stands still at 2048"),
        (
            "clipped_by_norm",
            "the norm of the gradient of a parameter is clipped to 1, before weight_decay * w is added",
        ),
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


@pytest.mark.parametrize(
    ("name", "dtype", "detail"),
    [
        ("step_saturates", "bfloat16", "t stands still at 256"),
        ("unscaled_twice", "float16", "gradients are 0.000976562 times as large as given"),
        ("betas_swapped", "bfloat16", "beta1 in force is 0.95 where 0.8 was asked"),
        ("v_in_float16", "bfloat16", "v is kept in float16"),
        ("epsilon_underflow", "bfloat16", "eps goes through float16, where 1e-8 is 0"),
        ("rows_frozen", "float16", "weights of rows whose gradient is zero wait"),
        (
            "decay_ignored",
            "float16",
            "decay is not in the gradient where L2 is asked for, and of the weights none is seen",
        ),
    ],
)
def test_numbers_of_a_fault_are_read_out_of_halves_too(name, dtype, detail):
    assert any(one.detail.startswith(detail) for one in of_wrong(name, dtype).causes)


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


def stray(s):
    """m of one element of "bias" is half as large again at step 5, and that of the next by an eighth."""
    m = first(s)
    if s.step == 5 and s.place == 4:
        m[17:19] *= np.array([1.5, 1.125], m.dtype)
    return m


@pytest.mark.parametrize(("dtype", "units"), [("float32", (2**22, 2**23)), ("bfloat16", (2**6, 2**7))])
def test_what_is_left_is_counted_placed_and_measured(dtype, units):
    found = answer(Adam(first=stray), dtype, only={"main", "l2", "none"})
    assert found.verdict == "unexplained"
    assert [one.detail for one in found.causes] == ["m follows no rule that is known"]
    # Twice in each probe; everything after it follows from the recorded m.
    assert found.residual["differing"] == 6
    assert set(found.residual["max_ulp"]) == {"m"}
    # A half of m, which is between 2^23 and 2^24 units (between 2^7 and 2^8).
    assert units[0] - 2 <= found.residual["max_ulp"]["m"] <= units[1] + 2
    where = found.residual["where"]["m"]
    assert where.pop("probe") in {"main", "l2", "none"}
    assert where == {"step": 5, "parameter": "bias", "index": [17]}


def test_where_no_rule_fits_the_nearest_one_says_how_much_is_left():
    def late(s, change):
        return s.w - (change * s.real(1.25) if s.step == 7 and s.shape == (7, 5) else change)

    found = answer(Adam(moved=late), "float64", only={"main", "other"})
    far = np.concatenate(
        [
            ulp_distance(observed(Adam(moved=late), one).w[7], observed(Adam(), one).w[7])
            for one in probes(FORMATS["float64"])
            if one.name in {"main", "other"}
        ]
    )
    assert (found.verdict, found.convention) == ("unexplained", {})
    assert found.residual["differing"] == np.count_nonzero(far) > 60
    assert found.residual["max_ulp"] == {"w": pytest.approx(int(far.max()), rel=1e-9)}
    where = found.residual["where"]["w"]
    assert (where["step"], where["parameter"], len(where["index"])) == (7, "kernel", 2)


def test_what_is_no_number_has_no_distance():
    def broken(s, change):
        return np.where((s.step == 3) & (np.arange(s.w.size) == 2), np.nan, moved(s, change))

    left = answer(Adam(moved=broken), "float32", only={"main"}).residual
    assert left["max_ulp"] == {"w": NO_DISTANCE}
    assert left["where"]["w"]["step"] == 3


def test_what_is_explained_leaves_nothing():
    assert set(answer(Adam(), "float32", only={"main"}).residual) == {"elements", "differing"}


def test_the_formula_says_what_is_done_at_which_kind_of_decay():
    lines = answer(Adam(), "float64").formula.splitlines()
    assert "if not decoupled: g = g + weight_decay * w" in lines
    assert "if decoupled: w = w - lr * weight_decay * w" in lines
    assert "if amsgrad: vmax = max(vmax, v), in the place of v" in lines
    both = of_wrong("decay_coupled", "float64").formula.splitlines()
    assert "g = g + weight_decay * w" in both
    assert not any("decoupled" in line for line in both)
    alone = answer(Adam(), "float64", only={"decoupled"}).formula.splitlines()
    assert "w = w - lr * weight_decay * w" in alone


@pytest.mark.parametrize("dtype", [sampled(dtype) for dtype in FORMATS])
@pytest.mark.parametrize("hidden", [(), ("m", "v", "vmax")])
@pytest.mark.parametrize("only", [{"decoupled"}, {"l2"}, {"amsgrad"}, {"l2", "amsgrad"}])
def test_decay_or_amsgrad_at_every_probe_is_no_other_formula(only, hidden, dtype):
    found = answer(Adam(), dtype, only=only, hidden=hidden)
    assert (found.verdict, [one for one in found.causes if not one.benign]) == ("explained", [])


@pytest.mark.parametrize(
    ("name", "only"),
    [("decay_ignored", "l2"), ("decay_ignored", "decoupled"), ("decay_decoupled", "l2"), ("amsgrad_ignored", "amsgrad"),
     ("uncorrected", "l2"), ("beta1_off", "decoupled")],
)  # fmt: skip
def test_a_fault_shows_where_every_probe_asks_for_decay_or_amsgrad(name, only):
    assert {one.family for one in answer(WRONG[name].run, "float64", only={only}).causes} == {WRONG[name].family}


def test_decay_alone_tells_nothing_of_other_optimizers():
    (cause,) = answer(OTHERS["random_walk"].run, "float64", only={"l2"}).causes
    assert cause.detail == "not an Adam, and no other optimizer that is known"
