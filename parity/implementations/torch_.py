"""torch.optim.Adam and AdamW on the CPU: the for-loop, the foreach and the fused variant."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from types import MappingProxyType
from typing import Any

import ml_dtypes
import numpy as np

from parity.core.errors import Unsupported
from parity.core.hyper import Hyper
from parity.core.state import State
from parity.implementations.implementation import WHOLE, Gradients, Implementation, Leg

CHECKPOINT = "checkpoint.pt"


def run(
    weights: dict[str, np.ndarray],
    gradients: Gradients,
    hyper: Hyper,
    start: State | None = None,
    leg: Leg = WHOLE,
    *,
    foreach: bool | None = None,
    fused: bool | None = None,
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
    `load_state_dict`.
    Raises Unsupported, before the first state, with torch's own words for what it rejects.
    Source: torch/optim/adam.py, torch/optim/adamw.py, aten/src/ATen/native/cpu/FusedAdamKernel.cpp,
    torch 2.13.
    Differs from: Keras, in the place of eps (Kingma & Ba, Algorithm 1, here) and in counting t per
    parameter.
    """
    import torch

    # clone() moves the weights into torch's own allocation: in place steps never reach the input.
    parameters = {name: _tensor(array).clone().requires_grad_() for name, array in weights.items()}
    decoupled = hyper.decoupled and hyper.weight_decay != 0
    try:
        optimizer = (torch.optim.AdamW if decoupled else torch.optim.Adam)(
            parameters.values(),
            lr=hyper.lr_at(1),
            betas=hyper.betas_at(leg.first),
            eps=hyper.eps,
            weight_decay=hyper.weight_decay,
            amsgrad=hyper.amsgrad,
            foreach=foreach,
            fused=fused,
        )
    except (ValueError, RuntimeError) as error:
        raise Unsupported(f"torch {torch.__version__}: {error}") from error

    if start is not None:
        _begin(optimizer, parameters, start)
    if leg.load is not None:
        kept = torch.load(leg.load / CHECKPOINT, weights_only=True)
        optimizer.load_state_dict(kept["optimizer"])
        with torch.no_grad():
            for name, parameter in parameters.items():
                parameter.copy_(kept["parameters"][name])

    def moments(key: str) -> dict[str, np.ndarray]:
        return {
            name: _array(optimizer.state[parameter][key])
            if parameter in optimizer.state
            else np.zeros(weights[name].shape, weights[name].dtype)
            for name, parameter in parameters.items()
        }

    for step, gradient in enumerate(gradients, start=leg.first):
        for name, parameter in parameters.items():
            array = gradient[name]
            parameter.grad = None if array is None else _tensor(array)
        for group in optimizer.param_groups:
            group["lr"] = hyper.lr_at(step)
            if hyper.betas_change:
                group["betas"] = hyper.betas_at(step)
        optimizer.step()
        yield State(
            w={name: _array(parameter) for name, parameter in parameters.items()},
            m=moments("exp_avg"),
            v=moments("exp_avg_sq"),
            vmax=moments("max_exp_avg_sq") if hyper.amsgrad else None,
        )
    if leg.save is not None:
        held = {name: parameter.detach() for name, parameter in parameters.items()}
        torch.save({"parameters": held, "optimizer": optimizer.state_dict()}, leg.save / CHECKPOINT)


def _begin(optimizer: Any, parameters: dict[str, Any], start: State) -> None:
    import torch

    kept = {"exp_avg": start.m, "exp_avg_sq": start.v, "max_exp_avg_sq": start.vmax}
    for name, parameter in parameters.items():
        t = (start.steps or {}).get(name, 0)
        moments = {key: _tensor(arrays[name]).clone() for key, arrays in kept.items() if arrays is not None}
        optimizer.state[parameter] = {"step": torch.tensor(float(t)), **moments}


def square_root(values: np.ndarray) -> np.ndarray:
    """torch.sqrt on the CPU: any shape, one of the four formats, which the result has too.

    Differs from: IEEE 754, by one ULP at most: float32 and float64 come from a vector library.
    Source: aten/src/ATen/native/cpu/UnaryOpsKernel.cpp, torch 2.13.
    """
    import torch

    return _array(torch.sqrt(_tensor(values)))


def _tensor(array: np.ndarray) -> Any:
    """A tensor on the memory of a C-contiguous array, read-only ones too; whoever gets it must not write."""
    import torch

    array = np.asarray(array, order="C")
    bfloat16 = array.dtype == ml_dtypes.bfloat16
    with warnings.catch_warnings():
        # Adam never writes to a gradient, and weights are cloned.
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        tensor = torch.from_numpy(array.view(np.int16) if bfloat16 else array)
    return tensor.view(torch.bfloat16) if bfloat16 else tensor


def _array(tensor: Any) -> np.ndarray:
    """A tensor as a NumPy array on the same memory."""
    import torch

    tensor = tensor.detach()
    array: np.ndarray
    if tensor.dtype == torch.bfloat16:
        array = tensor.view(torch.int16).numpy().view(ml_dtypes.bfloat16)
    else:
        array = tensor.numpy()
    return array


def _load() -> None:
    # The first optimizer imports it, which takes as long as torch itself.
    import torch._dynamo  # noqa: F401


def _variant(name: str, **options: bool) -> Implementation:
    return Implementation(
        name=f"torch.adam.{name}",
        run=run,
        framework="torch",
        needs=("torch",),
        options=MappingProxyType(options),
        convention="outside",
        defaults=Hyper(eps=1e-8),
        square_root=square_root,
        representative=name == "forloop",
        load=_load,
    )


IMPLEMENTATIONS: tuple[Implementation, ...] = (
    _variant("forloop", foreach=False, fused=False),
    _variant("foreach", foreach=True, fused=False),
    _variant("fused", foreach=False, fused=True),
)
