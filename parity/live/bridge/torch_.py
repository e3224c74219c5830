"""Keras's Adam as a torch optimizer."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
import torch


class KerasAdam(torch.optim.Optimizer):  # type: ignore[misc]
    """A torch optimizer that takes the steps of keras.optimizers.Adam.

    Per parameter w with gradient g, t counting the steps of the optimizer, not those of w::

        w = w - w * weight_decay * lr                       decoupled, first
        alpha = lr * sqrt(1 - beta2**t) / (1 - beta1**t)
        m = m + (g - m) * (1 - beta1)                       exp_avg
        v = v + (g * g - v) * (1 - beta2)                   exp_avg_sq
        vmax = max(vmax, v)                                 max_exp_avg_sq, AMSGrad
        w = w - m * alpha / (sqrt(v) + eps)

    params: float32 or float64, any shape. lr, betas, eps, weight_decay, amsgrad: per group, as in
    torch; the defaults are those of Keras. Every operation rounds as in eager Keras on TensorFlow, so
    that w, m and v have the same bits on a CPU, but for subnormal numbers, which TensorFlow flushes:
    lr, weight_decay and the betas of alpha are float32 numbers, in float64 too. A parameter without
    a gradient keeps w (no decay), m and v while t goes on; a step in which none has one, which Keras
    refuses, does nothing. t is `iterations` of every group and travels in `state_dict`.
    Source: keras/src/optimizers/adam.py, Keras 3.15.1.
    Differs from: torch.optim.Adam, in the place of eps, in t, in weight decay (L2 there).
    """

    def __init__(
        self,
        params: Any,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-7,
        weight_decay: float = 0.0,
        amsgrad: bool = False,
    ) -> None:
        for name, value in (("lr", lr), ("eps", eps), ("weight_decay", weight_decay)):
            if not value >= 0:
                raise ValueError(f"KerasAdam: {name} is {value}; allowed: 0 or more")
        for beta in betas:
            if not 0 <= beta < 1:
                raise ValueError(f"KerasAdam: betas are {betas}; allowed: from 0 to less than 1")
        defaults = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "amsgrad": amsgrad}
        super().__init__(params, {**defaults, "iterations": 0})

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Take one step; the loss of `closure` where one is given."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        parameters = [(group, w) for group in self.param_groups for w in group["params"] if w.grad is not None]
        if parameters:
            # A group that was added later counts from 0 until here.
            iterations = max(group["iterations"] for group in self.param_groups) + 1
            for group in self.param_groups:
                group["iterations"] = iterations
            for _, w in parameters:
                _check(w)
            for group, w in parameters:
                _update(w, self.state[w], group)
        return loss


def _check(w: torch.Tensor) -> None:
    if w.dtype not in (torch.float32, torch.float64):
        raise RuntimeError(f"KerasAdam: a parameter is {w.dtype}; allowed: torch.float32, torch.float64")
    if w.grad.layout is not torch.strided:
        raise RuntimeError("KerasAdam: a gradient is sparse; make it dense, e.g. by Embedding(sparse=False)")


def _update(w: torch.Tensor, state: dict[str, torch.Tensor], group: dict[str, Any]) -> None:
    for quantity in ("exp_avg", "exp_avg_sq", *(("max_exp_avg_sq",) if group["amsgrad"] else ())):
        if quantity not in state:
            state[quantity] = torch.zeros_like(w, memory_format=torch.preserve_format)
    m, v, g = state["exp_avg"], state["exp_avg_sq"], w.grad
    lr, (beta1, beta2) = float(group["lr"]), group["betas"]
    if group["weight_decay"] != 0:
        w.sub_(w * _float32(group["weight_decay"]) * _float32(lr))
    # Not lerp_, addcmul_ or add_(alpha=...): they may contract to a fused multiply-add.
    m.add_((g - m).mul_(1 - beta1))
    v.add_((g * g).sub_(v).mul_(1 - beta2))
    if group["amsgrad"]:
        v = torch.maximum(state["max_exp_avg_sq"], v, out=state["max_exp_avg_sq"])
    w.sub_((m * _alpha(group["iterations"], lr, beta1, beta2, w.dtype)).div_(_root(v).add_(group["eps"])))


def _root(v: torch.Tensor) -> torch.Tensor:
    """sqrt(v), correctly rounded; torch's own is off by one ULP for some numbers on a CPU."""
    if v.device.type != "cpu":
        return torch.sqrt(v)
    root = torch.empty_like(v)
    np.sqrt(v.numpy(), out=root.numpy())
    return root


@lru_cache(maxsize=8)
def _alpha(iterations: int, lr: float, beta1: float, beta2: float, dtype: torch.dtype) -> float:
    """lr * sqrt(1 - beta2^t) / (1 - beta1^t) as Keras forms it: of float32 numbers, in the dtype of w."""

    def complement(beta: float) -> torch.Tensor:
        # A 0-d power is libm's, as TensorFlow's is; that of a longer tensor is not.
        return 1 - torch.tensor(_float32(beta), dtype=dtype) ** torch.tensor(iterations, dtype=dtype)

    # Rounded to double and then to float32 is rounded to float32 at once: 53 bits are enough for a root.
    root = torch.tensor(math.sqrt(complement(beta2).item()), dtype=dtype)
    alpha: float = (_float32(lr) * root / complement(beta1)).item()
    return alpha


def _float32(number: float) -> float:
    return float(torch.tensor(number, dtype=torch.float32))
