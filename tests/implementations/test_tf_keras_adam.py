"""The tf_keras rows show what a user's own loop with tf_keras's optimizers gets, bit for bit."""

from __future__ import annotations

import inspect
import os
from typing import Any

import numpy as np
import pytest
from orbits import (
    BFLOAT16,
    FLOAT32,
    FLOAT64,
    SHAPES,
    STEPS,
    Gradients,
    assert_same_bits,
    draw,
    draw_gradients,
    each,
    each_dtype,
    orbit,
)

from parity.core.errors import Unsupported
from parity.core.hyper import Hyper
from parity.core.state import State
from parity.implementations import tf_keras_
from parity.implementations.implementation import Implementation
from parity.numerics.formats import FORMATS, to_bits

each_row = each(tf_keras_.IMPLEMENTATIONS)
pytestmark = pytest.mark.frameworks

NAMES = ("tf_keras.adam.legacy", "tf_keras.adam.new")
LEGACY, NEW = tf_keras_.IMPLEMENTATIONS
SCHEDULE = tuple(0.1 / step for step in range(1, STEPS + 1))
HYPERS = {
    "defaults": Hyper(eps=1e-7),
    "schedule": Hyper(lr=SCHEDULE, beta1=0.8, beta2=0.95, eps=1e-3),
    "amsgrad": Hyper(lr=1e-2, beta2=0.5, eps=1e-3, amsgrad=True),
}
DECOUPLED = Hyper(lr=SCHEDULE, beta1=0.8, beta2=0.95, eps=1e-3, weight_decay=0.1, decoupled=True)
MISSING = {1: ("vector",), 2: ("matrix",), 5: ("scalar", "vector"), 6: ("matrix",)}
"""Parameters without a gradient, by step."""


def user_optimizer(name: str, hyper: Hyper) -> Any:
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    import tf_keras

    common = {"beta_1": hyper.beta1, "beta_2": hyper.beta2, "epsilon": hyper.eps, "amsgrad": hyper.amsgrad}
    if name == "tf_keras.adam.legacy":
        return tf_keras.optimizers.legacy.Adam(learning_rate=0.5, **common)
    decay = hyper.weight_decay if hyper.decoupled else None
    return tf_keras.optimizers.Adam(learning_rate=0.5, **common, weight_decay=decay, jit_compile=False)


def user_loop(name: str, weights: dict[str, np.ndarray], gradients: Gradients, hyper: Hyper) -> list[State]:
    """What a user writes: tf.Variables and `apply_gradients`; arrays by numpy(), moments from `variables`."""
    optimizer = user_optimizer(name, hyper)
    import tensorflow as tf

    variables = {key: tf.Variable(array, name=key) for key, array in weights.items()}
    states = []
    for index, gradient in enumerate(gradients):
        optimizer.learning_rate = hyper.lr[index] if isinstance(hyper.lr, tuple) else hyper.lr
        given = [(None if array is None else tf.constant(array), variables[key]) for key, array in gradient.items()]
        optimizer.apply_gradients(given)
        held = optimizer.variables() if name == "tf_keras.adam.legacy" else optimizer.variables
        by_name = {variable.name: variable for variable in held}

        def arrays(quantity: str, by_name: dict[str, Any] = by_name) -> dict[str, np.ndarray]:
            found = {}
            for key, array in weights.items():
                variable = by_name.get(f"Adam/{key}/{quantity}:0", by_name.get(f"Adam/{quantity}/{key}:0"))
                found[key] = np.zeros_like(array) if variable is None else np.array(variable.numpy())
            return found

        w = {key: np.array(variable.numpy()) for key, variable in variables.items()}
        states.append(State(w, arrays("m"), arrays("v"), arrays("vhat") if hyper.amsgrad else None))
    return states


@each_row
@each_dtype
@pytest.mark.parametrize("missing", [None, MISSING], ids=["all", "missing"])
@pytest.mark.parametrize("hyper", HYPERS.values(), ids=list(HYPERS))
def test_orbit_is_the_user_loop(
    row: Implementation, dtype: np.dtype, missing: dict[int, tuple[str, ...]] | None, hyper: Hyper
) -> None:
    weights, gradients = draw(dtype), draw_gradients(dtype, missing)
    actual = orbit(row.states(weights, gradients, hyper))
    assert_same_bits(actual, user_loop(row.name, weights, gradients, hyper))
    if dtype != BFLOAT16:
        assert not np.array_equal(actual[-1].w["matrix"], weights["matrix"])


@each_dtype
@pytest.mark.parametrize("missing", [None, MISSING], ids=["all", "missing"])
def test_decoupled_decay_is_as_in_the_user_loop(dtype: np.dtype, missing: dict[int, tuple[str, ...]] | None) -> None:
    weights, gradients = draw(dtype), draw_gradients(dtype, missing)
    actual = orbit(NEW.states(weights, gradients, DECOUPLED))
    assert_same_bits(actual, user_loop(NEW.name, weights, gradients, DECOUPLED))
    if missing:  # no gradient: no update and no decay
        assert np.array_equal(actual[0].w["vector"], weights["vector"])


@each_row
@pytest.mark.parametrize("name", [*HYPERS, "decoupled"])
def test_float64_is_the_formula_of_the_docstring(row: Implementation, name: str) -> None:
    """With lr, beta1 and beta2 as float32, which both rows round them to somewhere; hence rel=1e-5."""
    if name == "decoupled" and row is LEGACY:
        return
    hyper = HYPERS.get(name, DECOUPLED)
    weights, gradients = draw(FLOAT64), draw_gradients(FLOAT64)
    w, m, v, vmax = weights["vector"], 0.0, 0.0, 0.0
    for t, state in enumerate(row.states(weights, gradients, hyper), start=1):
        g = gradients[t - 1]["vector"]
        assert g is not None
        m = hyper.beta1 * m + (1 - hyper.beta1) * g
        v = hyper.beta2 * v + (1 - hyper.beta2) * g**2
        vmax = np.maximum(vmax, v)  # before the bias correction, unlike optax
        alpha = hyper.lr_at(t) * np.sqrt(1 - hyper.beta2**t) / (1 - hyper.beta1**t)
        w = w * (1 - hyper.lr_at(t) * hyper.weight_decay)
        w = w - alpha * m / (np.sqrt(vmax if hyper.amsgrad else v) + hyper.eps)
        assert state.w["vector"] == pytest.approx(w, rel=1e-5)
        assert state.m is not None
        assert state.m["vector"] == pytest.approx(m, rel=1e-5 if row is LEGACY else 1e-12)
        assert (state.vmax is None) == (not hyper.amsgrad)
        if state.vmax is not None:
            assert state.vmax["vector"] == pytest.approx(vmax, rel=1e-5 if row is LEGACY else 1e-12)


@each_row
def test_a_step_without_any_gradient_is_unsupported(row: Implementation) -> None:
    weights, (gradient, *_) = draw(FLOAT32), draw_gradients(FLOAT32)
    states = row.states(weights, [gradient, dict.fromkeys(weights)], Hyper())
    next(states)
    with pytest.raises(Unsupported, match=r"^tf_keras: no parameter has a gradient at step 2, "):
        next(states)


@each_row
def test_tf_keras_itself_refuses_a_step_without_any_gradient(row: Implementation) -> None:
    with pytest.raises(ValueError, match="No gradients provided for any variable"):
        user_loop(row.name, draw(FLOAT32), [dict.fromkeys(SHAPES)], Hyper())


@each_row
def test_l2_decay_is_unsupported(row: Implementation) -> None:
    told = r"legacy\.Adam has no weight decay$" if row is LEGACY else r"Adam has no L2 weight decay, only decoupled;"
    with pytest.raises(Unsupported, match=rf"^tf_keras: {told}"):
        next(row.states(draw(FLOAT32), draw_gradients(FLOAT32), Hyper(weight_decay=0.1)))


def test_legacy_has_no_decoupled_decay_either() -> None:
    with pytest.raises(Unsupported, match=r"^tf_keras: legacy\.Adam has no weight decay$"):
        next(LEGACY.states(draw(FLOAT32), draw_gradients(FLOAT32), DECOUPLED))


@each_row
def test_bfloat16_weights_never_move(row: Implementation) -> None:
    """beta2 = 0.999 is 1 in bfloat16: alpha is 0, and in legacy's kernel v is too."""
    weights = draw(BFLOAT16)
    last = orbit(row.states(weights, draw_gradients(BFLOAT16), Hyper(lr=0.1, eps=1e-7)))[-1]
    assert last.m is not None
    assert last.v is not None
    for name in ("matrix", "vector", "scalar"):
        assert to_bits(last.w[name]).tolist() == to_bits(weights[name]).tolist()
        assert last.m[name].astype(float).all()
        assert last.v[name].astype(float).any() == (row is NEW)


@each_row
def test_float64_moments_show_which_betas_were_rounded_to_float32(row: Implementation) -> None:
    (state,) = orbit(row.states({"w": np.zeros(1)}, [{"w": np.ones(1)}], Hyper()))
    assert state.v is not None
    assert state.v["w"] == 1 - (float(np.float32(0.999)) if row is LEGACY else 0.999)


def test_legacy_takes_an_eps_of_zero_for_its_default() -> None:
    weights, gradients = draw(FLOAT32), draw_gradients(FLOAT32)
    zero, default = (orbit(LEGACY.states(weights, gradients, Hyper(eps=eps))) for eps in (0.0, 1e-7))
    assert_same_bits(zero, default)
    (new, _), (new_default, _) = (orbit(NEW.states(weights, gradients[:2], Hyper(eps=eps))) for eps in (0.0, 1e-7))
    assert not np.array_equal(new.w["matrix"], new_default.w["matrix"])


@each_row
def test_defaults_are_those_of_tf_keras(row: Implementation) -> None:
    kind = type(user_optimizer(row.name, Hyper()))
    default = {name: p.default for name, p in inspect.signature(kind).parameters.items()}
    assert default.get("weight_decay") is None
    assert row.defaults == Hyper(
        lr=default["learning_rate"],
        beta1=default["beta_1"],
        beta2=default["beta_2"],
        eps=default["epsilon"],
        amsgrad=default["amsgrad"],
    )


def test_rows() -> None:
    assert tuple(row.name for row in tf_keras_.IMPLEMENTATIONS) == NAMES
    for row in tf_keras_.IMPLEMENTATIONS:
        assert (row.framework, row.needs, row.convention) == ("tf_keras", ("tensorflow", "tf_keras|keras<3"), "hat")
        assert row.dtypes == tuple(FORMATS)


def test_the_rows_are_two_arithmetics() -> None:
    """The kernel forms 1 - beta in float32, so a row that silently ran the other one would show."""
    weights, gradients = draw(FLOAT32), draw_gradients(FLOAT32)
    last = [orbit(row.states(weights, gradients, Hyper()))[-1].v for row in (LEGACY, NEW)]
    assert last[0] is not None
    assert last[1] is not None
    assert not np.array_equal(last[0]["matrix"], last[1]["matrix"])
