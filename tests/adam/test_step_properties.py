"""What must hold of any Adam, with numbers from the paper."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parity.adam.arithmetic import Rounding, plain
from parity.adam.convention import Convention, Epsilon, StepCount
from parity.adam.step import counted, initial_state, step
from parity.core.errors import ParityError
from parity.core.hyper import Hyper
from parity.numerics.formats import FORMATS

EACH = Rounding.EACH_OPERATION
numbers = st.floats(1e-3, 1e3).flatmap(lambda x: st.sampled_from([x, -x]))
rows = st.lists(numbers, min_size=1, max_size=5)


def orbit(gradients, hyper, epsilon=Epsilon.OUTSIDE, weights=None, rounding=EACH, dtype=np.float64):
    first = np.asarray(gradients[0], dtype)
    state = initial_state({"p": np.zeros_like(first) if weights is None else np.asarray(weights, dtype)}, hyper)
    for t, g in enumerate(gradients, start=1):
        state = step(state, {"p": np.asarray(g, dtype)}, hyper, Convention(epsilon), plain(epsilon, rounding), t)
    return state


@pytest.mark.parametrize("epsilon", Epsilon)
def test_first_step_is_lr_without_eps(epsilon):
    state = orbit([[0.5, -2.0, 1e-6]], Hyper(lr=0.25, eps=0), epsilon)
    np.testing.assert_allclose(state.w["p"], [-0.25, 0.25, -0.25], rtol=4e-16)


def test_first_step_by_hand():
    # g = 2, beta1 = beta2 = 1/2: m = 1, v = 2, m_hat = 2, v_hat = 4; eps = 2 is visible.
    by_hand = {
        Epsilon.OUTSIDE: -2 / (2 + 2),
        Epsilon.HAT: -math.sqrt(0.5) / 0.5 * 1 / (math.sqrt(2) + 2),
        Epsilon.INSIDE: -2 / math.sqrt(4 + 2),
    }
    for epsilon, expected in by_hand.items():
        state = orbit([[2.0]], Hyper(lr=1.0, beta1=0.5, beta2=0.5, eps=2.0), epsilon)
        assert state.w["p"][0] == pytest.approx(expected, rel=4e-16)
        assert (state.m["p"][0], state.v["p"][0]) == (1, 2)


@settings(derandomize=True, deadline=None)
@given(rows)
def test_conventions_agree_without_eps(gradients):
    hyper = Hyper(eps=0)
    columns = [[g] for g in gradients]
    outside, hat, inside = (orbit(columns, hyper, epsilon).w["p"] for epsilon in Epsilon)
    np.testing.assert_allclose(hat, outside, rtol=1e-13, atol=1e-17)
    np.testing.assert_array_equal(inside, outside)


def test_hat_is_outside_with_a_scaled_eps():
    hat = orbit([[0.1]], Hyper(eps=1e-2), Epsilon.HAT).w["p"]
    outside = orbit([[0.1]], Hyper(eps=1e-2 / math.sqrt(1 - 0.999)), Epsilon.OUTSIDE).w["p"]
    same_eps = orbit([[0.1]], Hyper(eps=1e-2), Epsilon.OUTSIDE).w["p"]
    np.testing.assert_allclose(hat, outside, rtol=1e-14)
    assert abs(hat / same_eps - 1) > 0.5


def test_inside_differs_where_eps_is_visible():
    outside, _, inside = (orbit([[0.1]], Hyper(eps=1e-2), epsilon).w["p"] for epsilon in Epsilon)
    assert abs(inside / outside - 1) > 0.2


@settings(derandomize=True, deadline=None)
@given(rows, st.integers(-10, 10), st.sampled_from(list(Epsilon)))
def test_scale_of_the_gradients_does_not_matter_without_eps(gradients, exponent, epsilon):
    hyper, scale = Hyper(eps=0), 2.0**exponent
    plain = orbit([[g] for g in gradients], hyper, epsilon, dtype=np.float32)
    scaled = orbit([[np.float32(g) * scale] for g in gradients], hyper, epsilon, dtype=np.float32)
    assert plain.w["p"].tobytes() == scaled.w["p"].tobytes()
    assert scaled.v["p"][0] == plain.v["p"][0] * scale**2


def test_decoupled_decay_leaves_the_moments_alone():
    plain = orbit([[0.5]], Hyper(lr=0.1), weights=[4.0])
    decoupled = orbit([[0.5]], Hyper(lr=0.1, weight_decay=0.5, decoupled=True), weights=[4.0])
    coupled = orbit([[0.5]], Hyper(lr=0.1, weight_decay=0.5), weights=[4.0])
    assert decoupled.m == plain.m
    assert decoupled.w["p"][0] == pytest.approx(plain.w["p"][0] - 0.1 * 0.5 * 4.0)
    assert coupled.m["p"][0] == pytest.approx(0.1 * (0.5 + 0.5 * 4.0))


@settings(derandomize=True, deadline=None)
@given(st.lists(numbers, min_size=2, max_size=8))
def test_amsgrad_never_forgets(gradients):
    hyper = Hyper(amsgrad=True, beta2=0.5)
    state = initial_state({"p": np.zeros(1)}, hyper)
    seen = 0.0
    for t, g in enumerate(gradients, start=1):
        before = state
        state = step(state, {"p": np.array([g])}, hyper, Convention(), plain(Epsilon.OUTSIDE), t)
        seen = max(seen, state.v["p"][0])
        assert state.vmax["p"][0] == seen >= before.vmax["p"][0]


def test_amsgrad_divides_by_the_maximum():
    hyper = Hyper(amsgrad=True, beta2=0.5, eps=0)
    kept, free = orbit([[8.0], [0.5]], hyper), orbit([[8.0], [0.5]], Hyper(beta2=0.5, eps=0))
    assert kept.w["p"][0] > free.w["p"][0]
    assert kept.vmax["p"][0] == 32
    assert free.vmax is None


def test_uncorrected_moments():
    hyper = Hyper(lr=1.0, eps=0)
    for epsilon in Epsilon:
        state = initial_state({"p": np.zeros(1)}, hyper)
        state = step(state, {"p": np.ones(1)}, hyper, Convention(epsilon, bias_correction=False), plain(epsilon), 1)
        assert state.w["p"][0] == pytest.approx(-(1 - 0.9) / math.sqrt(1 - 0.999))


@pytest.mark.parametrize("count", StepCount)
def test_a_missing_gradient_leaves_everything(count):
    hyper, convention = Hyper(amsgrad=True, weight_decay=0.1, decoupled=True), Convention(step_count=count)
    state = initial_state({"a": np.ones(2), "b": np.ones(2)}, hyper)
    counts = counted({"a": 0, "b": 0}, {"a": np.ones(2), "b": None}, convention)
    after = step(state, {"a": np.ones(2), "b": None}, hyper, convention, plain(Epsilon.OUTSIDE), 1, counts)
    for before, arrays in zip(state[:4], after[:4], strict=True):
        assert np.array_equal(before["b"], arrays["b"])
        assert not np.array_equal(before["a"], arrays["a"])
    assert counts == {"a": 1, "b": 1 if count is StepCount.GLOBAL else 0}
    late = step(
        after,
        {"a": None, "b": np.ones(2)},
        hyper,
        convention,
        plain(Epsilon.OUTSIDE),
        2,
        {"a": 1, "b": counts["b"] + 1},
    )
    assert np.array_equal(late.w["b"], after.w["a"]) == (count is StepCount.PER_PARAMETER)


def test_inputs_are_not_written():
    hyper = Hyper(amsgrad=True, weight_decay=0.1)
    state = initial_state({"p": np.ones(5, np.float32)}, hyper)
    g = {"p": np.full(5, 0.5, np.float32)}
    for arrays in (*state[:4], g):
        arrays["p"].flags.writeable = False
    after = step(state, g, hyper, Convention(), plain(Epsilon.OUTSIDE), 1)
    assert not any(np.shares_memory(new["p"], old["p"]) for new, old in zip(after[:4], state[:4], strict=True))


def test_strided_gradient():
    g = np.arange(24.0).reshape(4, 6).T
    state = initial_state({"p": np.zeros((6, 4))}, Hyper())
    after = step(state, {"p": g}, Hyper(), Convention(), plain(Epsilon.OUTSIDE), 1)
    np.testing.assert_array_equal(after.m["p"], (1 - 0.9) * g)


@pytest.mark.filterwarnings("error")
def test_nan_and_overflow_are_results_without_warnings():
    hyper = Hyper()
    with np.errstate(all="raise"):
        state = initial_state({"p": np.zeros(3, np.float16)}, hyper)
        g = np.array([0, 1e-5, 6e4], np.float16)
        after = step(state, {"p": g}, hyper, Convention(), plain(Epsilon.OUTSIDE), 1)
        wide = step(state, {"p": g}, hyper, Convention(), plain(Epsilon.OUTSIDE, Rounding.AT_STORE), 1)
    # eps = 1e-8 is 0 in float16, so 0 / 0; in float32 it is not. (6e4)^2 is inf in float16.
    assert np.isnan(after.w["p"][0])
    assert wide.w["p"][0] == 0
    assert after.v["p"][2] == np.inf
    assert after.w["p"][2] == 0
    assert wide.v["p"][2] == np.inf
    assert wide.w["p"][2] == np.float16(-1e-3)


def test_hyperparameters_beyond_the_dtype_are_inf():
    with np.errstate(all="raise"):
        after = orbit([[1.0]], Hyper(lr=1e6), dtype=np.float16)
    assert after.w["p"][0] == -np.inf


def test_beta2_of_one_in_bfloat16():
    dtype = FORMATS["bfloat16"].dtype
    state = orbit([[1.0], [0.0]], Hyper(), dtype=dtype)
    assert state.v["p"][0] == orbit([[1.0]], Hyper(), dtype=dtype).v["p"][0]


def test_beta_of_one_divides_by_zero_quietly():
    for epsilon in Epsilon:
        assert not np.isfinite(orbit([[1.0]], Hyper(beta1=1.0, beta2=1.0), epsilon).w["p"][0])


@pytest.mark.parametrize("bad", [np.zeros(3, np.float64), np.zeros((1, 3), np.float32), np.zeros(2, np.float32)])
def test_gradient_of_another_kind(bad):
    state = initial_state({"p": np.zeros(3, np.float32)}, Hyper())
    with pytest.raises(ParityError, match=r"p: gradient is"):
        step(state, {"p": bad}, Hyper(), Convention(), plain(Epsilon.OUTSIDE), 1)


def test_state_without_its_maximum():
    state = initial_state({"p": np.zeros(3)}, Hyper())
    with pytest.raises(ParityError, match="vmax"):
        step(state, {"p": np.zeros(3)}, Hyper(amsgrad=True), Convention(), plain(Epsilon.OUTSIDE), 1)
