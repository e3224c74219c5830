"""The optax rows show what a user's own loop with optax gets, bit for bit."""

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
    frozen,
    memory,
    orbit,
)

from parity.core.errors import Unsupported
from parity.core.hyper import Hyper
from parity.core.state import State
from parity.implementations import optax_
from parity.implementations.implementation import Implementation
from parity.numerics.formats import FORMATS

each_row = each(tuple(row for row in optax_.IMPLEMENTATIONS if row.name.startswith("optax.adam.")))
pytestmark = pytest.mark.frameworks

NAMES = ("optax.adam.plain", "optax.adam.jit")
SCHEDULE = tuple(0.1 / step for step in range(1, STEPS + 1))
HYPERS = {
    "defaults": Hyper(),
    "l2": Hyper(lr=1e-2, beta1=0.8, beta2=0.95, eps=1e-3, weight_decay=0.1),
    "decoupled": Hyper(lr=SCHEDULE, beta1=0.8, beta2=0.95, eps=1e-3, weight_decay=0.1, decoupled=True),
    "amsgrad": Hyper(lr=1e-2, beta2=0.5, eps=1e-3, amsgrad=True),
    "amsgrad-l2": Hyper(lr=1e-2, beta2=0.5, eps=1e-3, amsgrad=True, weight_decay=0.1),
    "amsgrad-decoupled": Hyper(lr=1e-2, beta2=0.5, eps=1e-3, amsgrad=True, weight_decay=0.1, decoupled=True),
}


def user_optimizer(hyper: Hyper) -> Any:
    import jax.numpy as jnp
    import optax

    lr = hyper.lr if isinstance(hyper.lr, float) else lambda count: jnp.array(hyper.lr)[count]
    common = {"b1": hyper.beta1, "b2": hyper.beta2, "eps": hyper.eps}
    if hyper.amsgrad and hyper.decoupled:
        parts = (optax.scale_by_amsgrad(**common), optax.add_decayed_weights(hyper.weight_decay), optax.scale(-lr))
        return optax.chain(*parts)
    if hyper.decoupled:
        return optax.adamw(lr, **common, weight_decay=hyper.weight_decay)
    adam = optax.amsgrad(lr, **common) if hyper.amsgrad else optax.adam(lr, **common)
    return optax.chain(optax.add_decayed_weights(hyper.weight_decay), adam) if hyper.weight_decay else adam


def user_loop(name: str, weights: dict[str, np.ndarray], gradients: Gradients, hyper: Hyper) -> list[State]:
    """What a user writes: `update` and `apply_updates` on a dict of jnp arrays; x64 for doubles only."""
    os.environ["JAX_PLATFORMS"] = "cpu"
    import jax
    import jax.numpy as jnp
    import optax

    def copied(arrays: dict[str, Any]) -> dict[str, np.ndarray]:
        return {key: np.array(arrays[key]) for key in weights}

    states = []
    with jax.enable_x64(FLOAT64 in {array.dtype for array in weights.values()}):
        optimizer = user_optimizer(hyper)

        def train_step(params: Any, state: Any, grads: Any) -> Any:
            updates, state = optimizer.update(grads, state, params)
            return optax.apply_updates(params, updates), state

        if name == "optax.adam.jit":
            train_step = jax.jit(train_step)
        params = {key: jnp.array(array) for key, array in weights.items()}
        state = optimizer.init(params)
        for gradient in gradients:
            params, state = train_step(params, state, {key: jnp.array(array) for key, array in gradient.items()})
            parts = jax.tree.leaves(state, is_leaf=lambda part: hasattr(part, "mu"))
            (adam,) = [part for part in parts if hasattr(part, "mu")]
            vmax = copied(adam.nu_max) if hyper.amsgrad else None
            states.append(State(copied(params), copied(adam.mu), copied(adam.nu), vmax))
    return states


@each_row
@each_dtype
@pytest.mark.parametrize("hyper", HYPERS.values(), ids=list(HYPERS))
def test_orbit_is_the_user_loop(row: Implementation, dtype: np.dtype, hyper: Hyper) -> None:
    weights, gradients = draw(dtype), draw_gradients(dtype)
    actual = orbit(row.states(weights, gradients, hyper))
    assert_same_bits(actual, user_loop(row.name, weights, gradients, hyper))
    assert {array.dtype for state in actual for part in state if part for array in part.values()} == {dtype}
    assert not np.array_equal(actual[-1].w["matrix"], weights["matrix"])


@each_row
@pytest.mark.parametrize("hyper", HYPERS.values(), ids=list(HYPERS))
def test_float64_is_the_formula_of_the_docstring(row: Implementation, hyper: Hyper) -> None:
    weights, gradients = draw(FLOAT64), draw_gradients(FLOAT64)
    w, m, v, vmax = weights["vector"], 0.0, 0.0, 0.0
    coupled = 0.0 if hyper.decoupled else hyper.weight_decay
    for t, state in enumerate(row.states(weights, gradients, hyper), start=1):
        g = gradients[t - 1]["vector"] + coupled * w
        m = (1 - hyper.beta1) * g + hyper.beta1 * m
        v = (1 - hyper.beta2) * g * g + hyper.beta2 * v
        vmax = np.maximum(vmax, v / (1 - hyper.beta2**t))  # after the bias correction, unlike torch
        v_hat = vmax if hyper.amsgrad else v / (1 - hyper.beta2**t)
        update = m / (1 - hyper.beta1**t) / (np.sqrt(v_hat) + hyper.eps)
        w = w - hyper.lr_at(t) * (update + (hyper.weight_decay if hyper.decoupled else 0.0) * w)
        assert state.w["vector"] == pytest.approx(w, rel=1e-12)
        assert state.m is not None
        assert state.m["vector"] == pytest.approx(m, rel=1e-12)
        if hyper.amsgrad:
            assert state.vmax is not None
            assert state.vmax["vector"] == pytest.approx(vmax, rel=1e-12)


@each_row
def test_x64_is_on_for_doubles_only_and_never_for_the_caller(row: Implementation) -> None:
    """With it the bias correction of float32 would be formed in float64: another orbit."""
    import jax

    mixed = [row.states(draw(dtype), draw_gradients(dtype), Hyper()) for dtype in (FLOAT64, FLOAT32)]
    states: dict[int, list[State]] = {0: [], 1: []}
    for _ in range(STEPS):
        for index, generator in enumerate(mixed):
            states[index] += orbit(iter([next(generator)]))
            assert not jax.config.jax_enable_x64
    for index, dtype in enumerate((FLOAT64, FLOAT32)):
        assert_same_bits(states[index], user_loop(row.name, draw(dtype), draw_gradients(dtype), Hyper()))
    with jax.enable_x64(True):
        assert_same_bits(states[1], orbit(row.states(draw(FLOAT32), draw_gradients(FLOAT32), Hyper())))


@each_row
@pytest.mark.parametrize("gone", [("vector",), tuple(SHAPES)], ids=["one", "all"])
def test_a_gradient_of_none_is_unsupported(row: Implementation, gone: tuple[str, ...]) -> None:
    weights, (gradient, *_) = draw(FLOAT32), draw_gradients(FLOAT32)
    states = row.states(weights, [gradient, {**gradient, **dict.fromkeys(gone)}], Hyper())
    next(states)
    with pytest.raises(Unsupported, match=rf"^optax: '{gone[0]}' has no gradient at step 2; optax takes no None"):
        next(states)


@pytest.mark.parametrize("name", ["defaults", "l2", "decoupled", "amsgrad"])
def test_optax_itself_refuses_a_gradient_of_none(name: str) -> None:
    weights, (gradient, *_) = draw(FLOAT32), draw_gradients(FLOAT32)
    optimizer = user_optimizer(HYPERS[name])
    with pytest.raises((ValueError, TypeError), match="NoneType"):
        optimizer.update({**gradient, "vector": None}, optimizer.init(weights), weights)


@each_row
def test_steps_are_counted_for_all_parameters_together(row: Implementation) -> None:
    weights, (gradient, *_) = draw(FLOAT64), draw_gradients(FLOAT64)
    zero = {**gradient, "matrix": np.zeros((3, 4))}
    *_, late = orbit(row.states(weights, [zero, zero, gradient], Hyper()))
    first, *_ = orbit(row.states(weights, [gradient], Hyper()))
    change = np.abs(late.w["matrix"] - weights["matrix"]) / np.abs(first.w["matrix"] - weights["matrix"])
    expected = (1 - 0.9) / (1 - 0.9**3) / np.sqrt((1 - 0.999) / (1 - 0.999**3))
    assert change == pytest.approx(np.full((3, 4), expected), rel=1e-6)


def test_aligned_gradients_are_not_copied() -> None:
    import jax

    gradient = frozen(memory(100))
    assert np.shares_memory(np.asarray(jax.device_put(gradient)), gradient)


@each_row
def test_a_step_is_traced_once_for_many_runs(row: Implementation, monkeypatch: pytest.MonkeyPatch) -> None:
    next(row.states(draw(FLOAT32), draw_gradients(FLOAT32), Hyper()))
    import optax

    seen: list[str] = []
    apply_updates = optax.apply_updates

    def counting(params: Any, updates: Any) -> Any:
        seen.append("step")
        return apply_updates(params, updates)

    monkeypatch.setattr(optax, "apply_updates", counting)
    for _ in range(3):
        orbit(row.states(draw(FLOAT32), draw_gradients(FLOAT32), Hyper(beta2=0.987)))
    assert len(seen) == (1 if row.name == "optax.adam.jit" else 3 * STEPS)


@each_row
@pytest.mark.parametrize(
    "other",
    [
        Hyper(lr=1e-2),
        Hyper(lr=SCHEDULE),
        Hyper(beta1=0.8),
        Hyper(beta2=0.9),
        Hyper(eps=1e-2),
        Hyper(amsgrad=True),
        Hyper(weight_decay=0.1),
    ],
    ids=["lr", "schedule", "beta1", "beta2", "eps", "amsgrad", "weight_decay"],
)
def test_what_is_compiled_in_is_not_reused_for_other_values(row: Implementation, other: Hyper) -> None:
    weights, gradients = draw(FLOAT32), draw_gradients(FLOAT32)[:3]
    orbit(row.states(weights, gradients, Hyper()))
    assert_same_bits(orbit(row.states(weights, gradients, other)), user_loop(row.name, weights, gradients, other))


@each_row
def test_bfloat16_weights_move(row: Implementation) -> None:
    """1 - 0.999**t is formed in float32, where it is not 0."""
    weights = draw(BFLOAT16)
    last = orbit(row.states(weights, draw_gradients(BFLOAT16), Hyper(lr=0.1)))[-1]
    for name in ("matrix", "vector", "scalar"):
        assert (last.w[name] != weights[name]).all()


@each_row
def test_float16_zero_gradient_is_nan(row: Implementation) -> None:
    """1e-8 is 0 in float16, and 0 / 0 is NaN."""
    weights: dict[str, np.ndarray] = {"w": np.ones(5, np.float16)}
    (state,) = orbit(row.states(weights, [{"w": np.zeros(5, np.float16)}], Hyper()))
    assert np.isnan(state.w["w"]).all()


@each_row
def test_defaults_are_those_of_optax(row: Implementation) -> None:
    next(row.states(draw(FLOAT32), draw_gradients(FLOAT32), row.defaults))
    import optax

    default = {name: p.default for name, p in inspect.signature(optax.adam).parameters.items()}
    assert default["learning_rate"] is inspect.Parameter.empty
    assert row.defaults == Hyper(beta1=default["b1"], beta2=default["b2"], eps=default["eps"])


def test_rows() -> None:
    assert tuple(row.name for row in optax_.IMPLEMENTATIONS if ".adam." in row.name) == NAMES
    for row in optax_.IMPLEMENTATIONS:
        assert (row.framework, row.needs, row.convention) == ("jax", ("jax", "optax"), "outside")
        assert row.dtypes == tuple(FORMATS)


def test_jit_differs_from_plain() -> None:
    """XLA contracts to fma, so a row that silently ran operation by operation would show."""
    random = np.random.default_rng(22)
    weights = {"w": random.standard_normal(1000).astype(np.float32)}
    gradients: Gradients = [{"w": random.standard_normal(1000).astype(np.float32)} for _ in range(5)]
    last = {row.name: orbit(row.states(weights, gradients, Hyper()))[-1] for row in optax_.IMPLEMENTATIONS}
    assert not np.array_equal(last["optax.adam.jit"].w["w"], last["optax.adam.plain"].w["w"])
