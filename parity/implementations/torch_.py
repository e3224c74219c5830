"""torch.optim.Adam and AdamW on the CPU: for-loop, foreach, fused, differentiable, lr as a tensor, and compiled."""

from __future__ import annotations

import inspect
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from parity.core.errors import Unsupported
from parity.core.hyper import Hyper
from parity.core.stages import NO_STAGES, Stages
from parity.core.state import State
from parity.implementations.implementation import WHOLE, Gradients, Implementation, Leg
from parity.implementations.torch_around import Around
from parity.implementations.torch_memory import array_of, rows_on, square_root, tensor_on

CHECKPOINT = "checkpoint.pt"

MOMENTS = {"m": "exp_avg", "v": "exp_avg_sq", "vmax": "max_exp_avg_sq"}
"""What the state of a parameter calls them."""


def run(
    weights: dict[str, np.ndarray],
    gradients: Gradients,
    hyper: Hyper,
    start: State | None = None,
    leg: Leg = WHOLE,
    stages: Stages = NO_STAGES,
    *,
    adamw: bool = False,
    tensor_lr: bool = False,
    compiled: bool = False,
    **options: bool,
) -> Iterator[State]:
    """The orbit of torch.optim.Adam, or of AdamW where the weight decay is decoupled.

    Per parameter w with gradient g, and t counting only the steps in which it had one::

        decoupled:  w = w * (1 - lr * weight_decay)         L2:  g = g + weight_decay * w
        m = m + (1 - beta1) * (g - m)                       exp_avg
        v = beta2 * v + (1 - beta2) * g * g                 exp_avg_sq
        vmax = max(vmax, v)                                 max_exp_avg_sq, AMSGrad, before the correction
        w = w - lr / (1 - beta1**t) * m / (sqrt(v) / sqrt(1 - beta2**t) + eps)

    weights, states: float64, float32, float16 or bfloat16, any shape; states are live views. lr is
    set in `param_groups` before every step, as LR schedulers do, and betas where they change, as
    OneCycleLR does. A parameter whose gradient is None keeps w (no decay), m, v and its t; torch
    creates m and v at the first gradient, until then they are shown as zeros. start: is put into
    `optimizer.state`. leg: parameters and `optimizer.state_dict()` by `torch.save`, `torch.load` and
    `load_state_dict`. adamw: AdamW, whatever the decay; there is no L2 in it. options: of the optimizer.
    differentiable: beta**t, its complement and its root are float32 tensors, as are ``1 / (1 - beta1**t) * lr`` and eps
    over that, which are put into the denominator; without a graph, as nothing here requires one. tensor_lr: lr is a
    float32 tensor, which is filled anew before every step, as LR schedulers do. compiled: by torch.compile, once for
    each set of tensors that have a gradient; it needs a C++ compiler, and lr and betas that stay what they are. A
    float64 parameter of shape () stands still there: torch 2.13 drops what is done to such a tensor in place.
    Masters: the optimizer has float32 parameters, whose gradients are those of the model in float32, and the weights of
    the model are copied from them after every step.
    Raises Unsupported, before the first state, with torch's own words for what it rejects.
    Source: torch/optim/adam.py, torch/optim/adamw.py, aten/src/ATen/native/cpu/FusedAdamKernel.cpp,
    torch 2.13.
    Differs from: Keras, in the place of eps (Kingma & Ba, Algorithm 1, here) and in counting t per
    parameter.
    """
    import torch

    # clone() moves the weights into torch's own allocation: in place steps never reach the input.
    graph = not options.get("differentiable", False)
    parameters = {name: leaf(array, stages).requires_grad_(graph) for name, array in weights.items()}
    groups = grouped(parameters, hyper, leg.first)
    decays = any(group["weight_decay"] for group in groups)
    if adamw and decays and not hyper.decoupled:
        raise Unsupported("torch.optim.AdamW: its weight decay is decoupled, it has no L2")
    if stages.maximize:
        options["maximize"] = True
    lr: Any = hyper.lr_at(1)
    if tensor_lr:
        lr = torch.tensor(lr)
        groups = [{**group, "lr": torch.tensor(group["lr"])} for group in groups]
    made = torch.optim.AdamW if adamw or (hyper.decoupled and decays) else torch.optim.Adam
    # What an older release does not know it does not do.
    known = inspect.signature(made).parameters
    options = {name: asked for name, asked in options.items() if asked or name in known}
    try:
        optimizer = made(
            groups,
            lr,
            hyper.betas_at(leg.first),
            hyper.eps,
            hyper.weight_decay,
            hyper.amsgrad,
            **options,
        )
    # What stands in groups is not looked at; an older release has a TypeError for options that it does not know.
    except (ValueError, RuntimeError, TypeError) as error:
        raise Unsupported(f"torch {torch.__version__}: {error}") from error
    if compiled:
        _compile(optimizer, hyper)
    kept = _kept(MOMENTS, hyper.amsgrad)
    yield from orbit(optimizer, parameters, gradients, hyper, start, leg, kept, stages, like=weights)


def orbit(
    optimizer: Any,
    parameters: Mapping[str, Any],
    gradients: Gradients,
    hyper: Hyper,
    start: State | None,
    leg: Leg,
    keys: Mapping[str, str],
    stages: Stages = NO_STAGES,
    *,
    copies: bool = False,
    rows: bool = False,
    like: Mapping[str, np.ndarray] | None = None,
) -> Iterator[State]:
    """The states of an optimizer over gradients.

    keys: under which name the state has m, v and vmax. copies: the optimizer may write to its gradients. like: weights
    of the model, which are copies of the parameters where those are masters, and whose gradients are in their dtype.

    rows: whether all gradients are sparse tensors of the rows that are not 0 throughout; else those that the stages ask
    for.
    """
    import torch

    around = Around(optimizer, list(parameters.values()), stages)
    if start is not None:
        _begin(optimizer, parameters, start)
    if leg.load is not None:
        kept = torch.load(leg.load / CHECKPOINT, weights_only=True)
        optimizer.load_state_dict(kept["optimizer"])
        around.load(kept["around"])
        with torch.no_grad():
            for name, parameter in parameters.items():
                parameter.copy_(kept["parameters"][name])

    def moments(quantity: str) -> dict[str, np.ndarray] | None:
        if quantity not in keys:
            return None
        return {
            name: array_of(optimizer.state[parameter][keys[quantity]])
            if keys[quantity] in optimizer.state.get(parameter, ())
            else np.zeros(parameter.shape, array_of(parameter).dtype)
            for name, parameter in parameters.items()
        }

    masters = stages.state is not None and like is not None
    halves = {name: tensor_on(array).clone() for name, array in like.items()} if masters and like else {}
    owns = list(by_group(parameters, hyper))
    for step, gradient in enumerate(gradients, start=leg.first):
        given = [
            None if (array := gradient[name]) is None
            else rows_on(array) if rows or name in stages.rows
            else tensor_on(array)
            for name in parameters
        ]  # fmt: skip
        if masters:
            given = [None if one is None else one.float() for one in given]
        around.give(step, [one.clone() if copies and one is not None else one for one in given])
        for group, own in zip(optimizer.param_groups, owns, strict=True):
            if stages.schedule is None and torch.is_tensor(group["lr"]):
                group["lr"].fill_(own.lr_at(step))
            elif stages.schedule is None:
                group["lr"] = own.lr_at(step)
            if isinstance(own.beta1, tuple) or isinstance(own.beta2, tuple):
                group["betas"] = own.betas_at(step)
        around.step(step)
        with torch.no_grad():
            for name, half in halves.items():
                half.copy_(parameters[name])
        w = {name: array_of(halves.get(name, parameter)) for name, parameter in parameters.items()}
        averages = around.average
        average = None if averages is None else dict(zip(w, map(array_of, averages), strict=True))
        yield State(w, moments("m"), moments("v"), moments("vmax"), average=average)
    if leg.save is not None:
        held = {name: parameter.detach() for name, parameter in parameters.items()}
        kept = {"parameters": held, "optimizer": optimizer.state_dict(), "around": around.kept()}
        torch.save(kept, leg.save / CHECKPOINT)


def _compile(optimizer: Any, hyper: Hyper) -> None:
    """Put torch.compile around the optimizer's step; Unsupported where that cannot be, or would be done at every step.

    Of all that was compiled before in this process nothing is kept: after eight times torch gives up without a word.
    """
    import torch

    if not hasattr(torch, "compile"):
        raise Unsupported(f"torch {torch.__version__}: it has no torch.compile")
    compiler = os.environ.get("CXX", "g++")
    if shutil.which(compiler) is None:
        raise Unsupported(f"torch.compile needs a C++ compiler, and there is no {compiler!r} here")
    if hyper.lr_changes or hyper.betas_change:
        raise Unsupported("torch.compile: an lr or betas that change would be compiled anew at every step")
    torch._dynamo.reset()
    optimizer.step = torch.compile(optimizer.step)


def by_group(parameters: Mapping[str, Any], hyper: Hyper) -> dict[Hyper, list[Any]]:
    """Parameters that have the same hyperparameters, together."""
    found: dict[Hyper, list[Any]] = {}
    for name, parameter in parameters.items():
        found.setdefault(hyper.of(name), []).append(parameter)
    return found


def grouped(parameters: Mapping[str, Any], hyper: Hyper, step: int) -> list[dict[str, Any]]:
    """The parameter groups of an optimizer, with what is in force at a step."""
    return [
        {"params": held, "lr": own.lr if own.stages.schedule else own.lr_at(step), "betas": own.betas_at(step),
         "eps": own.eps, "weight_decay": own.weight_decay}
        for own, held in by_group(parameters, hyper).items()
    ]  # fmt: skip


def _kept(keys: Mapping[str, str], amsgrad: bool) -> dict[str, str]:
    return {quantity: key for quantity, key in keys.items() if amsgrad or quantity != "vmax"}


def wrapped(make: Callable[[list[Any]], Any], name: str) -> Implementation:
    """Any torch optimizer as an implementation: ``make(parameters)`` builds it, and parity sets the numbers.

    lr, betas, eps, weight_decay and amsgrad are put into its groups; what is asked for and has no place there, or would
    be decay of the other kind, is Unsupported. It may write to its gradients. m, v and vmax are shown where its state
    has exp_avg, exp_avg_sq and max_exp_avg_sq; its own numbers are its defaults.
    """
    import torch

    probe = torch.nn.Parameter(torch.ones(1))
    try:
        optimizer = make([probe])
    except ValueError:
        # Muon takes matrices only.
        probe = torch.nn.Parameter(torch.ones(1, 1))
        optimizer = make([probe])
    own = optimizer.param_groups[0]
    probe.grad = torch.ones_like(probe)
    optimizer.step()
    kept = optimizer.state.get(probe, {})
    state = {key for key, one in kept.items() if torch.is_tensor(one) and one.shape == probe.shape}
    keys = {quantity: key for quantity, key in MOMENTS.items() if key in state}
    beta1, beta2 = own.get("betas", (0.9, 0.999))
    eps = own.get("eps", 1e-8)
    defaults = Hyper(float(own["lr"]), float(beta1), float(beta2), float(eps) if _is_one(eps) else 1e-8,
                     float(own.get("weight_decay", 0.0)))  # fmt: skip
    return Implementation(
        name,
        _run_wrapped,
        needs=("torch",),
        options=MappingProxyType({"make": make, "keys": {**keys, "vmax": MOMENTS["vmax"]} if keys else keys}),
        defaults=defaults,
        square_root=square_root,
    )


def _is_one(value: object) -> bool:
    """Whether it is one number."""
    return isinstance(value, int | float)


def _run_wrapped(
    weights: dict[str, np.ndarray],
    gradients: Gradients,
    hyper: Hyper,
    start: State | None = None,
    leg: Leg = WHOLE,
    stages: Stages = NO_STAGES,
    *,
    make: Callable[[list[Any]], Any],
    keys: Mapping[str, str],
) -> Iterator[State]:
    parameters = {name: leaf(array, stages).requires_grad_() for name, array in weights.items()}
    owns = by_group(parameters, hyper)
    optimizer = make([{"params": held} for held in owns.values()] if hyper.groups else list(parameters.values()))
    for group, own in zip(optimizer.param_groups, owns, strict=True):
        asked = {"eps": own.eps, "weight_decay": own.weight_decay, "amsgrad": own.amsgrad}
        # Adafactor has a pair under the name of eps.
        taken = {key for key in asked if _is_one(group.get(key))}
        for key, value in asked.items():
            if key not in taken and value != getattr(Hyper(), key):
                raise Unsupported(f"{type(optimizer).__name__} has no {key} in its groups")
        if "betas" not in group and own.betas_at(1) != (0.9, 0.999):
            raise Unsupported(f"{type(optimizer).__name__} has no betas in its groups")
        if own.weight_decay and bool(group.get("decoupled_weight_decay", hyper.decoupled)) != hyper.decoupled:
            kind = "decoupled" if hyper.decoupled else "L2"
            raise Unsupported(f"{type(optimizer).__name__} has no {kind} weight decay")
        group.update({key: value for key, value in asked.items() if key in taken})
        if "betas" in group:
            group["betas"] = own.betas_at(leg.first)
    if stages.maximize:
        raise Unsupported("maximize: what the optimizer is made with cannot be changed; make it with maximize=True")
    kept = _kept(keys, hyper.amsgrad)
    yield from orbit(optimizer, parameters, gradients, hyper, start, leg, kept, stages, copies=True, like=weights)


def leaf(array: np.ndarray, stages: Stages) -> Any:
    """A parameter of the optimizer: a copy, in float32 where it is the master of one in half precision."""
    if stages.state is None:
        return tensor_on(array).clone()
    if not stages.state.master:
        raise Unsupported("torch.optim: moments have the dtype of their parameter; wider ones come with masters alone")
    return tensor_on(array).float()


def _begin(optimizer: Any, parameters: Mapping[str, Any], start: State) -> None:
    import torch

    kept = {"exp_avg": start.m, "exp_avg_sq": start.v, "max_exp_avg_sq": start.vmax}
    for name, parameter in parameters.items():
        t = (start.steps or {}).get(name, 0)
        moments = {key: tensor_on(arrays[name]).clone() for key, arrays in kept.items() if arrays is not None}
        count = t if isinstance(optimizer, torch.optim.SparseAdam) else torch.tensor(float(t))
        optimizer.state[parameter] = {"step": count, **moments}


def load() -> None:
    import torch

    # The first optimizer imports it, which takes as long as torch itself; torch 1.13 has none.
    if hasattr(torch, "compile"):
        import torch._dynamo


def _variant(name: str, **options: bool) -> Implementation:
    return Implementation(
        name=f"torch.{name}",
        run=run,
        framework="torch",
        needs=("torch",),
        options=MappingProxyType(options),
        convention="outside",
        defaults=Hyper(eps=1e-8, weight_decay=0.01, decoupled=True) if "adamw" in options else Hyper(eps=1e-8),
        square_root=square_root,
        representative=name == "adam.forloop",
        load=load,
    )


IMPLEMENTATIONS: tuple[Implementation, ...] = (
    _variant("adam.forloop", foreach=False, fused=False),
    _variant("adam.foreach", foreach=True, fused=False),
    _variant("adam.fused", foreach=False, fused=True),
    _variant("adam.differentiable", differentiable=True),
    _variant("adam.tensor_lr", tensor_lr=True),
    _variant("adam.tensor_lr.fused", tensor_lr=True, fused=True),
    _variant("adam.compiled", compiled=True),
    _variant("adamw.forloop", adamw=True, foreach=False, fused=False),
    _variant("adamw.foreach", adamw=True, foreach=True, fused=False),
    _variant("adamw.fused", adamw=True, foreach=False, fused=True),
)
