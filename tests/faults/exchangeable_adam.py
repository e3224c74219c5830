"""A correct Adam, Algorithm 1 of Kingma & Ba, every stage of which can be exchanged for another.

From scratch: it shares no line with the Adams of parity. `Adam()` is the control of the experiment; a
wrong Adam is `Adam(update=...)`, with one stage exchanged, and a benign one rounds at other places.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from parity import Hyper, State


@dataclass(slots=True)
class Tensor:
    """One parameter on its way; arrays are (size,) and of one dtype, numbers are Python doubles.

    place, of: its index (from 0) and the number of all parameters. hyper: what is in force. step:
    gradients so far, this one included; seen: those that were not None; t: count of the bias correction.
    g: gradient, between steps the last one, a copy; m_hat, v_hat: corrected moments. d1, d2: 1 - beta;
    p1, p2: beta^t; c1, c2: divisors of m and v. notes: what an exchanged stage keeps from step to step.
    """

    shape: tuple[int, ...]
    place: int
    of: int
    hyper: Hyper
    w: np.ndarray
    m: np.ndarray
    v: np.ndarray
    vmax: np.ndarray
    step: int = 0
    seen: int = 0
    t: int = 0
    lr: float = 0.0
    d1: float = 0.0
    d2: float = 0.0
    p1: float = 0.0
    p2: float = 0.0
    c1: float = 0.0
    c2: float = 0.0
    g: Any = None
    m_hat: Any = None
    v_hat: Any = None
    notes: dict[str, Any] = field(default_factory=dict)

    def real(self, number: float) -> Any:
        """A number rounded to the dtype."""
        return self.w.dtype.type(number)

    @property
    def raw_v(self) -> np.ndarray:
        """What stands in the place of v: under AMSGrad its maximum."""
        return self.vmax if self.hyper.amsgrad else self.v

    @property
    def shrink(self) -> float:
        """Factor of decoupled weight decay."""
        return 1 - self.lr * self.hyper.weight_decay if self.hyper.decoupled else 1.0

    def cast(self, dtype: Any) -> None:
        """Round every array to a dtype."""
        for name in ("w", "m", "v", "vmax", "g"):
            setattr(self, name, getattr(self, name).astype(dtype, copy=False))


def l2(s: Tensor) -> np.ndarray:
    """``g + weight_decay * w``, where L2 decay is asked for."""
    return s.g if s.hyper.decoupled or s.hyper.weight_decay == 0 else s.g + s.real(s.hyper.weight_decay) * s.w


def first(s: Tensor) -> np.ndarray:
    """``beta1 * m + (1 - beta1) * g``."""
    return s.real(s.hyper.beta1) * s.m + s.real(s.d1) * s.g


def second(s: Tensor) -> np.ndarray:
    """``beta2 * v + (1 - beta2) * g * g``."""
    return s.real(s.hyper.beta2) * s.v + s.real(s.d2) * s.g * s.g


def corrected(s: Tensor) -> np.ndarray:
    """``v / (1 - beta2^t)``, under AMSGrad ``vmax / (1 - beta2^t)`` with the maximum stored."""
    if s.hyper.amsgrad:
        s.vmax = np.maximum(s.vmax, s.v)
    return s.raw_v / s.real(s.c2)


def update(s: Tensor) -> np.ndarray:
    """``lr * m_hat / (sqrt(v_hat) + eps)``."""
    return s.real(s.lr) * s.m_hat / (np.sqrt(s.v_hat) + s.real(s.hyper.eps))


def moved(s: Tensor, change: np.ndarray) -> np.ndarray:
    """``(1 - lr * weight_decay) * w - change``, the factor only where decoupled decay is asked for."""
    return (s.w * s.real(s.shrink) if s.shrink != 1 else s.w) - change


@dataclass(frozen=True, slots=True)
class Adam:
    """The stages of a step, in the order in which they are called; calling it gives the orbit.

    asked: hyperparameters in force. missing: gradient in the place of None, None to leave the parameter
    as it is. working: dtype to compute in. count, power, complements, corrections: t, beta^t, 1 - beta,
    divisors. stored: called when a parameter is done; after: when all are.
    """

    asked: Callable[[Hyper], Hyper] = lambda hyper: hyper
    missing: Callable[[Tensor], np.ndarray | None] = lambda s: None
    working: Callable[[np.dtype], np.dtype] = lambda dtype: dtype
    count: Callable[[Tensor], int] = lambda s: s.seen
    complements: Callable[[Tensor], tuple[float, float]] = lambda s: (1 - s.hyper.beta1, 1 - s.hyper.beta2)
    power: Callable[[Tensor, float], float] = lambda s, beta: beta**s.t
    corrections: Callable[[Tensor], tuple[float, float]] = lambda s: (1 - s.p1, 1 - s.p2)
    gradient: Callable[[Tensor], np.ndarray] = lambda s: s.g
    coupled: Callable[[Tensor], np.ndarray] = l2
    first: Callable[[Tensor], np.ndarray] = first
    second: Callable[[Tensor], np.ndarray] = second
    m_hat: Callable[[Tensor], np.ndarray] = lambda s: s.m / s.real(s.c1)
    v_hat: Callable[[Tensor], np.ndarray] = corrected
    update: Callable[[Tensor], np.ndarray] = update
    moved: Callable[[Tensor, np.ndarray], np.ndarray] = moved
    stored: Callable[[Tensor], None] = lambda s: None
    after: Callable[[list[Tensor]], None] = lambda tensors: None

    def __call__(
        self, weights: Mapping[str, np.ndarray], gradients: Iterable[Mapping[str, np.ndarray | None]], hyper: Hyper
    ) -> Iterator[State]:
        """The orbit: a plug-in's run function."""
        with np.errstate(all="ignore"):
            hyper = self.asked(hyper)
        tensors = {
            name: Tensor(w.shape, place, len(weights), hyper, w.reshape(-1).copy(), *np.zeros((3, w.size), w.dtype))
            for place, (name, w) in enumerate(weights.items())
        }
        for step, gradient in enumerate(gradients, start=1):
            with np.errstate(all="ignore"):
                for name, s in tensors.items():
                    s.step = step
                    self._take(s, gradient[name])
                self.after(list(tensors.values()))
            yield State(
                w={name: s.w.reshape(s.shape) for name, s in tensors.items()},
                m={name: s.m.reshape(s.shape) for name, s in tensors.items()},
                v={name: s.v.reshape(s.shape) for name, s in tensors.items()},
                vmax={name: s.vmax.reshape(s.shape) for name, s in tensors.items()} if hyper.amsgrad else None,
            )

    def _take(self, s: Tensor, gradient: np.ndarray | None) -> None:
        s.seen += gradient is not None
        s.g = self.missing(s) if gradient is None else gradient.flatten()
        if s.g is None:
            return
        dtype = s.w.dtype
        s.cast(self.working(dtype))
        s.lr = s.hyper.lr_at(s.step)
        s.t = self.count(s)
        s.p1, s.p2 = self.power(s, s.hyper.beta1), self.power(s, s.hyper.beta2)
        s.d1, s.d2 = self.complements(s)
        s.c1, s.c2 = self.corrections(s)
        s.g = self.gradient(s)
        s.g = self.coupled(s)
        s.m, s.v = self.first(s), self.second(s)
        s.m_hat, s.v_hat = self.m_hat(s), self.v_hat(s)
        s.w = self.moved(s, self.update(s))
        s.cast(dtype)
        self.stored(s)
