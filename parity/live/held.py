"""What a live optimizer holds: weights, moments, counts and hyperparameters, read from any framework and put back."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import ml_dtypes
import numpy as np

from parity.core.errors import UsageError
from parity.core.hyper import Hyper
from parity.core.state import State

READABLE = (
    "torch.optim (Adam, AdamW), keras.optimizers (Adam, AdamW), parity.bridge (KerasAdam, TorchAdam), "
    "a state of optax's Adam"
)

OUTSIDE, HAT = "outside", "hat"

_TORCH = {"m": "exp_avg", "v": "exp_avg_sq", "vmax": "max_exp_avg_sq"}
_KERAS = {"m": "_momentums", "v": "_velocities", "vmax": "_velocity_hats"}
_OPTAX = {"m": "mu", "v": "nu", "vmax": "nu_max"}


@dataclass(frozen=True, slots=True)
class Held:
    """An Adam at one moment, by parameter in its own order.

    framework: torch, keras or optax. kind: its class. epsilon: where it puts it, outside or hat. state: w, m, v, and
    vmax under AMSGrad, copies in their own shapes and dtypes, and the steps of every parameter. hyper: in force for
    every parameter; None where a framework keeps it to itself. own: the parameters, as the framework has them.
    """

    framework: str
    kind: str
    epsilon: str
    state: State
    hyper: Mapping[str, Hyper] | None
    own: Mapping[str, Any]

    @property
    def names(self) -> tuple[str, ...]:
        """Of its parameters, in its own order."""
        return tuple(self.state.w)

    @property
    def steps(self) -> Mapping[str, int]:
        """How many steps every parameter has counted."""
        return self.state.steps or {}

    def named_as(self, other: Held) -> Held:
        """With the names of another, where that has the same shapes in the same order; else as it is."""
        if [one.shape for one in self.state.w.values()] != [one.shape for one in other.state.w.values()]:
            return self

        def named(values: Mapping[str, Any]) -> dict[str, Any]:
            return dict(zip(other.names, values.values(), strict=True))

        state = State(named(self.state.w), *(None if one is None else named(one) for one in self.state[1:]))
        hyper = None if self.hyper is None else named(self.hyper)
        return replace(self, state=state, hyper=hyper, own=named(self.own))


def held_by(optimizer: Any, model: Any = None, hyper: Hyper | None = None) -> Held:
    """Read what an optimizer holds.

    optimizer: of torch or Keras, built; or a state of optax, whose parameters `model` is then. model: who gives the
    parameters their names, or a mapping from names. hyper: of optax, which a state does not tell. UsageError for what
    is no Adam that can be read.
    """
    kinds = [f"{kind.__module__}.{kind.__name__}" for kind in type(optimizer).__mro__]
    if "torch.optim.optimizer.Optimizer" in kinds:
        return _held_by_torch(optimizer, model, kinds)
    if any(kind.startswith("keras.src.optimizers.") for kind in kinds):
        return _held_by_keras(optimizer, model, kinds)
    if "optax" in sys.modules and model is not None and _adam_in(optimizer) is not None:
        return _held_by_optax(optimizer, model, hyper)
    raise UsageError(f"{kinds[0]} is no Adam whose state can be read; allowed: {READABLE}")


def named_parameters(model: Any) -> Iterator[tuple[str, Any]]:
    """Names and parameters of a torch module, or of a mapping; nothing where there is no model."""
    if model is None:
        return iter(())
    return iter(model.items()) if isinstance(model, Mapping) else iter(model.named_parameters())


def _held_by_torch(optimizer: Any, model: Any, kinds: Sequence[str]) -> Held:
    bridged = "parity.live.bridge.torch_.KerasAdam" in kinds
    if not bridged and not {"torch.optim.adam.Adam", "torch.optim.adamw.AdamW"} & set(kinds):
        raise UsageError(f"{kinds[0]} is no Adam whose state can be read; allowed: {READABLE}")
    names = {id(one): name for name, one in named_parameters(model)}
    own: dict[str, Any] = {}
    hyper: dict[str, Hyper] = {}
    steps: dict[str, int] = {}
    for number, group in enumerate(optimizer.param_groups):
        given = group.get("param_names", [f"{number}.{place}" for place in range(len(group["params"]))])
        for name, one in zip(given, group["params"], strict=True):
            name = names.get(id(one), name)
            state = optimizer.state.get(one, {})
            own[name] = one
            steps[name] = group["iterations"] if bridged else int(state.get("step", 0))
            hyper[name] = _hyper_of_group(group, bridged)
    arrays = {"w": {name: numpy_of(one) for name, one in own.items()}}
    for quantity, key in _TORCH.items():
        found = {name: optimizer.state.get(one, {}).get(key) for name, one in own.items()}
        if quantity != "vmax" or any(one.amsgrad for one in hyper.values()):
            arrays[quantity] = {
                name: np.zeros_like(arrays["w"][name]) if one is None else numpy_of(one) for name, one in found.items()
            }
    epsilon = HAT if bridged else OUTSIDE
    return Held("torch", kinds[0], epsilon, State(**arrays, steps=steps), hyper, own)


def _hyper_of_group(group: Mapping[str, Any], bridged: bool) -> Hyper:
    beta1, beta2 = (float(one) for one in group["betas"])
    decay = float(group["weight_decay"])
    decoupled = bool(decay) and (bridged or bool(group.get("decoupled_weight_decay", False)))
    return Hyper(float(group["lr"]), beta1, beta2, float(group["eps"]), decay, decoupled, bool(group["amsgrad"]))


def _held_by_keras(optimizer: Any, model: Any, kinds: Sequence[str]) -> Held:
    bridged = "parity.live.bridge.keras_.TorchAdam" in kinds
    if not bridged and "keras.src.optimizers.adam.Adam" not in kinds:
        raise UsageError(f"{kinds[0]} is no Adam whose state can be read; allowed: {READABLE}")
    variables = (
        list(optimizer._trainable_variables) if optimizer.built else list(getattr(model, "trainable_variables", ()))
    )
    if not variables:
        raise UsageError(f"{kinds[0]} has no variables yet: build it (optimizer.build), or give the model")
    if not optimizer.built:
        optimizer.build(variables)
    names = {id(one): name for name, one in (model.items() if isinstance(model, Mapping) else ())}
    own = {names.get(id(one), one.path): one for one in variables}
    arrays = {"w": {name: numpy_of(one) for name, one in own.items()}}
    for quantity, key in _KERAS.items():
        if hasattr(optimizer, key):
            arrays[quantity] = {name: numpy_of(one) for name, one in zip(own, getattr(optimizer, key), strict=True)}
    counts = optimizer._counts if bridged else [optimizer.iterations] * len(own)
    decay = float(optimizer.weight_decay or 0.0)
    shared = Hyper(float(numpy_of(optimizer.learning_rate)), float(optimizer.beta_1), float(optimizer.beta_2),
                   float(optimizer.epsilon), decay, bool(decay) and (not bridged or optimizer.decoupled_weight_decay),
                   bool(optimizer.amsgrad))  # fmt: skip
    hyper = {
        name: shared if not decay or optimizer._use_weight_decay(one) else replace(shared, weight_decay=0.0)
        for name, one in own.items()
    }
    steps = {name: int(numpy_of(one)) for name, one in zip(own, counts, strict=True)}
    epsilon = OUTSIDE if bridged else HAT
    return Held("keras", kinds[0], epsilon, State(**arrays, steps=steps), hyper, own)


def _held_by_optax(state: Any, parameters: Any, hyper: Hyper | None) -> Held:
    import jax

    paths, _ = jax.tree_util.tree_flatten_with_path(parameters)
    names = [_name(path) for path, _ in paths]
    adam = _adam_in(state)
    arrays = {"w": dict(zip(names, (numpy_of(leaf) for _, leaf in paths), strict=True))}
    for quantity, key in _OPTAX.items():
        if hasattr(adam, key):
            arrays[quantity] = {
                name: numpy_of(one) for name, one in zip(names, jax.tree.leaves(getattr(adam, key)), strict=True)
            }
    steps = dict.fromkeys(names, int(adam.count))
    told = None if hyper is None else dict.fromkeys(names, hyper)
    return Held("optax", "optax.adam", OUTSIDE, State(**arrays, steps=steps), told, {name: name for name in names})


def _name(path: Any) -> str:
    return "/".join(str(getattr(part, "key", getattr(part, "idx", getattr(part, "name", part)))) for part in path)


def _adam_in(state: Any) -> Any:
    """The part of an optax state that keeps the moments, wherever in a chain it stands; None where there is none."""
    if hasattr(state, "mu") and hasattr(state, "nu"):
        return state
    if hasattr(state, "inner_state"):
        return _adam_in(state.inner_state)
    parts = state if isinstance(state, tuple) else ()
    return next((found for found in map(_adam_in, parts) if found is not None), None)


def numpy_of(tensor: Any) -> np.ndarray:
    """A copy of a tensor, variable or array of any framework, in its own dtype, from any device."""
    if type(tensor).__module__.startswith("torch"):
        import torch

        whole = tensor.detach().cpu()
        if whole.dtype == torch.bfloat16:
            return np.array(whole.view(torch.int16).numpy().view(ml_dtypes.bfloat16))
        return np.array(whole.numpy())
    if hasattr(tensor, "value") and not callable(tensor.value):
        return numpy_of(tensor.value)
    return np.array(tensor.numpy() if hasattr(tensor, "numpy") else tensor)


def put_into_torch(optimizer: Any, held: Held, state: State, hyper: Mapping[str, Hyper]) -> None:
    """Put weights, moments, steps and hyperparameters under a torch Adam; names are those of `held`."""
    import torch

    bridged = held.epsilon is HAT
    names = {id(one): name for name, one in held.own.items()}

    def like(array: np.ndarray, parameter: Any) -> Any:
        array = np.ascontiguousarray(array)
        narrow = array.dtype == ml_dtypes.bfloat16
        made = torch.from_numpy(array.view(np.int16) if narrow else array)
        return (made.view(torch.bfloat16) if narrow else made).to(parameter.device)

    for group in optimizer.param_groups:
        own = hyper[names[id(group["params"][0])]]
        group["lr"] = torch.full_like(group["lr"], own.lr) if torch.is_tensor(group["lr"]) else own.lr
        group["betas"], group["eps"] = (own.beta1, own.beta2), own.eps
        group["weight_decay"] = own.weight_decay
        if "decoupled_weight_decay" in group:
            group["decoupled_weight_decay"] = own.decoupled
        for one in group["params"]:
            name = names[id(one)]
            with torch.no_grad():
                one.copy_(like(state.w[name], one))
            steps = (state.steps or {})[name]
            if bridged:
                group["iterations"] = steps
            moments = {
                key: like(arrays[name], one)
                for quantity, key in _TORCH.items()
                if (arrays := getattr(state, quantity)) is not None
            }
            where = {"device": one.device} if group.get("fused") or group.get("capturable") else {}
            optimizer.state[one] = moments if bridged else {"step": torch.tensor(float(steps), **where), **moments}


def put_into_keras(optimizer: Any, held: Held, state: State, hyper: Mapping[str, Hyper]) -> None:
    """Put weights, moments, steps and hyperparameters under a Keras Adam; names are those of `held`."""
    first = next(iter(hyper.values()))
    if not callable(getattr(optimizer, "_learning_rate", None)):
        optimizer.learning_rate = first.lr
    optimizer.beta_1, optimizer.beta_2, optimizer.epsilon = first.beta1, first.beta2, first.eps
    optimizer.weight_decay = first.weight_decay or None
    if held.epsilon is OUTSIDE:
        optimizer.decoupled_weight_decay = first.decoupled
        for name, count in zip(held.own, optimizer._counts, strict=True):
            count.assign((state.steps or {})[name])
    optimizer.iterations.assign(max((state.steps or {}).values()))
    for name, variable in held.own.items():
        variable.assign(state.w[name])
    for quantity, key in _KERAS.items():
        arrays = getattr(state, quantity)
        if arrays is not None:
            for name, variable in zip(held.own, getattr(optimizer, key), strict=True):
                variable.assign(arrays[name])


def put_into_optax(optimizer_state: Any, parameters: Any, held: Held, state: State) -> tuple[Any, Any]:
    """New parameters and a new state of optax: every count in it is that of the state, schedules go on."""
    import jax
    import jax.numpy

    leaves, tree = jax.tree.flatten(parameters)

    def grown(arrays: Mapping[str, np.ndarray], like: Sequence[Any]) -> Any:
        return [jax.numpy.asarray(arrays[name], one.dtype) for name, one in zip(held.names, like, strict=True)]

    steps = max((state.steps or {}).values())

    def put(part: Any) -> Any:
        if isinstance(part, dict):
            return {name: put(one) for name, one in part.items()}
        if not isinstance(part, tuple):
            return part
        if not hasattr(part, "_fields"):
            return tuple(put(one) for one in part)
        fields = {name: put(getattr(part, name)) for name in part._fields}
        if "count" in fields:
            fields["count"] = jax.numpy.asarray(steps, fields["count"].dtype)
        for quantity, key in _OPTAX.items():
            if key in fields:
                moments, inner = jax.tree.flatten(getattr(part, key))
                fields[key] = jax.tree.unflatten(inner, grown(getattr(state, quantity), moments))
        return type(part)(**fields)

    return jax.tree.unflatten(tree, grown(state.w, leaves)), put(optimizer_state)
