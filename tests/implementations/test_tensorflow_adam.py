"""The TensorFlow row shows what the raw operations do to a user's own variables, bit for bit."""

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
    STEPS,
    Gradients,
    assert_same_bits,
    draw,
    draw_gradients,
    each_dtype,
    orbit,
)

from parity.core.errors import Unsupported
from parity.core.hyper import Hyper
from parity.core.state import State
from parity.implementations import tensorflow_
from parity.numerics.formats import FORMATS, to_bits

pytestmark = pytest.mark.frameworks

HYPERS = {
    "defaults": Hyper(),
    "schedule": Hyper(lr=tuple(0.1 / step for step in range(1, STEPS + 1)), beta1=0.8, beta2=0.95, eps=1e-3),
    "amsgrad": Hyper(lr=1e-2, beta2=0.5, eps=1e-3, amsgrad=True),
}
MISSING = {1: ("vector",), 2: ("matrix",), 4: ("matrix", "vector", "scalar", "empty"), 5: ("scalar", "vector")}
"""Parameters without a gradient, by step; none has one at step 4."""

(ROW,) = tensorflow_.IMPLEMENTATIONS


def tensorflow() -> Any:
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    import tensorflow

    return tensorflow


def user_loop(weights: dict[str, np.ndarray], gradients: Gradients, hyper: Hyper) -> list[State]:
    """What a user writes: the operation by name, powers of beta as NumPy scalars; arrays by numpy()."""
    tf = tensorflow()
    slots = {
        key: {part: tf.Variable(array if part == "var" else np.zeros_like(array)) for part in ("var", "m", "v", "vhat")}
        for key, array in weights.items()
    }
    dtype = weights["vector"].dtype.type
    beta1, beta2, p1, p2 = dtype(hyper.beta1), dtype(hyper.beta2), dtype(hyper.beta1), dtype(hyper.beta2)
    states = []
    for index, gradient in enumerate(gradients):
        lr = hyper.lr[index] if isinstance(hyper.lr, tuple) else hyper.lr
        for key, array in gradient.items():
            if array is None:
                continue
            handles = {part: variable.handle for part, variable in slots[key].items()}
            if not hyper.amsgrad:
                del handles["vhat"]
            scalars = {"lr": dtype(lr), "beta1": beta1, "beta2": beta2, "epsilon": dtype(hyper.eps)}
            scalars |= {"beta1_power": p1, "beta2_power": p2}
            kernel = tf.raw_ops.ResourceApplyAdamWithAmsgrad if hyper.amsgrad else tf.raw_ops.ResourceApplyAdam
            kernel(**handles, **{name: tf.constant(value) for name, value in scalars.items()}, grad=tf.constant(array))
        p1, p2 = dtype(p1 * beta1), dtype(p2 * beta2)
        parts = {
            part: {key: np.array(found[part].numpy()) for key, found in slots.items()}
            for part in ("var", "m", "v", "vhat")
        }
        states.append(State(parts["var"], parts["m"], parts["v"], parts["vhat"] if hyper.amsgrad else None))
    return states


@each_dtype
@pytest.mark.parametrize("missing", [None, MISSING], ids=["all", "missing"])
@pytest.mark.parametrize("hyper", HYPERS.values(), ids=list(HYPERS))
def test_orbit_is_the_user_loop(dtype: np.dtype, missing: dict[int, tuple[str, ...]] | None, hyper: Hyper) -> None:
    weights, gradients = draw(dtype), draw_gradients(dtype, missing)
    assert_same_bits(orbit(ROW.states(weights, gradients, hyper)), user_loop(weights, gradients, hyper))


@pytest.mark.parametrize("hyper", HYPERS.values(), ids=list(HYPERS))
def test_float64_is_the_formula_of_the_docstring(hyper: Hyper) -> None:
    weights, gradients = draw(FLOAT64), draw_gradients(FLOAT64)
    w, m, v, vmax = weights["vector"], 0.0, 0.0, 0.0
    for t, state in enumerate(ROW.states(weights, gradients, hyper), start=1):
        g = gradients[t - 1]["vector"]
        assert g is not None
        m = hyper.beta1 * m + (1 - hyper.beta1) * g
        v = hyper.beta2 * v + (1 - hyper.beta2) * g**2
        vmax = np.maximum(vmax, v)  # before the bias correction, unlike optax
        alpha = hyper.lr_at(t) * np.sqrt(1 - hyper.beta2**t) / (1 - hyper.beta1**t)
        w = w - alpha * m / (np.sqrt(vmax if hyper.amsgrad else v) + hyper.eps)
        assert state.w["vector"] == pytest.approx(w, rel=1e-11)
        assert state.m is not None
        assert state.m["vector"] == pytest.approx(m, rel=1e-11)
        assert (state.vmax is None) == (not hyper.amsgrad)
        if state.vmax is not None:
            assert state.vmax["vector"] == pytest.approx(vmax, rel=1e-11)


@pytest.mark.parametrize("missing", [None, {2: ("matrix",), 5: ("scalar", "vector")}], ids=["all", "missing"])
def test_float32_is_the_adam_optimizer_of_tensorflow_1(missing: dict[int, tuple[str, ...]] | None) -> None:
    tf = tensorflow()
    weights, gradients = draw(FLOAT32), draw_gradients(FLOAT32, missing)
    variables = {name: tf.Variable(array) for name, array in weights.items()}
    optimizer = tf.compat.v1.train.AdamOptimizer(learning_rate=1e-2, epsilon=1e-3)
    for gradient, state in zip(gradients, ROW.states(weights, gradients, Hyper(lr=1e-2, eps=1e-3)), strict=True):
        given = [(None if array is None else tf.constant(array), variables[name]) for name, array in gradient.items()]
        optimizer.apply_gradients(given)
        for name, variable in variables.items():
            assert to_bits(state.w[name]).tolist() == to_bits(np.array(variable.numpy())).tolist()


@each_dtype
def test_no_gradient_leaves_a_parameter_alone_while_the_powers_go_on(dtype: np.dtype) -> None:
    weights, (gradient, *_) = draw(dtype), draw_gradients(dtype)
    late: Gradients = [gradient, dict.fromkeys(weights), gradient]
    first, still, last = orbit(ROW.states(weights, late, HYPERS["amsgrad"]))
    assert_same_bits([still], [first])
    (*_, prompt) = orbit(ROW.states(weights, [gradient, gradient], HYPERS["amsgrad"]))
    for quantity in ("m", "v", "vmax"):
        assert np.array_equal(getattr(last, quantity)["matrix"], getattr(prompt, quantity)["matrix"])
    assert not np.array_equal(last.w["matrix"], prompt.w["matrix"])


@pytest.mark.parametrize("decoupled", [False, True], ids=["l2", "decoupled"])
def test_weight_decay_is_unsupported(decoupled: bool) -> None:
    with pytest.raises(Unsupported, match=r"^tensorflow: the Adam kernels have no weight decay, neither"):
        next(ROW.states(draw(FLOAT32), draw_gradients(FLOAT32), Hyper(weight_decay=0.1, decoupled=decoupled)))


def test_float32_forms_the_complement_of_beta_in_float32() -> None:
    (state,) = orbit(ROW.states({"w": np.zeros(1, np.float32)}, [{"w": np.ones(1, np.float32)}], Hyper()))
    assert state.v is not None
    assert state.v["w"] == np.float32(1) - np.float32(0.999) != np.float32(1 - 0.999)


def test_bfloat16_never_moves_a_weight_as_v_stays_zero() -> None:
    """beta2 = 0.999 is 1 in bfloat16, so 1 - beta2 and 1 - beta2**t are 0."""
    weights = draw(BFLOAT16)
    last = orbit(ROW.states(weights, draw_gradients(BFLOAT16), Hyper(lr=0.1)))[-1]
    assert last.m is not None
    assert last.v is not None
    for name in ("matrix", "vector", "scalar"):
        assert to_bits(last.w[name]).tolist() == to_bits(weights[name]).tolist()
        assert last.m[name].astype(float).all()
        assert not last.v[name].astype(float).any()


def test_float16_zero_gradient_is_nan() -> None:
    """1e-8 is 0 in float16, and 0 / 0 is NaN."""
    (state,) = orbit(ROW.states({"w": np.ones(5, np.float16)}, [{"w": np.zeros(5, np.float16)}], Hyper()))
    assert np.isnan(state.w["w"]).all()


def test_defaults_are_those_of_the_adam_optimizer_of_tensorflow_1() -> None:
    default = inspect.signature(tensorflow().compat.v1.train.AdamOptimizer).parameters
    names = {"lr": "learning_rate", "beta1": "beta1", "beta2": "beta2", "eps": "epsilon"}
    assert ROW.defaults == Hyper(**{ours: default[theirs].default for ours, theirs in names.items()})


def test_row() -> None:
    assert (ROW.name, ROW.framework) == ("tensorflow.adam.kernel", "tensorflow")
    assert (ROW.needs, ROW.convention, ROW.dtypes) == (("tensorflow",), "hat", tuple(FORMATS))
