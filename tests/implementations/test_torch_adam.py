"""The torch rows show what a user's own loop with torch.optim gets, bit for bit."""

from __future__ import annotations

import dataclasses
import inspect

import numpy as np
import pytest
from orbits import STEPS, Gradients, assert_same_bits, draw, draw_gradients, each, each_dtype, orbit

from parity.core.errors import Unsupported
from parity.core.hyper import Hyper
from parity.core.state import QUANTITIES, State
from parity.implementations import torch_
from parity.implementations.implementation import Implementation
from parity.numerics.formats import FORMATS

each_row = each(torch_.IMPLEMENTATIONS)
pytestmark = [
    pytest.mark.frameworks,
    # torch says so once a process, of the test's own read-only gradients; nothing writes to them.
    pytest.mark.filterwarnings("ignore:The given NumPy array is not writable"),
]

VARIANTS = {
    "torch.adam.forloop": {"foreach": False, "fused": False},
    "torch.adam.foreach": {"foreach": True},
    "torch.adam.fused": {"fused": True},
}
HYPERS = {
    "defaults": Hyper(),
    "l2": Hyper(lr=1e-2, beta1=0.8, beta2=0.95, eps=1e-3, weight_decay=0.1),
    "decoupled": Hyper(lr=1e-2, eps=1e-3, weight_decay=0.1, decoupled=True),
    "amsgrad": Hyper(lr=1e-2, beta2=0.5, eps=1e-3, amsgrad=True),
    "schedule": Hyper(lr=tuple(0.1 / step for step in range(1, STEPS + 1)), eps=1e-3),
}
MISSING = {2: ("matrix",), 4: ("matrix", "vector", "scalar", "empty"), 5: ("scalar", "vector")}
"""Parameters without a gradient, by step; none has one at step 4."""


def user_loop(name: str, weights: dict[str, np.ndarray], gradients: Gradients, hyper: Hyper) -> list[State]:
    """What a user writes: torch tensors, `p.grad = ...`, `optimizer.step()`; arrays through float64."""
    import torch

    def tensor(array: np.ndarray) -> torch.Tensor:
        return torch.tensor(array.astype(np.float64), dtype=getattr(torch, array.dtype.name))

    def arrays(tensors: dict[str, torch.Tensor]) -> dict[str, np.ndarray]:
        return {key: t.detach().double().numpy().astype(weights[key].dtype) for key, t in tensors.items()}

    parameters = {key: torch.nn.Parameter(tensor(array)) for key, array in weights.items()}
    kind = torch.optim.AdamW if hyper.decoupled else torch.optim.Adam
    optimizer = kind(
        list(parameters.values()),
        lr=1.0,
        betas=(hyper.beta1, hyper.beta2),
        eps=hyper.eps,
        weight_decay=hyper.weight_decay,
        amsgrad=hyper.amsgrad,
        **VARIANTS[name],
    )
    states = []
    for index, gradient in enumerate(gradients):
        optimizer.param_groups[0]["lr"] = hyper.lr[index] if isinstance(hyper.lr, tuple) else hyper.lr
        for key, parameter in parameters.items():
            array = gradient[key]
            parameter.grad = None if array is None else tensor(array)
        optimizer.step()

        def state(quantity: str) -> dict[str, np.ndarray]:
            return arrays({k: optimizer.state[p].get(quantity, torch.zeros_like(p)) for k, p in parameters.items()})

        vmax = state("max_exp_avg_sq") if hyper.amsgrad else None
        states.append(State(arrays(parameters), state("exp_avg"), state("exp_avg_sq"), vmax))
    return states


@each_row
@each_dtype
@pytest.mark.parametrize("hyper", HYPERS.values(), ids=list(HYPERS))
def test_orbit_is_the_user_loop(row: Implementation, dtype: np.dtype, hyper: Hyper) -> None:
    weights, gradients = draw(dtype), draw_gradients(dtype)
    actual = orbit(row.states(weights, gradients, hyper))
    assert_same_bits(actual, user_loop(row.name, weights, gradients, hyper))
    assert not np.array_equal(actual[-1].w["matrix"], weights["matrix"])


@each_row
@each_dtype
@pytest.mark.parametrize("name", ["defaults", "l2", "decoupled", "amsgrad"])
def test_missing_gradients_are_as_in_the_user_loop(row: Implementation, dtype: np.dtype, name: str) -> None:
    weights, gradients = draw(dtype), draw_gradients(dtype, MISSING)
    actual = orbit(row.states(weights, gradients, HYPERS[name]))
    assert_same_bits(actual, user_loop(row.name, weights, gradients, HYPERS[name]))
    assert_same_bits(actual[3:4], actual[2:3])  # no gradient at all: nothing moves, no decay


@each_row
def test_a_parameter_that_has_no_gradient_yet_has_zero_moments(row: Implementation) -> None:
    weights = draw(np.dtype(np.float32))
    nothing: dict[str, np.ndarray | None] = dict.fromkeys(weights)
    hyper = Hyper(amsgrad=True, weight_decay=0.1, decoupled=True)
    zeros = {name: np.zeros_like(array) for name, array in weights.items()}
    assert_same_bits(orbit(row.states(weights, [nothing], hyper)), [State(weights, zeros, zeros, zeros)])


@each_row
def test_steps_are_counted_per_parameter(row: Implementation) -> None:
    gradient = draw(np.dtype(np.float32))
    late: Gradients = [dict.fromkeys(gradient), dict.fromkeys(gradient), {**gradient}]
    *_, last = orbit(row.states(draw(np.dtype(np.float32)), late, Hyper()))
    (first,) = orbit(row.states(draw(np.dtype(np.float32)), late[2:], Hyper()))
    assert_same_bits([last], [first])


@each_row
def test_states_are_live_views(row: Implementation) -> None:
    states = row.states(draw(np.dtype(np.float32)), draw_gradients(np.dtype(np.float32)), Hyper(amsgrad=True))
    first, second = next(states), next(states)
    for quantity in QUANTITIES:
        assert np.shares_memory(getattr(first, quantity)["matrix"], getattr(second, quantity)["matrix"]), quantity


@each_row
def test_what_torch_rejects_is_unsupported_in_its_words(row: Implementation) -> None:
    weights, gradients = draw(np.dtype(np.float32)), draw_gradients(np.dtype(np.float32))
    with pytest.raises(Unsupported, match=r"^torch .*Invalid beta parameter at index 1: 1\.0$"):
        next(row.states(weights, gradients, Hyper(beta2=1.0)))
    with pytest.raises(Unsupported, match="empty parameter list"):
        next(row.states({}, gradients, Hyper()))


@each_row
def test_defaults_are_those_of_torch(row: Implementation) -> None:
    import torch

    default = {name: p.default for name, p in inspect.signature(torch.optim.Adam).parameters.items()}
    assert row.defaults == Hyper(
        lr=default["lr"],
        beta1=default["betas"][0],
        beta2=default["betas"][1],
        eps=default["eps"],
        weight_decay=default["weight_decay"],
        decoupled=default["decoupled_weight_decay"],
        amsgrad=default["amsgrad"],
    )


def test_rows() -> None:
    assert [row.name for row in torch_.IMPLEMENTATIONS] == list(VARIANTS)
    for row in torch_.IMPLEMENTATIONS:
        assert (row.framework, row.needs, row.convention) == ("torch", ("torch",), "outside")
        assert row.dtypes == tuple(FORMATS)
        with pytest.raises(dataclasses.FrozenInstanceError):
            row.name = "other"  # type: ignore[misc]


def test_fused_float32_differs_from_the_for_loop() -> None:
    """The variants are three arithmetics, so a row that silently ran another one would show."""
    random = np.random.default_rng(22)
    weights = {"w": random.standard_normal(4000).astype(np.float32)}
    gradients: Gradients = [{"w": random.standard_normal(4000).astype(np.float32)} for _ in range(5)]
    last = {row.name: orbit(row.states(weights, gradients, Hyper()))[-1].w["w"] for row in torch_.IMPLEMENTATIONS}
    assert not np.array_equal(last["torch.adam.fused"], last["torch.adam.forloop"])


def test_float16_zero_gradient_is_nan_but_for_fused() -> None:
    """1e-8 is 0 in float16, and 0 / 0 is NaN; fused divides in float32."""
    weights: dict[str, np.ndarray] = {"w": np.ones(5, np.float16)}
    gradients: Gradients = [{"w": np.zeros(5, np.float16)}]
    nan = {
        row.name: bool(np.isnan(orbit(row.states(weights, gradients, Hyper()))[0].w["w"]).all())
        for row in torch_.IMPLEMENTATIONS
    }
    assert nan == {"torch.adam.forloop": True, "torch.adam.foreach": True, "torch.adam.fused": False}
