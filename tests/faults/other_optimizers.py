"""Optimizers that are no Adam at all. What they keep is shown where Adam has something of that kind, else hidden."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from parity import Hyper, Implementation, State

Table = Mapping[str, np.ndarray]


@dataclass(slots=True)
class Slot:
    """What a rule sees of one parameter: w and what it keeps in m, v and d, (size,) of one dtype; g and the step."""

    w: np.ndarray
    m: np.ndarray
    v: np.ndarray
    d: np.ndarray
    hyper: Hyper
    g: Any = None
    step: int = 0

    def real(self, number: float) -> Any:
        """A number rounded to the dtype."""
        return self.w.dtype.type(number)

    @property
    def lr(self) -> Any:
        """Step size, rounded."""
        return self.real(self.hyper.lr_at(self.step))

    @property
    def eps(self) -> Any:
        """eps, rounded."""
        return self.real(self.hyper.eps)

    def mean(self, of: np.ndarray, new: np.ndarray, beta: float) -> np.ndarray:
        """``beta * of + (1 - beta) * new``."""
        return self.real(beta) * of + self.real(1 - beta) * new


def optimizer(rule: Callable[[Slot], None], shows: str = "") -> Callable[..., Iterator[State]]:
    """A run function. rule: changes w, m, v and d of a slot; shows: which of "mv" it shows."""

    def run(weights: Table, gradients: Iterable[Mapping[str, np.ndarray | None]], hyper: Hyper) -> Iterator[State]:
        slots = {
            name: Slot(w.reshape(-1).copy(), *np.zeros((3, w.size), w.dtype), hyper) for name, w in weights.items()
        }

        def table(quantity: str) -> Table:
            return {name: getattr(slots[name], quantity).reshape(w.shape) for name, w in weights.items()}

        for step, gradient in enumerate(gradients, start=1):
            with np.errstate(all="ignore"):
                for name, s in slots.items():
                    g = gradient[name]
                    if g is not None:
                        s.g, s.step = g.reshape(-1), step
                        rule(s)
            yield State(table("w"), table("m") if "m" in shows else None, table("v") if "v" in shows else None)

    return run


def sgd(s: Slot) -> None:
    """``w -= lr * g``."""
    s.w = s.w - s.lr * s.g


def momentum(s: Slot) -> None:
    """SGD with heavy-ball momentum beta1; m is its buffer."""
    s.m = s.real(s.hyper.beta1) * s.m + s.g
    s.w = s.w - s.lr * s.m


def rmsprop(s: Slot) -> None:
    """``w -= lr * g / (sqrt(v) + eps)``."""
    s.v = s.mean(s.v, s.g * s.g, s.hyper.beta2)
    s.w = s.w - s.lr * s.g / (np.sqrt(s.v) + s.eps)


def adagrad(s: Slot) -> None:
    """As RMSprop, with v the sum of all squares."""
    s.v = s.v + s.g * s.g
    s.w = s.w - s.lr * s.g / (np.sqrt(s.v) + s.eps)


def adadelta(s: Slot) -> None:
    """Zeiler 2012: steps in units of the mean square step before, which d keeps."""
    s.v = s.mean(s.v, s.g * s.g, s.hyper.beta2)
    change = np.sqrt(s.d + s.eps) / np.sqrt(s.v + s.eps) * s.g
    s.d = s.mean(s.d, change * change, s.hyper.beta2)
    s.w = s.w - s.lr * change


def lion(s: Slot) -> None:
    """Chen et al. 2023: the sign of an interpolation of m and g."""
    s.w = s.w - s.lr * np.sign(s.mean(s.m, s.g, s.hyper.beta1))
    s.m = s.mean(s.m, s.g, s.hyper.beta2)


def no_op(s: Slot) -> None:
    """Nothing: the weights stay, the moments it shows are 0."""


def random_walk(s: Slot) -> None:
    """Steps of size lr in directions that do not depend on the gradient; the same in every run."""
    draws = np.random.default_rng(s.step).standard_normal(s.w.size)
    s.w = s.w - s.lr * draws.astype(s.w.dtype)


RULES: dict[str, tuple[Callable[[Slot], None], str]] = {
    "sgd": (sgd, ""),
    "momentum": (momentum, "m"),
    "rmsprop": (rmsprop, "v"),
    "adagrad": (adagrad, "v"),
    "adadelta": (adadelta, "v"),
    "lion": (lion, "m"),
    "no_op": (no_op, "mv"),
    "random_walk": (random_walk, ""),
}

OTHERS = {name: Implementation(name, optimizer(*rule)) for name, rule in RULES.items()}
"""By name; each is an attribute of this module, too: a plug-in."""

globals().update(OTHERS)
