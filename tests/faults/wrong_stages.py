"""Stages of `exchangeable_adam.Adam` that are not right, and what they are built of."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from parity import Hyper

sys.path.append(str(Path(__file__).parent))
from exchangeable_adam import Tensor, moved

BFLOAT16 = ml_dtypes.bfloat16

Stage = Callable[[Tensor], np.ndarray]
Change = Callable[[Tensor], None]


def near(x: np.ndarray, dtype: Any) -> np.ndarray:
    """Numbers as another dtype would keep them."""
    return x.astype(dtype).astype(x.dtype)


def rate(hyper: Hyper, change: Callable[[float], float]) -> Hyper:
    """Hyperparameters with another step size."""
    return replace(hyper, lr=tuple(map(change, hyper.lr)) if isinstance(hyper.lr, tuple) else change(hyper.lr))


def rounded_betas(hyper: Hyper, dtype: Any) -> Hyper:
    """Hyperparameters with betas as a dtype would keep them."""
    return replace(hyper, beta1=float(dtype(hyper.beta1)), beta2=float(dtype(hyper.beta2)))


def product(beta: float, t: int, dtype: Any) -> float:
    """beta^t by repeated multiplication in a dtype."""
    power = dtype(1)
    for _ in range(t):
        power = power * dtype(beta)
    return float(power)


def eps(s: Tensor) -> Any:
    """eps in the dtype."""
    return s.real(s.hyper.eps)


def divided(s: Tensor, m_hat: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """``lr * m_hat / denominator``."""
    return s.real(s.lr) * m_hat / denominator


def nesterov(s: Tensor) -> np.ndarray:
    """m_hat of NAdam (Dozat 2016), with a constant beta1."""
    ahead = s.real(s.hyper.beta1) * s.m / s.real(1 - s.hyper.beta1 ** (s.t + 1))
    return ahead + s.real(s.d1) * s.g / s.real(s.c1)


def maximum_of_corrected(s: Tensor) -> np.ndarray:
    """AMSGrad that stores the maximum of v_hat."""
    v_hat = s.v / s.real(s.c2)
    if s.hyper.amsgrad:
        s.vmax = v_hat = np.maximum(s.vmax, v_hat)
    return v_hat


def maximum_forgotten(s: Tensor) -> np.ndarray:
    """AMSGrad that never stores its maximum."""
    return (np.maximum(s.vmax, s.v) if s.hyper.amsgrad else s.v) / s.real(s.c2)


def decayed(factor: Callable[[Tensor], float]) -> Callable[..., np.ndarray]:
    """Decoupled decay by another factor."""
    return lambda s, change: (s.w * s.real(factor(s)) if s.shrink != 1 else s.w) - change


def standing(where: Callable[[Tensor], Any]) -> Callable[..., np.ndarray]:
    """Weights that move only where a mask is false."""
    return lambda s, change: np.where(where(s), s.w, moved(s, change))


def rows_without_gradient(s: Tensor) -> np.ndarray:
    """Mask (size,): elements of rows (first axis) whose gradient is all zero."""
    g = s.g.reshape(s.shape or (1,))
    empty = (g == 0).all(axis=tuple(range(1, g.ndim)), keepdims=True)
    return np.broadcast_to(empty, g.shape).reshape(-1)


def rows_keep(quantity: str, stage: Stage) -> Stage:
    """A moment that waits in rows without gradient."""
    return lambda s: np.where(rows_without_gradient(s), getattr(s, quantity), stage(s))


def clipped(g: np.ndarray) -> np.ndarray:
    """Every element in [-1, 1]."""
    return np.clip(g, g.dtype.type(-1), g.dtype.type(1))


def clipped_norm(g: np.ndarray) -> np.ndarray:
    """A Euclidean norm of at most 1."""
    norm = float(np.sqrt(np.sum(np.square(g.astype(np.float64)))))
    return g / g.dtype.type(norm) if norm > 1 else g


def before(quantity: str) -> Stage:
    """What this stage was given at the step before; zero at the first."""

    def stage(s: Tensor) -> np.ndarray:
        now = getattr(s, quantity)
        last, s.notes[quantity] = s.notes.get(quantity, np.zeros_like(now)), now
        return last

    return stage


def keep(**changes: Stage) -> Change:
    """Store other arrays than those computed."""

    def store(s: Tensor) -> None:
        for name, change in changes.items():
            setattr(s, name, change(s))

    return store


def at_step(step: int, change: Change) -> Change:
    """A change to what is stored at one step only, as at a resume."""
    return lambda s: change(s) if s.step == step else None


def exchange_twins(tensors: list[Tensor]) -> None:
    """At step 8 exchange the moments of the first two parameters that have one shape."""
    twins = [(a, b) for a in tensors for b in tensors if a.place < b.place and a.shape == b.shape]
    for a, b in twins[:1]:
        if a.step == 8:
            a.m, b.m, a.v, b.v = b.m, a.m, b.v, a.v


def flushed(x: np.ndarray) -> np.ndarray:
    """Zero where a number is subnormal in float32."""
    return np.where(np.abs(x.astype(np.float64)) < float(np.finfo(np.float32).tiny), np.zeros_like(x), x)


def noisy(s: Tensor) -> None:
    """Flip the last bit of one weight in sixteen, chosen by the operating system."""
    chosen = np.frombuffer(os.urandom(s.w.size), np.uint8) < 16
    s.w = (s.w.view(f"u{s.w.itemsize}") ^ chosen).view(s.w.dtype)
