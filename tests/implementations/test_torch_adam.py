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
from parity.implementations.registry import shipped_implementations
from parity.implementations.torch_memory import array_of, tensor_on
from parity.numerics.formats import FORMATS

each_row = each(torch_.IMPLEMENTATIONS)
pytestmark = [
    # torch says it of itself as its compiler is imported.
    pytest.mark.filterwarnings("ignore:.torch.jit.script_method. is deprecated"),
    pytest.mark.frameworks,
    # torch says so once a process, of the test's own read-only gradients; nothing writes to them.
    pytest.mark.filterwarnings("ignore:The given NumPy array is not writable"),
]

VARIANTS = {
    "torch.adam.forloop": {"foreach": False, "fused": False},
    "torch.adam.foreach": {"foreach": True},
    "torch.adam.fused": {"fused": True},
    "torch.adam.differentiable": {"differentiable": True},
    "torch.adam.tensor_lr": {},
    "torch.adam.tensor_lr.fused": {"fused": True},
    "torch.adam.compiled": {},
    "torch.adamw.forloop": {"foreach": False, "fused": False},
    "torch.adamw.foreach": {"foreach": True},
    "torch.adamw.fused": {"fused": True},
}
THREE = torch_.IMPLEMENTATIONS[:3]
"""Three arithmetics of one Adam."""

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

    parameters: dict[str, torch.Tensor] = {key: torch.nn.Parameter(tensor(array)) for key, array in weights.items()}
    if name == "torch.adam.differentiable":
        # Results of other operations, as meta-learning has them; the graph goes through all steps.
        parameters = {key: parameter.clone() for key, parameter in parameters.items()}
        for parameter in parameters.values():
            parameter.retain_grad()
    kind = torch.optim.AdamW if hyper.decoupled or ".adamw." in name else torch.optim.Adam
    optimizer = kind(
        list(parameters.values()),
        lr=torch.tensor(1.0) if ".tensor_lr" in name else 1.0,
        betas=(hyper.beta1, hyper.beta2),
        eps=hyper.eps,
        weight_decay=hyper.weight_decay,
        amsgrad=hyper.amsgrad,
        **VARIANTS[name],
    )
    step = torch.compile(optimizer.step) if name == "torch.adam.compiled" else optimizer.step
    states = []
    for index, gradient in enumerate(gradients):
        lr = hyper.lr[index] if isinstance(hyper.lr, tuple) else hyper.lr
        optimizer.param_groups[0]["lr"] = torch.tensor(lr) if ".tensor_lr" in name else lr
        for key, parameter in parameters.items():
            array = gradient[key]
            parameter.grad = None if array is None else tensor(array)
        step()

        def state(quantity: str) -> dict[str, np.ndarray]:
            return arrays({k: optimizer.state[p].get(quantity, torch.zeros_like(p)) for k, p in parameters.items()})

        vmax = state("max_exp_avg_sq") if hyper.amsgrad else None
        states.append(State(arrays(parameters), state("exp_avg"), state("exp_avg_sq"), vmax))
    return states


def refused(row: Implementation, hyper: Hyper) -> str:
    """Why a row cannot have these hyperparameters."""
    if ".adamw." in row.name and hyper.weight_decay and not hyper.decoupled:
        return "AdamW: its weight decay is decoupled, it has no L2"
    if row.name == "torch.adam.compiled" and hyper.lr_changes:
        return "would be compiled anew at every step"
    return ""


def kept(row: Implementation, states: list[State]) -> list[State]:
    """States without the float64 tensor of shape () whose update torch.compile of torch 2.13 loses."""
    if row.name != "torch.adam.compiled" or states[0].w["scalar"].dtype != np.float64:
        return states
    assert not any(one.m["scalar"].any() for one in states)
    return [
        State(*(each and {name: array for name, array in each.items() if name != "scalar"} for each in one))
        for one in states
    ]


@each_row
@each_dtype
@pytest.mark.parametrize("hyper", HYPERS.values(), ids=list(HYPERS))
def test_orbit_is_the_user_loop(row: Implementation, dtype: np.dtype, hyper: Hyper) -> None:
    weights, gradients = draw(dtype), draw_gradients(dtype)
    if refused(row, hyper):
        with pytest.raises(Unsupported, match=refused(row, hyper)):
            next(row.states(weights, gradients, hyper))
        return
    actual = orbit(row.states(weights, gradients, hyper))
    assert_same_bits(kept(row, actual), kept(row, user_loop(row.name, weights, gradients, hyper)))
    assert not np.array_equal(actual[-1].w["matrix"], weights["matrix"])


@each_row
@each_dtype
@pytest.mark.parametrize("name", ["defaults", "l2", "decoupled", "amsgrad"])
def test_missing_gradients_are_as_in_the_user_loop(row: Implementation, dtype: np.dtype, name: str) -> None:
    weights, gradients = draw(dtype), draw_gradients(dtype, MISSING)
    if refused(row, HYPERS[name]):
        return
    actual = orbit(row.states(weights, gradients, HYPERS[name]))
    assert_same_bits(kept(row, actual), kept(row, user_loop(row.name, weights, gradients, HYPERS[name])))
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
    for quantity in (one for one in QUANTITIES if one != "average"):
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

    decoupled = ".adamw." in row.name
    kind = torch.optim.AdamW if decoupled else torch.optim.Adam
    default = {name: p.default for name, p in inspect.signature(kind).parameters.items()}
    assert row.defaults == Hyper(
        lr=default["lr"],
        beta1=default["betas"][0],
        beta2=default["betas"][1],
        eps=default["eps"],
        weight_decay=default["weight_decay"],
        decoupled=default.get("decoupled_weight_decay", decoupled),
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
    last = {row.name: orbit(row.states(weights, gradients, Hyper()))[-1].w["w"] for row in THREE}
    assert not np.array_equal(last["torch.adam.fused"], last["torch.adam.forloop"])


def test_float16_zero_gradient_is_nan_but_for_fused() -> None:
    """1e-8 is 0 in float16, and 0 / 0 is NaN; fused divides in float32."""
    weights: dict[str, np.ndarray] = {"w": np.ones(5, np.float16)}
    gradients: Gradients = [{"w": np.zeros(5, np.float16)}]
    nan = {row.name: bool(np.isnan(orbit(row.states(weights, gradients, Hyper()))[0].w["w"]).all()) for row in THREE}
    assert nan == {"torch.adam.forloop": True, "torch.adam.foreach": True, "torch.adam.fused": False}


def test_without_a_compiler_compiled_is_unsupported(monkeypatch: pytest.MonkeyPatch) -> None:
    row = shipped_implementations()["torch.adam.compiled"]
    # What compiles looks for its compiler once, as it is loaded.
    row.load()
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(Unsupported, match=r"needs a C\+\+ compiler, and there is no 'no-such-compiler' here"):
        next(row.states(draw(np.dtype(np.float32)), draw_gradients(np.dtype(np.float32)), Hyper()))


def test_compiled_is_compiled() -> None:
    """One graph serves all steps; and torch 2.13 loses what is done in place to a float64 tensor of shape ()."""
    import torch._dynamo.utils

    row = shipped_implementations()["torch.adam.compiled"]
    weights, gradients = draw(np.dtype(np.float64)), draw_gradients(np.dtype(np.float64))
    torch._dynamo.utils.counters.clear()
    last = orbit(row.states(weights, gradients, Hyper(lr=0.1)))[-1]
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1
    assert last.w["scalar"] == weights["scalar"]
    assert not last.m["scalar"].any()
    assert (last.w["vector"] != weights["vector"]).all()


@pytest.mark.parametrize("option", ["fused", "differentiable", "capturable"])
def test_an_option_that_a_release_does_not_know_is_unsupported_in_its_words(
    monkeypatch: pytest.MonkeyPatch, option: str
) -> None:
    """torch before 1.13 and 2.0; the constructor of then, on the optimizer of today."""
    import torch

    class Older(torch.optim.Adam):
        def __init__(self, params, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0, amsgrad=False) -> None:  # type: ignore[no-untyped-def]
            super().__init__(params, lr, betas, eps, weight_decay, amsgrad)

    monkeypatch.setattr(torch.optim, "Adam", Older)
    states = torch_.run(draw(np.dtype(np.float32)), [], Hyper(), **{option: True})
    with pytest.raises(Unsupported, match=rf"^torch .* unexpected keyword argument '{option}'"):
        next(states)


def test_the_cpu_refuses_to_be_captured_and_foreach_an_lr_that_is_a_tensor() -> None:
    weights, gradients = draw(np.dtype(np.float32)), draw_gradients(np.dtype(np.float32))
    with pytest.raises(AssertionError, match="If capturable=True, params and state_steps must be on supported devices"):
        next(torch_.run(weights, gradients, Hyper(), capturable=True))
    with pytest.raises(Unsupported, match="lr as a Tensor is not supported for capturable=False and foreach=True"):
        next(torch_.run(weights, gradients, Hyper(), tensor_lr=True, foreach=True))


SPARSE = shipped_implementations()["torch.adam.sparse"]


@each_dtype
def test_rows_without_a_gradient_stand_still(dtype: np.dtype) -> None:
    """As torch.nn.Embedding(sparse=True) has it; moments of a row that rests do not decay, and t goes on for all."""
    import torch

    weights = {"table": (np.arange(12, dtype=np.float64).reshape(4, 3) / 8).astype(dtype)}
    used = [[0, 2], [2], [0, 2, 3], []]
    gradients: Gradients = []
    for step, rows in enumerate(used, start=1):
        given = np.zeros((4, 3), dtype)
        given[rows] = step / 4
        gradients.append({"table": given})
    states = orbit(SPARSE.states(weights, gradients, Hyper(lr=0.25)))
    before = State(weights, *({"table": np.zeros((4, 3), dtype)} for _ in range(2)))
    for rows, state in zip(used, states, strict=True):
        moved = [bool((state.w["table"][row] != before.w["table"][row]).any()) for row in range(4)]
        assert [row for row in range(4) if moved[row]] == rows
        idle = [row for row in range(4) if row not in rows]
        for quantity in ("m", "v"):
            assert (getattr(state, quantity)["table"][idle] == getattr(before, quantity)["table"][idle]).all()
        before = state

    table = torch.nn.Embedding(4, 3, sparse=True, _weight=tensor_on(weights["table"]).clone())
    optimizer = torch.optim.SparseAdam(table.parameters(), lr=0.25)
    for step, rows in enumerate(used[:3], start=1):
        optimizer.zero_grad()
        (table(torch.tensor(rows)) * (step / 4)).sum().backward()
        optimizer.step()
        assert_same_bits([State({"table": array_of(table.weight)})], [State({"table": states[step - 1].w["table"]})])


@pytest.mark.parametrize(
    ("hyper", "told"),
    [
        (Hyper(weight_decay=0.1, decoupled=True), "SparseAdam has no weight decay"),
        (Hyper(amsgrad=True), "SparseAdam has no AMSGrad"),
        (Hyper(eps=0.0), "Invalid epsilon value: 0.0"),
        (Hyper(lr=0.0), "Invalid learning rate: 0.0"),
    ],
)
def test_sparse_refuses_what_it_has_not(hyper: Hyper, told: str) -> None:
    with pytest.raises(Unsupported, match=told):
        next(SPARSE.states(draw(np.dtype(np.float32)), draw_gradients(np.dtype(np.float32)), hyper))
