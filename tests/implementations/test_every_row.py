"""What holds of every row: inputs are read and nothing else, whatever their memory; states stay what they are."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from orbits import FLOAT32, STEPS, assert_same_bits, draw, draw_gradients, each, each_dtype, frozen, here, memory, orbit

from parity.core.errors import Unsupported
from parity.core.hyper import Hyper
from parity.core.state import State
from parity.implementations.implementation import Implementation, Leg
from parity.implementations.registry import shipped_implementations
from parity.numerics.formats import to_bits

pytestmark = [
    # torch says it of itself as its compiler is imported.
    pytest.mark.filterwarnings("ignore:.torch.jit.script_method. is deprecated"),
    pytest.mark.frameworks,
    # torch says so once a process, of the test's own read-only gradients; nothing writes to them.
    pytest.mark.filterwarnings("ignore:The given NumPy array is not writable"),
    pytest.mark.thorough,
]

ROWS = here(one for name, one in shipped_implementations().items() if name != "torch.adam.fsdp2")
"""All but what refuses tensors of shape (), which is held against torch's own in `test_torch_sharded.py`."""
KEPT = tuple(row for row in ROWS if row.framework in {"jax", "keras_jax", "tensorflow", "tf_keras"})
"""Rows whose states are the framework's own values, which it does not change any more."""

AMSGRAD = Hyper(lr=1e-2, beta2=0.5, eps=1e-3, amsgrad=True)
WITHOUT_AMSGRAD = ("torch.adam.sparse", "optax.adamw.plain", "optax.adamw.jit")
IN_FLOAT32 = ("torch.adam.differentiable", "torch.adam.compiled", "torch.adam.tensor_lr", "torch.adam.tensor_lr.fused")
"""Rows of torch that form scalars in float32 tensors."""


def usual(row: Implementation) -> Hyper:
    """AMSGrad, where a row has one."""
    return replace(AMSGRAD, amsgrad=row.name not in WITHOUT_AMSGRAD)


FIRST_MOMENT_ALONE = Hyper(lr=1e-2, beta1=0.0, beta2=0.0, eps=1e-3)


def test_all_frameworks_are_here() -> None:
    frameworks = {"numpy", "torch", "keras", "keras_torch", "keras_jax", "tensorflow", "tf_keras", "jax"}
    assert {row.framework for row in shipped_implementations().values()} == frameworks


@each(ROWS)
@each_dtype
def test_inputs_are_only_read(row: Implementation, dtype: np.dtype) -> None:
    weights, gradients = draw(dtype), draw_gradients(dtype)
    inputs = [array for arrays in (weights, *gradients) for array in arrays.values() if array is not None]
    before = [to_bits(array).tolist() for array in inputs]
    for state in row.states(weights, gradients, usual(row)):
        assert not any(np.shares_memory(state.w[name], weights[name]) for name in weights)
    assert [to_bits(array).tolist() for array in inputs] == before


@each(ROWS)
@pytest.mark.parametrize("shift", [0, 4], ids=["aligned", "unaligned"])
def test_a_gradient_buffer_may_be_reused_by_the_next_step(row: Implementation, shift: int) -> None:
    """The engine writes the next gradients where the last ones were; TensorFlow and JAX read aligned ones in place.

    m = g: a framework must not keep g itself.
    """
    buffer = memory(100_000, shift)
    read_only = frozen(buffer.view())
    drawn = np.random.default_rng(23).standard_normal((STEPS, buffer.size)).astype(np.float32)

    def reused() -> Iterator[dict[str, np.ndarray | None]]:
        for values in drawn:
            buffer[:] = values
            yield {"w": read_only}
            assert np.array_equal(buffer, values)
            buffer[:] = np.nan

    weights = {"w": np.ones(buffer.size, np.float32)}
    actual = orbit(row.states(weights, reused(), FIRST_MOMENT_ALONE))
    assert_same_bits(actual, orbit(row.states(weights, [{"w": values} for values in drawn], FIRST_MOMENT_ALONE)))


@each(ROWS)
def test_strided_arrays_are_read_in_their_order(row: Implementation) -> None:
    weights = {"w": frozen(np.arange(12, dtype=np.float32).reshape(4, 3)).T}
    turned = memory(12).reshape(4, 3)
    turned[:] = np.arange(12).reshape(4, 3)
    every_other = frozen(np.arange(24, dtype=np.float32).reshape(3, 8))[:, ::-2]
    dense = {"w": np.ascontiguousarray(weights["w"])}
    for gradient in (every_other, frozen(turned).T):
        expected = orbit(row.states(dense, [{"w": np.ascontiguousarray(gradient)}], Hyper()))
        assert_same_bits(orbit(row.states(weights, [{"w": gradient}], Hyper())), expected)


@each(KEPT)
@each_dtype
def test_states_are_views_that_keep_their_values(row: Implementation, dtype: np.dtype) -> None:
    kept = list(row.states(draw(dtype), draw_gradients(dtype), usual(row)))
    assert_same_bits(kept, orbit(row.states(draw(dtype), draw_gradients(dtype), usual(row))))
    assert not any(state.w["matrix"].flags.owndata or state.w["matrix"].flags.writeable for state in kept)


@each(ROWS)
def test_a_run_after_an_abandoned_one_is_fresh_and_shares_nothing_with_it(row: Implementation) -> None:
    weights, gradients = draw(FLOAT32), draw_gradients(FLOAT32)
    expected = orbit(row.states(weights, gradients, usual(row)))
    abandoned = row.states(weights, gradients, usual(row))
    next(abandoned)
    next(abandoned)
    assert_same_bits(orbit(row.states(weights, gradients, usual(row))), expected)
    assert_same_bits(orbit(abandoned), expected[2:])
    again = row.states(weights, gradients, usual(row))
    next(again)
    del again
    assert_same_bits(orbit(row.states(weights, gradients, usual(row))), expected)


def test_importing_the_files_imports_no_framework() -> None:
    modules = sorted({row.run.__module__ for row in ROWS})
    frameworks = "{'torch', 'tensorflow', 'keras', 'tf_keras', 'jax', 'jaxlib', 'optax'}"
    program = f"import sys, {', '.join(modules)}; print(*sorted({frameworks} & {{*sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


@each(ROWS)
@each_dtype
@pytest.mark.parametrize("amsgrad", [False, True], ids=["", "amsgrad"])
def test_what_begins_with_a_state_goes_on_as_the_run_that_came_to_it(
    row: Implementation, dtype: np.dtype, amsgrad: bool
) -> None:
    hyper = replace(AMSGRAD, amsgrad=amsgrad, beta2=0.75)
    weights, gradients = draw(dtype), draw_gradients(dtype)
    if amsgrad and row.name in WITHOUT_AMSGRAD:
        with pytest.raises(Unsupported, match="has no AMSGrad"):
            next(row.states(weights, gradients, hyper))
        return
    whole = orbit(row.states(weights, gradients, hyper))
    begun = whole[1]._replace(steps=dict.fromkeys(weights, 2))
    rest = row.states(begun.w, gradients[2:], hyper, begun)
    if amsgrad and row.framework == "jax":
        with pytest.raises(Unsupported, match="maximum of the corrected moment"):
            next(rest)
        return
    assert_same_bits(orbit(rest), whole[2:])


@each(tuple(row for row in ROWS if row.takes_leg))
@each_dtype
def test_a_leg_saves_and_loads_by_the_framework_s_own_means(
    row: Implementation, dtype: np.dtype, tmp_path: Path
) -> None:
    rates = tuple(0.01 * step for step in range(1, STEPS + 1))
    hyper = replace(usual(row), lr=rates, beta2=0.75)
    weights, gradients = draw(dtype), draw_gradients(dtype)
    if row.framework == "numpy":
        assert not row.takes_leg
        return
    if row.name == "torch.adam.compiled":
        hyper = replace(hyper, lr=0.01)
    whole = orbit(row.states(weights, gradients, hyper))
    first = orbit(row.states(weights, gradients[:2], hyper, leg=Leg(save=tmp_path)))
    assert list(tmp_path.iterdir())
    rest = orbit(row.states(weights, gradients[2:], hyper, leg=Leg(first=3, load=tmp_path)))
    assert_same_bits(first + rest, whole)


@each([row for row in ROWS if row.framework not in {"numpy", "torch"}])
def test_one_count_for_all_cannot_begin_at_several(row: Implementation) -> None:
    weights, gradients = draw(FLOAT32), draw_gradients(FLOAT32)
    state = orbit(row.states(weights, gradients, Hyper()))[0]
    counts = {name: 1 + (place == 0) for place, name in enumerate(weights)}
    with pytest.raises(Unsupported, match=r"counts steps for all parameters together, and they begin at \[1, 2\]"):
        next(row.states(state.w, gradients, Hyper(), state._replace(steps=counts)))


def test_what_takes_no_start_says_so() -> None:
    plain = Implementation("user.plain", lambda weights, gradients, hyper: iter(()))
    state = State({}, {}, {}, None, {})
    with pytest.raises(Unsupported, match=r"user\.plain: its run takes no start"):
        plain.states({}, [], Hyper(), state)


CARRIED = {
    "right": ({}, 0.6468872),
    "t back at 1": ({"t": 0}, 0.6030672),
    "m and v lost": ({"m": 0.0, "v": 0.0}, 0.7657945),
    "all lost": ({"t": 0, "m": 0.0, "v": 0.0}, 0.8076817),
    "t one too large": ({"t": 4}, 0.6506156),
    "t one too small": ({"t": 2}, 0.6408525),
}
"""What a state carried over wrongly makes of the fourth step: w = 1, lr = 0.1, eps = 0, g = 1, 2, 3, then -1."""


@each([row for row in ROWS if "float64" in row.dtypes])
@pytest.mark.parametrize("name", CARRIED)
def test_a_state_that_is_carried_over_wrongly_shows(row: Implementation, name: str) -> None:
    changed, expected = CARRIED[name]
    told = {"m": 0.561, "v": 0.013994001, "t": 3, **changed}
    one = {key: {"w": np.array(value)} for key, value in (("w", 0.7076817), ("m", told["m"]), ("v", told["v"]))}
    # torch's compiler loses a float64 tensor of shape ().
    shape = (1,) if row.name == "torch.adam.compiled" else ()
    one = {key: {"w": arrays["w"].reshape(shape)} for key, arrays in one.items()}
    start = State(one["w"], one["m"], one["v"], None, {"w": told["t"]})
    # SparseAdam refuses an eps of 0.
    hyper = Hyper(lr=0.1, eps=1e-300 if row.name == "torch.adam.sparse" else 0.0)
    after = next(row.states(one["w"], [{"w": np.full(shape, -1.0)}], hyper, start)).w["w"]
    # Keras keeps lr and betas in float32, where 1 - 0.999 has four digits: 6e-5 of it, half as much of its root.
    rounds = (
        "keras" in row.framework or row.framework == "tensorflow" or row.name in (*IN_FLOAT32, "torch.adam.compiled")
    )
    near = 1e-5 if rounds else 1e-7
    assert abs(after.item() - expected) < near
    if name == "right":
        given = [{"w": np.full(shape, float(g))} for g in (1, 2, 3, -1)]
        states = list(row.states({"w": np.ones(shape)}, given, hyper))
        assert abs(states[-1].w["w"].item() - expected) < near


@each([row for row in ROWS if "float64" in row.dtypes])
def test_betas_that_change_are_those_of_the_step(row: Implementation) -> None:
    """m = 0.05, 0.145, 0.27325; corrected by the beta of the step: m_hat = 1, 0.76316, 0.70813."""
    hyper = Hyper(lr=1.0, beta1=(0.95, 0.90, 0.85), beta2=0.999, eps=1e-300 if row.name == "torch.adam.sparse" else 0.0)
    weights, gradients = {"w": np.array(1.0)}, [{"w": np.array(1.0)}] * 3
    if row.framework not in {"numpy", "torch"}:
        with pytest.raises(Unsupported, match="its Adam has one beta1 and one beta2 for all steps"):
            next(row.states(weights, gradients, hyper))
        return
    if row.name == "torch.adam.compiled":
        with pytest.raises(Unsupported, match="betas that change would be compiled anew"):
            next(row.states(weights, gradients, hyper))
        return
    states = orbit(row.states(weights, gradients, hyper))
    np.testing.assert_allclose([float(one.m["w"]) for one in states], [0.05, 0.145, 0.27325], rtol=1e-15)
    moved = -np.diff([1.0, *(float(one.w["w"]) for one in states)])
    # Hat corrects with the same betas in another order, and inside differs by eps alone, which is 0.
    near = 2e-5 if row.name in IN_FLOAT32 else 1e-12
    np.testing.assert_allclose(moved, [1, 0.145 / (1 - 0.9**2), 0.27325 / (1 - 0.85**3)], rtol=near)
