"""The Keras rows show what a user's own loop with keras.optimizers.Adam gets, bit for bit, on the backend here."""

from __future__ import annotations

import contextlib
import inspect
import os
import subprocess
import sys
import warnings
from typing import Any

import numpy as np
import pytest
from orbits import (
    BACKEND,
    FLOAT32,
    SHAPES,
    STEPS,
    Gradients,
    assert_same_bits,
    draw,
    draw_gradients,
    each,
    each_dtype,
    frozen,
    here,
    memory,
    orbit,
)

from parity.core.errors import Unsupported
from parity.core.hyper import Hyper
from parity.core.state import State
from parity.implementations import keras_
from parity.implementations.implementation import Implementation
from parity.implementations.tensorflow_memory import aligned, tensor_on
from parity.numerics.formats import FORMATS, to_bits

ROWS = here(keras_.IMPLEMENTATIONS)
each_row = each(ROWS)
pytestmark = [
    pytest.mark.frameworks,
    # Keras 3.15 converts its own variables in a way that NumPy 2 calls outdated.
    pytest.mark.filterwarnings("ignore:__array__ implementation"),
    pytest.mark.thorough,
]

NAMES = (
    "keras.adam.eager",
    "keras.adam.function",
    "keras.adam.xla",
    "keras.adamw.eager",
    "keras.adamw.function",
    "keras.adamw.xla",
    "keras_torch.adam.eager",
    "keras_jax.adam.eager",
    "keras_jax.adam.jit",
)
NEEDS = {"keras": "tensorflow", "keras_torch": "torch", "keras_jax": "jax"}
SCHEDULE = tuple(0.1 / step for step in range(1, STEPS + 1))
HYPERS = {
    "defaults": Hyper(eps=1e-7),
    "decoupled": Hyper(lr=SCHEDULE, beta1=0.8, beta2=0.95, eps=1e-3, weight_decay=0.1, decoupled=True),
    "amsgrad": Hyper(lr=1e-2, beta2=0.5, eps=1e-3, amsgrad=True),
}
MISSING = {2: ("matrix",), 5: ("scalar", "vector"), 6: ("matrix",)}
"""Parameters without a gradient, by step."""


def user_loop(row: Implementation, weights: dict[str, np.ndarray], gradients: Gradients, hyper: Hyper) -> list[State]:
    """What a user writes: Keras variables and `optimizer.apply(gradients, variables)`, arrays by convert_to_numpy.

    On JAX float64 asks for x64, and what is compiled is `stateless_apply` on lists of values, as in `fit`.
    """
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    os.environ["KERAS_BACKEND"] = BACKEND
    import keras

    context = contextlib.nullcontext()
    if BACKEND == "jax":
        import jax

        context = jax.enable_x64(any(array.dtype == np.float64 for array in weights.values()))
    with context:
        return _user_loop(keras, row, weights, gradients, hyper)


def _user_loop(
    keras: Any, row: Implementation, weights: dict[str, np.ndarray], gradients: Gradients, hyper: Hyper
) -> list[State]:
    variables = [keras.Variable(np.array(array), dtype=array.dtype.name) for array in weights.values()]
    adamw = row.name.startswith("keras.adamw.")
    optimizer = (keras.optimizers.AdamW if adamw else keras.optimizers.Adam)(
        learning_rate=0.5,
        beta_1=hyper.beta1,
        beta_2=hyper.beta2,
        epsilon=hyper.eps,
        amsgrad=hyper.amsgrad,
        weight_decay=hyper.weight_decay if hyper.decoupled else 0.0 if adamw else None,
    )
    optimizer.build(variables)
    variant = row.name.rpartition(".")[2]

    def apply(tensors: list[object]) -> None:
        optimizer.apply(tensors, variables)

    if variant in ("function", "xla"):
        import tensorflow as tf

        apply = tf.function(apply, jit_compile=variant == "xla")
    if variant == "jit":
        import jax

        step = jax.jit(lambda state, tensors, kept: optimizer.stateless_apply(state, tensors, kept))
    states = []
    for index, gradient in enumerate(gradients):
        optimizer.learning_rate = hyper.lr[index] if isinstance(hyper.lr, tuple) else hyper.lr
        tensors = [
            None if array is None else keras.ops.convert_to_tensor(np.array(array)) for array in gradient.values()
        ]
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Gradients do not exist for variables")
            if variant == "jit":
                kept, state = ([one.value for one in some] for some in (variables, optimizer.variables))
                after, state = step(state, tensors, kept)
                for variable, value in zip([*variables, *optimizer.variables], [*after, *state], strict=True):
                    variable.assign(value)
            else:
                apply(tensors)

        # The optimizer's public list: iteration, learning rate, then one group per parameter or per quantity.
        def arrays(quantity: str) -> dict[str, np.ndarray]:
            found = [v for v in optimizer.variables if v.path.endswith("_" + quantity)]
            return {key: np.array(keras.ops.convert_to_numpy(v)) for key, v in zip(weights, found, strict=True)}

        w = {key: np.array(keras.ops.convert_to_numpy(v)) for key, v in zip(weights, variables, strict=True)}
        vmax = arrays("velocity_hat") if hyper.amsgrad else None
        states.append(State(w, arrays("momentum"), arrays("velocity"), vmax))
    return states


@pytest.fixture
def traced(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """One entry for every parameter each time Keras's Python code of the update runs."""
    next(ROWS[0].states(draw(FLOAT32), draw_gradients(FLOAT32), Hyper()))
    import keras

    seen: list[str] = []
    update_step = keras.optimizers.Adam.update_step

    def counting(self, gradient, variable, learning_rate):  # type: ignore[no-untyped-def]
        seen.append(variable.name)
        return update_step(self, gradient, variable, learning_rate)

    monkeypatch.setattr(keras.optimizers.Adam, "update_step", counting)
    return seen


@each_row
@each_dtype
@pytest.mark.parametrize("hyper", HYPERS.values(), ids=list(HYPERS))
def test_orbit_is_the_user_loop(row: Implementation, dtype: np.dtype, hyper: Hyper) -> None:
    weights, gradients = draw(dtype), draw_gradients(dtype)
    assert_same_bits(orbit(row.states(weights, gradients, hyper)), user_loop(row, weights, gradients, hyper))


@each_row
@pytest.mark.parametrize("dtype", [FLOAT32, FORMATS["bfloat16"].dtype], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("name", ["decoupled", "amsgrad"])
def test_missing_gradients_are_as_in_the_user_loop(row: Implementation, dtype: np.dtype, name: str) -> None:
    weights, gradients = draw(dtype), draw_gradients(dtype, MISSING)
    actual = orbit(row.states(weights, gradients, HYPERS[name]))
    assert_same_bits(actual, user_loop(row, weights, gradients, HYPERS[name]))
    for quantity in ("w", "m", "v"):  # no gradient: no update and no decay
        before, after = getattr(actual[0], quantity)["matrix"], getattr(actual[1], quantity)["matrix"]
        assert np.array_equal(before, after)


@each_row
def test_steps_are_counted_for_all_parameters_together(row: Implementation) -> None:
    weights, (gradient, *_) = draw(FLOAT32), draw_gradients(FLOAT32)
    alone = {name: array if name == "vector" else None for name, array in gradient.items()}
    *_, late = orbit(row.states(weights, [alone, alone, gradient], HYPERS["defaults"]))
    first, *_ = orbit(row.states(weights, [gradient], HYPERS["defaults"]))
    assert np.array_equal(late.m["matrix"], first.m["matrix"])  # type: ignore[index]
    change = np.abs(late.w["matrix"] - weights["matrix"]) / np.abs(first.w["matrix"] - weights["matrix"])
    expected = np.sqrt(1 - 0.999**3) / (1 - 0.9**3) / (np.sqrt(1 - 0.999) / (1 - 0.9))
    assert change == pytest.approx(np.full((3, 4), expected), rel=1e-3)


@each_row
def test_a_step_without_any_gradient_is_unsupported(row: Implementation) -> None:
    weights, (gradient, *_) = draw(FLOAT32), draw_gradients(FLOAT32)
    states = row.states(weights, [gradient, dict.fromkeys(weights)], Hyper())
    next(states)
    with pytest.raises(Unsupported, match=rf"^{row.framework}: no parameter has a gradient at step 2, "):
        next(states)


def test_keras_itself_refuses_a_step_without_any_gradient() -> None:
    with pytest.raises(ValueError, match="No gradients provided for any variable"):
        user_loop(keras_.IMPLEMENTATIONS[0], draw(FLOAT32), [dict.fromkeys(SHAPES)], Hyper())


def test_aligned_gradients_are_not_copied() -> None:
    gradient = frozen(memory(STEPS))
    next(keras_.IMPLEMENTATIONS[0].states({"w": np.ones(STEPS, np.float32)}, [{"w": gradient}], Hyper()))
    assert np.shares_memory(np.asarray(tensor_on(aligned("w", gradient, {}))), gradient)


@each(tuple(row for row in ROWS if row.framework != "keras_torch"))  # which has one update for all variables
def test_a_step_is_compiled_once_for_many_runs(row: Implementation, traced: list[str]) -> None:
    gradients = draw_gradients(FLOAT32)
    for seed, lr in ((1, 1e-3), (2, tuple(0.1 * step for step in range(STEPS)))):
        hyper = Hyper(lr=lr, beta2=0.987)
        actual = orbit(row.states(draw(FLOAT32, seed), gradients, hyper))
        compiled = len(traced)
        assert_same_bits(actual, user_loop(row, draw(FLOAT32, seed), gradients, hyper))
        del traced[compiled:]
    assert len(traced) == len(SHAPES) * (2 * STEPS if row.name.endswith(".eager") else 1)


def test_large_loops_are_not_kept(traced: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keras_, "_KEPT_BYTES", 4 * 4 * 20 - 1)  # the weights and three times their moments
    row = keras_.IMPLEMENTATIONS[1]
    for _ in range(2):
        orbit(row.states(draw(FLOAT32), draw_gradients(FLOAT32)[:1], Hyper(beta2=0.986)))
    assert len(traced) == 2 * len(SHAPES)


@each_row
@pytest.mark.parametrize(
    "other",
    [
        Hyper(beta1=0.8),
        Hyper(beta2=0.9),
        Hyper(eps=1e-2),
        Hyper(amsgrad=True),
        Hyper(weight_decay=0.1, decoupled=True),
    ],
    ids=["beta1", "beta2", "eps", "amsgrad", "weight_decay"],
)
def test_what_is_compiled_in_is_not_reused_for_other_values(row: Implementation, other: Hyper) -> None:
    weights, gradients = draw(FLOAT32), draw_gradients(FLOAT32)[:3]
    orbit(row.states(weights, gradients, Hyper()))
    assert_same_bits(orbit(row.states(weights, gradients, other)), user_loop(row, weights, gradients, other))


@each_row
def test_l2_decay_is_unsupported(row: Implementation) -> None:
    with pytest.raises(Unsupported, match=rf"^{row.framework}: AdamW? has no L2 weight decay, only decoupled"):
        next(row.states(draw(FLOAT32), draw_gradients(FLOAT32), Hyper(weight_decay=0.1)))


@each_row
def test_bfloat16_weights_never_move(row: Implementation) -> None:
    """beta2 = 0.999 is 1 in bfloat16, so alpha = lr * sqrt(1 - 1) / (1 - beta1**t) is 0."""
    dtype = FORMATS["bfloat16"].dtype
    weights = draw(dtype)
    last = orbit(row.states(weights, draw_gradients(dtype), Hyper(lr=0.1)))[-1]
    assert last.m is not None
    assert last.v is not None
    for name in ("matrix", "vector", "scalar"):
        assert to_bits(last.w[name]).tolist() == to_bits(weights[name]).tolist()
        assert last.m[name].astype(float).all()
        assert last.v[name].astype(float).all()


@each_row
def test_float64_is_computed_with_a_float32_learning_rate(row: Implementation) -> None:
    weights: dict[str, np.ndarray] = {"w": np.zeros(3)}
    gradients: Gradients = [{"w": np.full(3, 2.0)}]
    (double,) = orbit(row.states(weights, gradients, Hyper(lr=1e-3)))
    (single,) = orbit(row.states(weights, gradients, Hyper(lr=float(np.float32(1e-3)))))
    assert_same_bits([double], [single])


@each_row
def test_defaults_are_those_of_keras(row: Implementation) -> None:
    next(row.states(draw(FLOAT32), draw_gradients(FLOAT32), row.defaults))
    import keras

    own = keras.optimizers.AdamW if row.name.startswith("keras.adamw.") else keras.optimizers.Adam
    default = {name: p.default for name, p in inspect.signature(own).parameters.items()}
    assert row.defaults == Hyper(
        lr=default["learning_rate"],
        beta1=default["beta_1"],
        beta2=default["beta_2"],
        eps=default["epsilon"],
        amsgrad=default["amsgrad"],
        weight_decay=default["weight_decay"] or 0.0,
        decoupled=default["weight_decay"] is not None,
    )


def test_rows() -> None:
    assert tuple(row.name for row in keras_.IMPLEMENTATIONS) == NAMES
    for row in keras_.IMPLEMENTATIONS:
        assert (row.needs, row.convention) == ((NEEDS[row.framework], "keras>=3"), "hat")
        assert row.framework == row.name.partition(".")[0]
        assert row.dtypes == tuple(FORMATS)


def test_xla_differs_from_eager() -> None:
    """XLA contracts to fma, so a row that silently ran eagerly would show."""
    random = np.random.default_rng(22)
    weights = {"w": random.standard_normal(1000).astype(np.float32)}
    gradients: Gradients = [{"w": random.standard_normal(1000).astype(np.float32)} for _ in range(5)]
    last = {row.name: orbit(row.states(weights, gradients, Hyper()))[-1] for row in keras_.IMPLEMENTATIONS[:3]}
    assert not np.array_equal(last["keras.adam.xla"].w["w"], last["keras.adam.eager"].w["w"])


def python(program: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def test_keras_with_another_backend_is_unsupported() -> None:
    program = """
import keras, numpy as np
from parity.core.errors import Unsupported
from parity.core.hyper import Hyper
from parity.implementations.keras_ import IMPLEMENTATIONS
try:
    next(IMPLEMENTATIONS[0].states({"w": np.ones(1)}, [{"w": np.ones(1)}], Hyper()))
except Unsupported as error:
    print(error)
"""
    told = python(program, KERAS_BACKEND="torch")
    assert told == "keras: keras is imported with the torch backend, needs tensorflow"
